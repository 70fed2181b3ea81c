"""Property tests of the transforms: masks, boxes and keypoints move alike (PAPER §6 rows 9, 13, 14, 34)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.data import rle
from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.data.transforms import (
    Augmentation,
    Sample,
    augment,
    crop,
    horizontal_flip,
    jitter_colours,
    make_sample,
    mask_targets,
    resize_to,
    sample_bitmap,
)
from maskrcnn.structures import COCO_PERSON

HEIGHT, WIDTH = 60, 100
FLIP = COCO_PERSON.flip_permutation
LEFT_WRIST, RIGHT_WRIST, LEFT_ANKLE, RIGHT_ANKLE = 9, 10, 15, 16


def blob(rng: np.random.Generator, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A random smooth mask of the whole image, never empty."""
    noise = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), 4)
    return (noise >= np.quantile(noise, 0.7)).astype(np.uint8)


def sample_of(seed: int = 0, instances: int = 3) -> Sample:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, [WIDTH - 30, HEIGHT - 25], (instances, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 25, (instances, 2))], 1).astype(np.float32)
    windows = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], 1).astype(np.float64)
    full = [blob(rng) for _ in range(instances)]
    keypoints = np.zeros((instances, 17, 3), np.float32)
    keypoints[:, (LEFT_WRIST, LEFT_ANKLE, 0)] = [*rng.uniform(0, HEIGHT, 2), 2]
    keypoints[:, RIGHT_ANKLE] = [*rng.uniform(0, HEIGHT, 2), 1]
    return Sample(
        image=rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8),
        boxes=boxes,
        labels=np.arange(1, instances + 1, dtype=np.int32),
        is_crowd=np.zeros(instances, bool),
        bitmaps=[f[int(w[1]) : int(w[3]), int(w[0]) : int(w[2])] for f, w in zip(full, windows)],
        windows=windows,
        keypoints=keypoints,
    )


def assert_equal_samples(first: Sample, second: Sample) -> None:
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_allclose(first.boxes, second.boxes, atol=1e-5)
    np.testing.assert_allclose(first.windows, second.windows, atol=1e-9)
    np.testing.assert_allclose(first.keypoints, second.keypoints, atol=1e-5)
    for a, b in zip(first.bitmaps, second.bitmaps, strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_flipping_twice_is_the_identity(seed: int) -> None:
    sample = sample_of(seed)
    assert_equal_samples(horizontal_flip(horizontal_flip(sample, FLIP), FLIP), sample)


def test_a_flip_swaps_left_and_right_wrist_and_ankle() -> None:
    sample = sample_of()
    flipped = horizontal_flip(sample, FLIP)
    for left, right in ((LEFT_WRIST, RIGHT_WRIST), (LEFT_ANKLE, RIGHT_ANKLE), (0, 0)):
        before, after = sample.keypoints[:, left], flipped.keypoints[:, right]
        np.testing.assert_allclose(after[:, 0], WIDTH - before[:, 0], rtol=1e-6)
        np.testing.assert_array_equal(after[:, 1:], before[:, 1:])


def test_unlabelled_joints_stay_zero_through_every_transform() -> None:
    moved = crop(resize_to(horizontal_flip(sample_of(), FLIP), 77, 91, "opencv"), 5, 6, 60, 70)
    assert not moved.keypoints[moved.keypoints[..., 2] == 0].any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([7, 14, 28, 56]))
def test_mask_targets_of_a_flipped_sample_are_mirrored(seed: int, side: int) -> None:
    sample = sample_of(seed)
    masks, has_mask = mask_targets(sample, side)
    flipped, flipped_has = mask_targets(horizontal_flip(sample), side)
    np.testing.assert_array_equal(flipped, masks[:, :, ::-1])
    np.testing.assert_array_equal(flipped_has, has_mask)


