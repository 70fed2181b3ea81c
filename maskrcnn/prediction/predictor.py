"""Images → detections in original pixels: resize, batch, network, and back.

A predictor adds to a detector what lies around the network: the resize rule of its source, padding, the way back to
the original size, pasted masks and decoded keypoints. Keypoints stay as the network was taught to count (the middle of
the first pixel is 0.5, or 0 in imported detectors, `keypoint_offset`); whoever writes COCO results converts them.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.data.collate import pad_images
from maskrcnn.data.detections import Detections
from maskrcnn.data.images import read_image
from maskrcnn.data.order import aspect_buckets
from maskrcnn.data.records import Dataset, ImageRecord
from maskrcnn.data.resize import resize_image
from maskrcnn.errors import UserError
from maskrcnn.ops.keypoints import decode_keypoints
from maskrcnn.prediction.model_file import load_detector, save_detector
from maskrcnn.prediction.network import Stages, compile_network, compile_stages, padding_multiple, pads_batches
from maskrcnn.prediction.paste import paste_masks
from maskrcnn.prediction.tta import ViewBatch, merged_outputs
from maskrcnn.prediction.views import BASE_VIEW, View, views_of
from maskrcnn.structures import KeypointSchema, ResizeSettings, TTASettings

BATCH_SIZE = 8
WHOLE_CALLS = ("torchvision", "detectron2")
"""Resize rules of the sources that pad the images of one call together."""


@dataclass
class Timings:
    """Seconds of wall time of each stage, and images, since the predictor was made or `reset` was called."""

    images: int = 0
    read_s: float = 0.0
    """Waiting for files; they are read in advance."""
    resize_s: float = 0.0
    network_s: float = 0.0
    paste_s: float = 0.0

    def reset(self) -> None:
        """Everything back to zero."""
        self.images, self.read_s, self.resize_s, self.network_s, self.paste_s = 0, 0.0, 0.0, 0.0, 0.0

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Adds the time of the block to `stage`."""
        start = time.perf_counter()
        yield
        setattr(self, stage, getattr(self, stage) + time.perf_counter() - start)


