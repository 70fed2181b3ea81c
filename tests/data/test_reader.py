"""Tests of the reader: contents, order, restoring, padding, errors and threads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from maskrcnn.data.joints import choose_joints
from maskrcnn.data.reader import Reader, SampleCache
from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.data.transforms import Augmentation, Sample
from maskrcnn.errors import UserError
from maskrcnn.structures import COCO_PERSON, ResizeSettings

SIZES = [(40, 60), (60, 40), (40, 60), (30, 70), (64, 48), (50, 50), (44, 60)]


def annotation(number: int, box: tuple[float, float, float, float], **changes: Any) -> Annotation:
    x1, y1, x2, y2 = box
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[15] = [x1 + 2, y1 + 3, 2]
    parts = {
        "id": number,
        "label": 1 + number % 2,
        "box": box,
        "area": (x2 - x1) * (y2 - y1),
        "is_crowd": False,
        "segmentation": (np.array([x1, y1, x2, y1, x2, y2, x1, y2], np.float64),),
        "keypoints": keypoints,
    }
    return Annotation(**{**parts, **changes})


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    rng = np.random.default_rng(0)
    records = []
    for i, (height, width) in enumerate(SIZES):
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        annotations = [annotation(10 * i + k + 1, (3 + k, 4, 20 + k, 25)) for k in range(i)]
        if i == 2:
            annotations.append(annotation(99, (1, 1, 30, 30), is_crowd=True, segmentation=None))
        records.append(ImageRecord(100 + i, path.name, str(path), height, width, tuple(annotations)))
    categories = (Category(1, "person"), Category(2, "thing"))
    return Dataset("test", categories, tuple(records), COCO_PERSON)


def reader_of(dataset: Dataset, **changes: Any) -> Reader:
    settings: dict[str, Any] = {
        "batch_size": 2,
        "image": ResizeSettings(32, 64),
        "augmentation": Augmentation(flip=0.5, scale=(0.8, 1.2), brightness=0.2, permute_channels=True),
        "seed": 3,
        "mask_size": 14,
        "training": True,
        "workers": 2,
        "prefetch": 3,
        "buckets": 2,
        "pad_multiple": 32,
        "with_masks": True,
        "with_keypoints": True,
    }
    return Reader(dataset, **{**settings, **changes})


def assert_same(first: list[dict[str, np.ndarray]], second: list[dict[str, np.ndarray]]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_batches_have_the_documented_keys_shapes_and_types(dataset: Dataset) -> None:
    reader = reader_of(dataset)
    for batch in reader.batches(0):
        assert set(batch) == set(reader.signature)
        for key, (shape, dtype) in reader.signature.items():
            assert batch[key].dtype == dtype, key
            assert len(shape) == batch[key].ndim, key
            assert all(want is None or want == have for want, have in zip(shape, batch[key].shape)), key
        assert batch["images"].shape[1] % 32 == 0
        assert batch["images"].shape[2] % 32 == 0
        assert batch["boxes"].shape[1] % 8 == 0


def test_an_epoch_holds_every_image_in_full_batches(dataset: Dataset) -> None:
    reader = reader_of(dataset)
    rows = np.concatenate([b["image_rows"] for b in reader.batches(0)])
    assert reader.steps_per_epoch == 4
    assert len(rows) == 8
    assert set(rows) == set(range(7))


def test_epochs_have_different_orders(dataset: Dataset) -> None:
    reader = reader_of(dataset)
    orders = [[r.tolist() for r in reader.batch_rows(epoch)] for epoch in range(4)]
    assert len({str(order) for order in orders}) == 4


@pytest.mark.parametrize("step", [0, 1, 3, 4])
def test_a_resumed_epoch_gives_the_same_batches(dataset: Dataset, step: int) -> None:
    whole = list(reader_of(dataset).batches(5))
    assert_same(list(reader_of(dataset).batches(5, step)), whole[step:])


@pytest.mark.parametrize("changes", [{"workers": 0}, {"workers": 1, "prefetch": 1}, {"cache_bytes": 0}])
def test_workers_and_cache_do_not_change_the_batches(dataset: Dataset, changes: dict[str, Any]) -> None:
    reader = reader_of(dataset, **changes)
    assert_same(list(reader.batches(0)), list(reader_of(dataset).batches(0)))
    assert_same(list(reader.batches(1)), list(reader_of(dataset).batches(1)))


def test_an_image_is_drawn_alike_in_any_batch(dataset: Dataset) -> None:
    small, large = reader_of(dataset, batch_size=1), reader_of(dataset, batch_size=7)
    whole = next(iter(large.batches(0)))
    for batch in small.batches(0):
        where = int(np.flatnonzero(whole["image_rows"] == batch["image_rows"][0])[0])
        height, width = batch["sizes"][0]
        np.testing.assert_array_equal(whole["images"][where, :height, :width], batch["images"][0, :height, :width])
        assert whole["seeds"][where] == batch["seeds"][0]


def test_evaluation_batches_keep_the_order_and_end_with_a_smaller_one(dataset: Dataset) -> None:
    reader = reader_of(dataset, training=False)
    batches = list(reader.batches(0))
    assert [b["image_rows"].tolist() for b in batches] == [[0, 1], [2, 3], [4, 5], [6]]
    np.testing.assert_array_equal(batches[0]["sizes"], [[32, 48], [48, 32]])


def test_crowds_are_labelled_minus_one_and_have_no_mask(dataset: Dataset) -> None:
    batch = next(reader_of(dataset, training=False).batches(0, 1))
    labels = batch["labels"][0]
    assert sorted(labels[labels != 0]) == [-1, 1, 2]
    assert not batch["has_mask"][0][labels == -1].any()
    assert batch["has_mask"][0][labels > 0].all()
    assert not batch["keypoints"][0][labels == -1].any()


def test_padding_rows_are_all_zero(dataset: Dataset) -> None:
    for batch in reader_of(dataset).batches(0):
        padding = batch["labels"] == 0
        for key in ("boxes", "masks", "has_mask", "keypoints"):
            assert not batch[key][padding].any(), key


def test_keypoint_rows_are_taken_after_the_flip(dataset: Dataset) -> None:
    reader = reader_of(dataset, augmentation=Augmentation(flip=1.0), keypoint_rows=[16, 0])
    batch = next(b for b in reader.batches(0) if (b["labels"] > 0).any())
    real = batch["labels"] > 0
    assert batch["keypoints"].shape[2] == 2
    assert (batch["keypoints"][real][:, 0, 2] == 2).all()
    assert not batch["keypoints"][real][:, 1].any()


def test_the_chosen_joints_of_a_data_set_are_taken_after_the_flip_in_the_full_schema(dataset: Dataset) -> None:
    seven = choose_joints(dataset, ["right_ankle", "nose"])
    mirrored = Augmentation(flip=1.0)
    chosen = reader_of(seven, augmentation=mirrored)
    assert chosen.num_keypoints == 2
    assert chosen.signature["keypoints"][0][-2:] == (2, 3)
    assert_same(
        list(chosen.batches(0)), list(reader_of(dataset, augmentation=mirrored, keypoint_rows=[16, 0]).batches(0))
    )


def test_a_subset_of_joints_changes_nothing_else_in_a_batch(dataset: Dataset) -> None:
    whole, part = (list(reader_of(d).batches(1)) for d in (dataset, choose_joints(dataset, 7)))
    rows = list(choose_joints(dataset, 7).schema.index_map)
    for batch in whole:
        batch["keypoints"] = batch["keypoints"][:, :, rows]
    assert_same(whole, part)


def test_a_fixed_shape_pads_all_batches_alike_and_keeps_the_largest_instances(dataset: Dataset) -> None:
    reader = reader_of(dataset, augmentation=Augmentation(), fixed_shape=(96, 96, 3))
    for batch in reader.batches(0):
        assert batch["images"].shape == (2, 96, 96, 3)
        assert batch["masks"].shape == (2, 3, 14, 14)


def test_a_fixed_shape_that_is_too_small_names_both_sizes(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="do not fit into 32 x 32"):
        list(reader_of(dataset, fixed_shape=(32, 32, 8)).batches(0))


def test_torchvision_resize_gives_float_images(dataset: Dataset) -> None:
    reader = reader_of(dataset, resize_rule="torchvision")
    batch = next(reader.batches(0))
    assert batch["images"].dtype == np.float32 == reader.signature["images"][1]


def test_an_error_in_a_worker_surfaces_with_the_image_name(dataset: Dataset) -> None:
    Path(dataset.images[4].path).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"4\.png") as caught:
        list(reader_of(dataset).batches(0))
    assert any("4.png (id 104)" in note for note in caught.value.__notes__)


def test_an_image_of_another_size_than_annotated_is_refused(dataset: Dataset) -> None:
    cv2.imwrite(dataset.images[1].path, np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(UserError, match="60x40 pixels, annotated as 40x60"):
        list(reader_of(dataset).batches(0))


def test_closing_the_iterator_stops_the_threads(dataset: Dataset) -> None:
    batches = reader_of(dataset).batches(0)
    next(batches)
    assert any(t.name.startswith("reader") for t in threading.enumerate())
    batches.close()
    assert not any(t.name.startswith("reader") for t in threading.enumerate())


def test_image_ids_of_a_step_are_those_of_its_batch(dataset: Dataset) -> None:
    reader = reader_of(dataset)
    for step, batch in enumerate(reader.batches(2)):
        assert reader.image_ids(2, step) == [100 + int(row) for row in batch["image_rows"]]


def test_the_cache_keeps_to_its_limit_and_drops_the_least_recently_used() -> None:
    def sample() -> Sample:
        empty = np.zeros((0, 4), np.float32)
        return Sample(np.zeros((10, 10, 3), np.uint8), empty, empty[:, 0].astype(np.int32), empty[:, 0].astype(bool))

    cache = SampleCache(700)
    for row in (0, 1):
        cache.put(row, sample())
    assert cache.get(0) is not None
    cache.put(2, sample())
    assert [cache.get(row) is not None for row in range(3)] == [True, False, True]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_reader_counts_the_seconds_in_which_its_batches_were_waited_for(
    dataset: Dataset, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = reader_of(dataset, workers=workers)
    assert reader.waited_s == 0.0
    ticks = iter(range(1000))
    monkeypatch.setattr("maskrcnn.data.reader.time.perf_counter", lambda: float(next(ticks)))
    batches = list(reader.batches(0))
    assert reader.waited_s == len(batches)  # one tick each: before and after
