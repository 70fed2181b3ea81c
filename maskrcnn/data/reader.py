"""The reader: a data set → batches, by worker threads, in an order that follows from (seed, epoch) alone.

Training batches are always full and augmented; otherwise images come in the data set's order, unchanged but for the
resize, and the last batch may be smaller. Whatever is drawn for an image comes from (seed, epoch, image id), so a
resumed run, any number of workers and any batch's neighbours give the same pixels.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from maskrcnn.data.collate import BatchForm, collate
from maskrcnn.data.order import aspect_buckets, epoch_batches
from maskrcnn.data.records import Dataset, ImageRecord
from maskrcnn.data.transforms import Augmentation, Sample, augment, make_sample, resize
from maskrcnn.structures import ResizeSettings

CACHE_BYTES = 256 * 2**20


class Reader:
    """Batches of a data set (DESIGN §3), deterministic, restorable at any step, in bounded memory.

    Args:
        dataset: its images must lie at their records' paths.
        batch_size: images per batch.
        image: size of the network's input.
        augmentation: applied if `training`.
        seed: the run's seed.
        mask_size: side S of the masks inside their boxes.
        training: shuffled, augmented, every batch full; else in order, the last batch smaller.
        workers: threads that make batches (OpenCV works outside Python's lock); 0: in the caller's thread.
        prefetch: batches that are held ready.
        buckets: aspect buckets that share batches, 1 for none.
        pad_multiple: sides are padded to a multiple of this, 0: to the largest alone.
        keypoint_rows: rows of the joints to keep in the data set's full schema, taken after flips; None: those of
            the data set's schema.
        fixed_shape: (H, W, M) of every batch, for backends that compile one program per shape.
        with_masks, with_keypoints: whether batches hold `masks` and `has_mask`, `keypoints`.
        resize_rule: `Conventions.resize`; torchvision's gives float32 images.
        cache_bytes: memory for decoded images and masks, the least recently used leave first; 0: none.

    `batches` raises what a worker raised, with a note that names the image.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        image: ResizeSettings,
        augmentation: Augmentation,
        seed: int,
        mask_size: int,
        training: bool,
        workers: int,
        prefetch: int,
        buckets: int,
        pad_multiple: int,
        keypoint_rows: Sequence[int] | None = None,
        fixed_shape: tuple[int, int, int] | None = None,
        with_masks: bool,
        with_keypoints: bool,
        resize_rule: str = "opencv",
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if with_keypoints and dataset.schema is None:
            raise ValueError(f"data set {dataset.name!r} has no keypoint schema")
        if batch_size < 1 or not len(dataset.images):
            raise ValueError("a reader needs a positive batch size and at least one image")
        self.dataset = dataset
        self.batch_size = batch_size
        self.image = image
        self.augmentation = augmentation
        self.seed = seed
        self.training = training
        self.workers = workers
        self.prefetch = prefetch
        self.resize_rule = resize_rule
        rows = _chosen_rows(dataset) if keypoint_rows is None else tuple(keypoint_rows)
        self.form = BatchForm(mask_size, pad_multiple, with_masks, with_keypoints, rows, fixed_shape)
        heights = np.array([r.height for r in dataset.images])
        widths = np.array([r.width for r in dataset.images])
        self._buckets = aspect_buckets(heights, widths, buckets)
        self._cache = SampleCache(cache_bytes)
        self.waited_s = 0.0
        """Seconds that whoever iterates has waited for batches that were not ready."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch, the last one included."""
        return math.ceil(len(self.dataset.images) / self.batch_size)

    @property
    def signature(self) -> dict[str, tuple[tuple[int | None, ...], np.dtype]]:
        """Shape (None where it varies between batches) and dtype of each key of a batch."""
        height, width, slots = self.form.fixed_shape or (None, None, None)
        batch = self.batch_size if self.training else None
        side = self.form.mask_size
        images = np.float32 if self.resize_rule == "torchvision" else np.uint8
        parts: dict[str, tuple[tuple[int | None, ...], type]] = {
            "images": ((batch, height, width, 3), images),
            "sizes": ((batch, 2), np.int32),
            "boxes": ((batch, slots, 4), np.float32),
            "labels": ((batch, slots), np.int32),
            "seeds": ((batch,), np.int32),
            "image_rows": ((batch,), np.int32),
        }
        if self.form.with_masks:
            parts["masks"] = ((batch, slots, side, side), np.uint8)
            parts["has_mask"] = ((batch, slots), np.bool_)
        if self.form.with_keypoints:
            parts["keypoints"] = ((batch, slots, self.num_keypoints, 3), np.float32)
        return {key: (shape, np.dtype(dtype)) for key, (shape, dtype) in parts.items()}

    @property
    def num_keypoints(self) -> int:
        """Joints of a batch's `keypoints`."""
        if self.form.keypoint_rows is not None:
            return len(self.form.keypoint_rows)
        return len(self.dataset.schema) if self.dataset.schema is not None else 0

    def batch_rows(self, epoch: int) -> list[np.ndarray]:
        """Rows of the data set's images in each batch of the epoch."""
        if self.training:
            return epoch_batches(self._buckets, self.batch_size, self.seed, epoch)
        rows = np.arange(len(self.dataset.images), dtype=np.int32)
        return [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]

    def image_ids(self, epoch: int, step: int) -> list[int]:
        """COCO ids of the images of one batch, recomputed (for messages about a step)."""
        return [self.dataset.images[row].id for row in self.batch_rows(epoch)[step]]

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[dict[str, np.ndarray]]:
        """The batches of the epoch from `start_step` on: the same as those of an uninterrupted iteration.

        At most `prefetch` batches are ready or in work. Closing the iterator stops the threads.
        """
        parts = self.batch_rows(epoch)[start_step:]
        if self.workers < 1:
            for rows in parts:
                with self._waiting():
                    batch = self.make_batch(rows, epoch)
                yield batch
            return
        executor = ThreadPoolExecutor(self.workers, thread_name_prefix="reader")
        pending: deque[Future[dict[str, np.ndarray]]] = deque()
        try:
            for rows in parts:
                pending.append(executor.submit(self.make_batch, rows, epoch))
                if len(pending) >= max(1, self.prefetch):
                    yield self._result(pending.popleft())
            while pending:
                yield self._result(pending.popleft())
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _result(self, pending: Future[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        with self._waiting():
            return pending.result()

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.waited_s += time.perf_counter() - began

    def make_batch(self, rows: np.ndarray, epoch: int) -> dict[str, np.ndarray]:
        """The batch of the images at `rows` as the epoch sees them."""
        drawn = [self._draw(int(row), epoch) for row in rows]
        return collate([sample for sample, _ in drawn], [seed for _, seed in drawn], rows, self.form)

    def _draw(self, row: int, epoch: int) -> tuple[Sample, int]:
        """The sample of an image as the epoch sees it, and the seed of what the model draws for it."""
        record = self.dataset.images[row]
        rng = image_generator(self.seed, epoch, record.id)
        seed = int(rng.integers(2**31))
        try:
            return self._transform(self._load(row, record), rng), seed
        except Exception as error:
            error.add_note(f"while reading image {record.file_name} (id {record.id})")
            raise

    def _transform(self, sample: Sample, rng: np.random.Generator) -> Sample:
        short_side, long_side = self.image.short_side, self.image.long_side
        if not self.training:
            return resize(sample, short_side, long_side, self.resize_rule)
        full = self.dataset.full_schema
        flips = full.flip_permutation if full is not None else ()
        return augment(
            sample,
            self.augmentation,
            rng,
            short_side=short_side,
            long_side=long_side,
            rule=self.resize_rule,
            flip_permutation=flips,
        )

    def _load(self, row: int, record: ImageRecord) -> Sample:
        sample = self._cache.get(row)
        if sample is None:
            sample = make_sample(record, self.dataset, self.form.with_masks, self.form.with_keypoints)
            self._cache.put(row, sample)
        return sample


def _chosen_rows(dataset: Dataset) -> tuple[int, ...] | None:
    """Rows of the chosen joints among all of the annotations; None: all."""
    schema = dataset.schema
    return None if schema is None or dataset.chosen_from is None else schema.index_map


def image_generator(seed: int, epoch: int, image_id: int) -> np.random.Generator:
    """The generator of all that is drawn for one image in one epoch."""
    return np.random.default_rng([seed, epoch, image_id & (2**63 - 1)])


class SampleCache:
    """Loaded samples up to a number of bytes; the least recently used leave first. Safe to share between threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._size = 0
        self._samples: OrderedDict[int, Sample] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, row: int) -> Sample | None:
        with self._lock:
            if row in self._samples:
                self._samples.move_to_end(row)
            return self._samples.get(row)

    def put(self, row: int, sample: Sample) -> None:
        with self._lock:
            if row in self._samples or sample.nbytes > self._limit:
                return
            self._samples[row] = sample
            self._size += sample.nbytes
            while self._size > self._limit:
                self._size -= self._samples.popitem(last=False)[1].nbytes