class Predictor:
    """A detector that takes images of any size and returns detections in their own pixels.

    Args:
        detector: a `models.detector.Detector`; its `metadata` holds `categories`, `schema` and `image`.
        batch_size: images that go through the network together, in the order given.
        batch_whole_calls: all images of one `predict_images` call form one batch, as in torchvision, where a batch's
            padding (and with it the anchors' strides) depends on all of them. None: if the detector's resize rule is
            torchvision's or Detectron2's.
        pad_multiple: sides of a batch are padded to a multiple of this. None: the detector's convention; coarser
            on JAX, which compiles each shape. GroupNorm sees the padding, so scores depend on it a little.
        tta: further views of each image (mirrored, at other sizes); their detections are merged. None: none.
    """

    def __init__(
        self,
        detector: Any,
        *,
        batch_size: int = BATCH_SIZE,
        batch_whole_calls: bool | None = None,
        pad_multiple: int | None = None,
        tta: TTASettings | None = None,
    ) -> None:
        self.detector = detector
        self.conventions = detector.settings.conventions
        self.batch_size = batch_size
        rule = self.conventions.resize
        self.batch_whole_calls = rule in WHOLE_CALLS if batch_whole_calls is None else batch_whole_calls
        self.pad_multiple = padding_multiple(self.conventions) if pad_multiple is None else pad_multiple
        image = detector.metadata.get("image") or {}
        self.image = ResizeSettings(**image)
        self.timings = Timings()
        self.views = views_of(tta or TTASettings())
        self._network = compile_network(detector)

    @property
    def categories(self) -> list[dict[str, Any]]:
        """`{"id": …, "name": …}` of labels 1…C, in this order."""
        return list(self.detector.metadata.get("categories") or [])

    @property
    def category_names(self) -> list[str]:
        """Names of labels 1…C."""
        return [category["name"] for category in self.categories]

    @property
    def schema(self) -> KeypointSchema | None:
        """The joints of `keypoints`, if the detector has a keypoint head; `joint 1` … K where no one has named them."""
        named = schema_from_dict(self.detector.metadata.get("schema"))
        count = getattr(self.detector, "num_keypoints", 0)
        return named if named or not count else KeypointSchema(tuple(f"joint {k}" for k in range(1, count + 1)))

    @property
    def keypoint_labels(self) -> tuple[int, ...] | None:
        """Labels that have joints; None: all. Others have zeros for keypoints."""
        labels = getattr(self.detector, "keypoint_labels", None)
        return None if labels is None else tuple(labels)

    def predict_images(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detections of each image, uint8 RGB `[H, W, 3]`, in its own pixels, by falling score.

        Raises:
            UserError: an image of another type or shape; the message gives its position.
        """
        for i, image in enumerate(images):
            _check_image(image, f"image {i}")
        step = max(len(images), 1) if self.batch_whole_calls else self._images_at_once
        return [found for i in range(0, len(images), step) for found in self._predict_chunk(images[i : i + step])]

    def predict_files(self, paths: Iterable[str | Path]) -> Iterator[Detections]:
        """Detections of each image file in turn; the next files are read while the network works.

        Raises:
            UserError: a file cannot be read, when its turn has come.
        """
        images = _read_ahead(paths, 2 * self.batch_size)
        while True:
            with self.timings.measure("read_s"):
                chunk = list(itertools.islice(images, self._images_at_once))
            if not chunk:
                return
            yield from self._predict_chunk(chunk)

    def predict_dataset(self, dataset: Dataset, on_image: Callable[[], None] | None = None) -> list[Detections]:
        """Detections of each image of a data set, in its order; `on_image` is called after each.

        Images of like shape share batches, so that little is padded.

        Raises:
            UserError: a file cannot be read or has another size than the data set says.
        """
        records = dataset.images
        sides = np.array([(r.height, r.width) for r in records], float).reshape(-1, 2)
        order = np.argsort(aspect_buckets(sides[:, 0], sides[:, 1], 2), kind="stable")
        found: list[Detections | None] = [None] * len(records)
        for row, detections in zip(order, self.predict_files(records[row].path for row in order)):
            _check_size(detections, records[row])
            found[row] = detections
            if on_image is not None:
                on_image()
        return [detections for detections in found if detections is not None]

    def predict_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The network's own outputs for `batch["images"]` and `batch["sizes"]` (DESIGN §3), in input pixels."""
        with self.timings.measure("network_s"):
            return self._network(np.asarray(batch["images"]), np.asarray(batch["sizes"]))

    def to_detections(
        self, outputs: Mapping[str, np.ndarray], sizes: Sequence[Sequence[int]], original_sizes: Sequence[Sequence[int]]
    ) -> list[Detections]:
        """The network's outputs as detections in original pixels.

        Args:
            outputs: of `predict_batch`.
            sizes: height, width of each image at the network's input.
            original_sizes: height, width of each image.
        """
        with self.timings.measure("paste_s"):
            return [
                self._restore({name: value[i] for name, value in outputs.items()}, size, original)
                for i, (size, original) in enumerate(zip(sizes, original_sizes))
            ]

    def save(self, path: str | Path) -> None:
        """Writes the detector to one `.keras` file that `load_predictor` reads."""
        save_detector(self.detector, Path(path))

    @property
    def _images_at_once(self) -> int:
        """The features of all views are held together, so that more views mean fewer images."""
        return max(1, self.batch_size // len(self.views))

    def _predict_chunk(self, images: Sequence[np.ndarray]) -> list[Detections]:
        if len(self.views) > 1:
            outputs, sizes = self._predict_views(images)
        else:
            images_in, sizes = self.prepare(images)
            outputs = self.predict_batch({"images": images_in, "sizes": sizes})
        self.timings.images += len(images)
        return self.to_detections(outputs, sizes[: len(images)].tolist(), [image.shape[:2] for image in images])

    @functools.cached_property
    def _stages(self) -> Stages:
        return compile_stages(self.detector)

    def _predict_views(self, images: Sequence[np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Outputs and sizes of the base view, merged from all."""
        batches = [self.prepare(images, view) for view in self.views]
        with self.timings.measure("network_s"):
            roi = self.detector.settings.roi
            return merged_outputs(self._stages, self.views, batches, roi, self.schema), batches[0].sizes

    def prepare(self, images: Sequence[np.ndarray], view: View = BASE_VIEW) -> ViewBatch:
        """The images as the network takes them: resized by the source's rule and padded together."""
        with self.timings.measure("resize_s"):
            resized = [self._resize(image, view) for image in images]
            sizes = np.array([image.shape[:2] for image in resized], np.int32)
            return ViewBatch(self._pad(resized), self._fill(sizes))

    def _resize(self, image: np.ndarray, view: View) -> np.ndarray:
        rule = self.conventions.resize
        height, width = view.input_size(image.shape[0], image.shape[1], self.image, rule)
        resized = resize_image(image, height, width, rule)
        return resized[:, ::-1] if view.flipped else resized

    def _pad(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return self._fill(pad_images(images, self.pad_multiple))

    def _fill(self, rows: np.ndarray) -> np.ndarray:
        """Copies of the first row up to a whole batch, where each batch size would need a program of its own."""
        missing = self._images_at_once - len(rows) if pads_batches() else 0
        return np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)]) if missing > 0 else rows

    def _restore(self, found: dict[str, np.ndarray], size: Sequence[int], original: Sequence[int]) -> Detections:
        """Detections of one image, from its rows of the outputs."""
        height, width = original
        scale = np.array([width / size[1], height / size[0]], np.float32)
        boxes = (found["boxes"] * np.tile(scale, 2)).clip(0, np.array([width, height] * 2, np.float32))
        real = (found["labels"] > 0) & np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
        rows = np.flatnonzero(real)
        rows = rows[np.argsort(-found["scores"][rows], kind="stable")]
        boxes = boxes[rows].astype(np.float32)
        masks = keypoints = None
        if "masks" in found:
            masks = paste_masks(found["masks"][rows], boxes, height, width, self.conventions.mask_paste)
        if "keypoint_logits" in found:
            keypoints = self._decode_keypoints({name: value[rows] for name, value in found.items()})
            keypoints[..., :2] *= scale
        scores, labels = found["scores"][rows].astype(np.float32), found["labels"][rows].astype(np.int32)
        offset = self.conventions.keypoint_offset
        return Detections(boxes, scores, labels, masks, keypoints, int(height), int(width), offset)

    def _decode_keypoints(self, found: dict[str, np.ndarray]) -> np.ndarray:
        """Joints [D, K, 3] at the network's input; zeros for categories that have none."""
        labels = self.keypoint_labels
        rows = np.arange(len(found["labels"])) if labels is None else np.flatnonzero(np.isin(found["labels"], labels))
        joints = np.zeros((len(found["labels"]), found["keypoint_logits"].shape[-1], 3), np.float32)
        score = self.conventions.keypoint_score
        joints[rows] = decode_keypoints(found["keypoint_logits"][rows], found["boxes"][rows], score)
        return joints


def load_predictor(path: str | Path, *, batch_size: int = BATCH_SIZE, tta: TTASettings | None = None) -> Predictor:
    """The predictor of a `.keras` file that `Predictor.save` wrote.

    Raises:
        UserError: missing, no model file, cut off, damaged, or not one of this program's detectors.
    """
    return Predictor(load_detector(Path(path)), batch_size=batch_size, tta=tta)


def schema_from_dict(values: Mapping[str, Any] | None) -> KeypointSchema | None:
    """The keypoint schema that `dataclasses.asdict` turned into plain JSON; None for none."""
    if values is None:
        return None
    plain: dict[str, Any] = {
        name: tuple(tuple(v) if isinstance(v, list | tuple) else v for v in value) for name, value in values.items()
    }
    return KeypointSchema(**plain)


def _check_image(image: Any, where: str) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = str(image.dtype) if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(f"expected a NumPy array of uint8, found {kind}", where, "convert it to 0..255")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(f"expected the shape [H, W, 3] (RGB), found {list(image.shape)}", where)


def _check_size(detections: Detections, record: ImageRecord) -> None:
    """Masks of another size than the annotated one would match nothing, without a word (FACTS 5.14)."""
    if (detections.height, detections.width) != (record.height, record.width):
        found = f"{detections.width}x{detections.height}"
        raise UserError(f"image is {found} pixels, annotated as {record.width}x{record.height}", record.path)


def _read_ahead(paths: Iterable[str | Path], count: int) -> Iterator[np.ndarray]:
    """The images of the files, in order; one thread reads up to `count` of them in advance."""
    waiting: deque[Future[np.ndarray]] = deque()
    executor = ThreadPoolExecutor(1, thread_name_prefix="images")
    try:
        for path in paths:
            waiting.append(executor.submit(read_image, path))
            if len(waiting) >= count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