def test_the_raster_of_a_flipped_polygon_is_the_mirrored_raster() -> None:
    # Corners at whole pixels: there pycocotools' raster is exact (PAPER §3.4), so both ways must agree entirely.
    polygon = np.array([10, 5, 40, 5, 40, 30, 10, 30], np.float64)
    mirrored = polygon.copy()
    mirrored[::2] = WIDTH - polygon[::2]
    raster = rle.segmentation_to_bitmap((polygon,), HEIGHT, WIDTH)
    np.testing.assert_array_equal(rle.segmentation_to_bitmap((mirrored,), HEIGHT, WIDTH), raster[:, ::-1])
    window = np.array([[0, 0, WIDTH, HEIGHT]], np.float64)
    sample = dataclasses.replace(sample_of(instances=1), bitmaps=[raster], windows=window, boxes=window)
    np.testing.assert_array_equal(horizontal_flip(sample).bitmaps[0], raster[:, ::-1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(20, 200), st.integers(20, 200))
def test_resizing_leaves_mask_targets_alone(seed: int, height: int, width: int) -> None:
    sample = sample_of(seed)
    masks, _ = mask_targets(sample, 28)
    resized, _ = mask_targets(resize_to(sample, height, width, "opencv"), 28)
    # Boxes are float32: a cell covered by almost exactly one half may fall on either side.
    assert (masks != resized).mean() < 2e-3


def test_resizing_scales_each_axis_by_its_own_factor() -> None:
    sample = sample_of()
    resized = resize_to(sample, 2 * HEIGHT, 3 * WIDTH, "opencv")
    np.testing.assert_allclose(resized.boxes, sample.boxes * [3, 2, 3, 2], rtol=1e-6)
    np.testing.assert_allclose(resized.windows, sample.windows * [3, 2, 3, 2])
    np.testing.assert_allclose(resized.keypoints, sample.keypoints * [3, 2, 1], rtol=1e-6)


def test_a_box_around_a_bright_rectangle_still_fits_it_after_resizing() -> None:
    # PAPER §6 row 9: an axis swapped anywhere shows on a wide image with one object off its centre.
    image = np.zeros((300, 500, 3), np.uint8)
    image[40:100, 350:450] = 255
    sample = dataclasses.replace(sample_of(instances=1), image=image, boxes=np.array([[350, 40, 450, 100]], np.float32))
    resized = horizontal_flip(resize_to(sample, 150, 750, "opencv"))
    rows, columns = np.nonzero(resized.image[..., 0] > 127)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(resized.boxes[0], found, atol=1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_cropped_mask_read_in_fine_cells_recovers_the_bitmap(seed: int) -> None:
    sample = sample_of(seed)
    cropped = crop(sample, 10, 20, 40, 60)
    masks, _ = mask_targets(cropped, 112)
    for m, box in enumerate(cropped.boxes):
        if cropped.labels[m] < 1:
            continue
        mask = masks[m]
        # Each pixel whose centre lies in the clipped box, read back from the cells, against the window's bitmap.
        ys, xs = (np.arange(np.ceil(box[k] - 0.5), np.ceil(box[k + 2] - 0.5)) + 0.5 for k in (1, 0))
        rows = np.minimum(((ys - box[1]) / (box[3] - box[1]) * 112).astype(int), 111)
        columns = np.minimum(((xs - box[0]) / (box[2] - box[0]) * 112).astype(int), 111)
        row = int(np.flatnonzero(sample.labels == cropped.labels[m])[0])
        window = cropped.windows[m]
        bitmap = sample.bitmaps[row][(ys - window[1]).astype(int)][:, (xs - window[0]).astype(int)]
        read = mask[rows][:, columns]
        union = (read | bitmap).sum()
        assert union == 0 or (read & bitmap).sum() / union > 0.97


def test_a_crop_drops_slivers_and_ignores_instances_of_which_little_is_left() -> None:
    sample = sample_of(instances=4)
    boxes = np.array([[0, 0, 20.5, 20], [0, 0, 22, 20], [10, 10, 30, 30], [50, 0, 70, 20]], np.float32)
    cropped = crop(dataclasses.replace(sample, boxes=boxes), 0, 20, 60, 28)
    np.testing.assert_array_equal(cropped.boxes, [[0, 0, 2, 20], [0, 10, 10, 30]])
    assert cropped.labels.tolist() == [-1, 3]
    assert cropped.keypoints.shape == (2, 17, 3)


def test_a_crop_takes_the_label_of_joints_outside() -> None:
    sample = sample_of(instances=1)
    sample.keypoints[0, :3] = [[19.5, 30, 2], [20.5, 30, 2], [90, 30, 1]]
    cropped = crop(dataclasses.replace(sample, boxes=np.array([[10, 10, 60, 50]], np.float32)), 0, 20, 60, 50)
    assert cropped.keypoints[0, :3].tolist() == [[0, 0, 0], [0.5, 30, 2], [0, 0, 0]]


def test_a_sample_bitmap_averages_areas_when_it_shrinks() -> None:
    bitmap = np.zeros((8, 8), np.uint8)
    bitmap[:, :5] = 1
    window = np.array([0, 0, 8, 8], np.float64)
    assert sample_bitmap(bitmap, window, window, 2).tolist() == [[1, 0], [1, 0]]
    bitmap[:, :6] = 1
    assert sample_bitmap(bitmap, window, window, 2).tolist() == [[1, 1], [1, 1]]


def test_the_part_of_a_box_outside_the_window_is_empty() -> None:
    bitmap = np.ones((4, 4), np.uint8)
    read = sample_bitmap(bitmap, np.array([4, 0, 8, 4]), np.array([0, 0, 8, 8]), 8)
    assert read[:4, 4:].all()
    assert read.sum() == 16


def test_instances_without_a_mask_and_ignore_regions_have_none() -> None:
    sample = sample_of(instances=3)
    sample.bitmaps[0], sample.bitmaps[2] = None, np.ones((4, 5), np.uint8)
    sample.labels[1] = -1
    masks, has_mask = mask_targets(sample, 14)
    assert has_mask.tolist() == [False, False, True]
    assert not masks[:2].any()


def test_an_image_without_instances_passes_every_transform() -> None:
    sample = sample_of().select(np.zeros(0, int))
    done = crop(horizontal_flip(resize_to(sample, 30, 50, "torchvision"), FLIP), 2, 3, 20, 20)
    masks, has_mask = mask_targets(done, 14)
    assert done.boxes.shape == (0, 4)
    assert masks.shape == (0, 14, 14)
    assert has_mask.shape == (0,)


@pytest.fixture
def one_image(tmp_path: Path) -> tuple[ImageRecord, Dataset]:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[15] = [7, 9, 2]
    polygon = np.array([2, 3, 12, 3, 12, 15, 2, 15], np.float64)
    annotations = (
        Annotation(1, 1, (2.5, 3, 12, 15), 120, False, (polygon,), keypoints),
        Annotation(2, 2, (-5, 4, 6, 40), 10, True, {"size": [20, 30], "counts": [600]}),
        Annotation(3, 1, (4, 4, 4, 9), 0, False, (polygon,)),
    )
    record = ImageRecord(1, "a.png", str(tmp_path / "a.png"), 20, 30, annotations)
    return record, Dataset("d", (Category(1, "person"), Category(5, "bus")), (record,), COCO_PERSON)


def test_loading_clips_boxes_marks_crowds_and_drops_boxes_without_area(one_image: tuple[ImageRecord, Dataset]) -> None:
    sample = make_sample(*one_image, with_masks=True, with_keypoints=True)
    np.testing.assert_array_equal(sample.boxes, [[2.5, 3, 12, 15], [0, 4, 6, 20]])
    assert sample.labels.tolist() == [1, -1]
    assert sample.bitmaps[1] is None
    np.testing.assert_array_equal(sample.windows[0], [2, 3, 12, 15])
    assert sample.bitmaps[0].shape == (12, 10)
    assert sample.bitmaps[0].all()


def test_loading_turns_pixel_indices_into_continuous_coordinates(one_image: tuple[ImageRecord, Dataset]) -> None:
    sample = make_sample(*one_image, with_masks=False, with_keypoints=True)
    assert sample.keypoints[0, 15].tolist() == [7.5, 9.5, 2]
    assert not sample.keypoints[1].any()
    assert sample.bitmaps == [None, None]


def test_augmenting_draws_the_same_from_the_same_generator() -> None:
    settings_ = Augmentation(
        flip=0.5,
        short_sides=(30, 40),
        scale=(0.5, 1.5),
        crop=(32, 32),
        brightness=0.3,
        contrast=0.3,
        saturation=0.3,
        permute_channels=True,
    )
    samples = [
        augment(sample_of(), settings_, np.random.default_rng(4), short_side=50, long_side=200, rule="opencv")
        for _ in range(2)
    ]
    assert_equal_samples(*samples)
    assert max(samples[0].size) <= 32


def test_augmenting_leaves_its_argument_untouched() -> None:
    sample, copy = sample_of(), sample_of()
    settings_ = Augmentation(flip=1.0, scale=(0.5, 1.5), crop=(32, 32), brightness=0.3, saturation=0.3)
    augment(sample, settings_, np.random.default_rng(0), short_side=50, long_side=200, rule="opencv")
    assert_equal_samples(sample, copy)


def test_colours_without_jitter_are_left_alone() -> None:
    image = sample_of().image
    assert jitter_colours(image, Augmentation(), np.random.default_rng(0)) is image


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colour_jitter_keeps_uint8_and_changes_the_pixels(name: str) -> None:
    image = sample_of().image
    jittered = jitter_colours(image, Augmentation(**{name: 0.5}), np.random.default_rng(1))
    assert jittered.dtype == np.uint8
    assert (jittered != image).any()


def test_saturation_leaves_grey_pixels_alone() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    jittered = jitter_colours(grey, Augmentation(saturation=0.5), np.random.default_rng(1))
    assert np.abs(jittered.astype(int) - grey).max() <= 1
