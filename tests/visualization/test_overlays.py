"""Overlays: sizes, colours, what is drawn and what is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from maskrcnn.data import rle
from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Annotation
from maskrcnn.structures import COCO_PERSON
from maskrcnn.visualization.canvas import Style, pen_for
from maskrcnn.visualization.colours import LEFT, instance_colour
from maskrcnn.visualization.overlays import (
    draw,
    draw_instances,
    instances_of_detections,
    instances_of_truth,
    label_text,
    side_by_side,
)

Pose = Callable[..., np.ndarray]

NAMES = ("cup", "person")
PLAIN = Style(min_side=0, max_side=None, labels=False)


def grey(height: int = 400, width: int = 400) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def square(box: tuple[int, int, int, int], **changes: Any) -> Annotation:
    bits = np.zeros((400, 400), bool)
    bits[box[1] : box[3], box[0] : box[2]] = True
    base = Annotation(1, 1, box, float(bits.sum()), False, rle.encode(bits))
    return replace(base, **changes)


def found(boxes: list[tuple[int, int, int, int]], scores: list[float], **changes: Any) -> Detections:
    labels = np.ones(len(boxes), np.int32)
    shapes = np.array(boxes, np.float32).reshape(-1, 4)
    return replace(Detections(shapes, np.array(scores, np.float32), labels, None, None, 400, 400), **changes)


def holds(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour, np.uint8)).all(axis=-1).any())


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [
        (128, 128, (384, 384)),
        (100, 60, (400, 240)),
        (400, 300, (400, 300)),
        (2000, 1500, (1024, 768)),
        (1, 1, (384, 384)),
        (3, 2000, (128, 1024)),
        (2000, 3, (1024, 128)),
    ],
)
def test_pictures_have_a_size_that_makes_a_thumbnail(height: int, width: int, shape: tuple[int, int]) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    bits = np.ones((1, height, width), bool)
    picture = draw_instances(image, np.array([[0, 0, width, height]]), np.array([1]), NAMES, masks=bits)
    assert picture.dtype == np.uint8
    assert picture.shape == (*shape, 3)


def test_images_of_another_type_are_refused() -> None:
    for image in (np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)):
        with pytest.raises(ValueError, match="uint8 image"):
            draw(image, [], NAMES)


def test_no_instances_leave_the_image_as_it_was() -> None:
    image = np.random.default_rng(0).integers(0, 256, (400, 420, 3)).astype(np.uint8)
    np.testing.assert_array_equal(draw(image, [], NAMES), image)
    np.testing.assert_array_equal(draw(image, Detections.empty(400, 420, masks=True), NAMES), image)


def test_drawing_does_not_write_into_its_input() -> None:
    image = grey()
    draw(image, [square((50, 50, 90, 90))], NAMES)
    assert (image == 100).all()


def test_pixels_outside_frame_mask_and_label_stay_as_they_were() -> None:
    image = np.random.default_rng(0).integers(0, 256, (400, 400, 3)).astype(np.uint8)
    picture = draw(image, [square((150, 200, 300, 320))], NAMES)
    pen = pen_for(image)
    margin = pen.line + 2 * pen.outline + 1
    height = round(1.2 * pen.text) + 2
    changed = np.argwhere((picture != image).any(axis=-1))
    assert changed.min(axis=0).tolist() >= [200 - margin - height, 150 - margin]
    assert changed.max(axis=0).tolist() <= [320 + margin, 300 + margin]


def test_a_frame_leaves_a_small_object_visible() -> None:
    picture = draw(grey(), [square((100, 100, 110, 112), segmentation=None)], NAMES, style=PLAIN)
    assert (picture[101:111, 101:109] == 100).all()
    assert holds(picture[80:130, 80:130], instance_colour(0))


def test_a_frame_at_the_border_stays_inside_the_picture() -> None:
    picture = draw(grey(), [square((0, 0, 400, 400), segmentation=None)], NAMES, style=PLAIN)
    for edge in (picture[:8, 200], picture[-8:, 200], picture[200, :8], picture[200, -8:]):
        assert holds(edge, instance_colour(0))


def test_a_mask_tints_its_pixels_and_no_others() -> None:
    truth = square((100, 100, 200, 200))
    assert isinstance(truth.segmentation, dict)
    bits = rle.decode(truth.segmentation).astype(bool)
    picture = draw(grey(), [replace(truth, box=(0.0, 0.0, 1.0, 1.0))], NAMES, style=PLAIN)
    inside = np.round(np.array([100, 100, 100]) * 0.55 + np.array(instance_colour(0)) * 0.45)
    assert np.abs(picture[150, 150].astype(float) - inside).max() <= 8  # paler by the share of the picture it fills
    around = cv2.dilate(bits.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    around[:20, :20] = True  # the frame
    assert (picture[~around] == 100).all()


def test_masks_may_be_arrays_run_lengths_or_missing() -> None:
    truth = square((100, 100, 200, 200))
    assert isinstance(truth.segmentation, dict)
    bits = rle.decode(truth.segmentation).astype(bool)
    boxes, labels = np.array([[100, 100, 200, 200]] * 2), np.array([1, 2])
    from_array = draw_instances(grey(), boxes, labels, NAMES, masks=np.stack([bits, bits]))
    from_codes = draw_instances(grey(), boxes, labels, NAMES, masks=[truth.segmentation, truth.segmentation])
    np.testing.assert_array_equal(from_array, from_codes)
    without = draw_instances(grey(), boxes, labels, NAMES, masks=[truth.segmentation, None])
    assert (without != from_codes).any()


def test_an_empty_mask_and_a_flat_box_do_no_harm() -> None:
    empty = rle.encode(np.zeros((400, 400), bool))
    picture = draw(grey(), [square((50, 50, 50, 50), segmentation=empty), square((390, 390, 400, 400))], NAMES)
    assert picture.shape == (400, 400, 3)


def test_boxes_outside_the_image_do_no_harm() -> None:
    for box in ((-500, -500, -400, -400), (900, 900, 1000, 1000), (-50, -50, 500, 500)):
        assert draw(grey(), [replace(square((0, 0, 5, 5)), box=box)], NAMES).shape == (400, 400, 3)


def test_a_crowd_is_hatched_and_takes_no_objects_colour() -> None:
    crowd = square((200, 200, 350, 350), is_crowd=True)
    alone = draw(grey(), [square((20, 20, 80, 80))], NAMES, style=PLAIN)
    both = draw(grey(), [crowd, square((20, 20, 80, 80))], NAMES, style=PLAIN)
    np.testing.assert_array_equal(both[:150, :150], alone[:150, :150])
    assert not holds(both[160:, 160:], instance_colour(1))
    stripes = both[230:320, 230:320].reshape(-1, 3)
    assert 0.05 < (stripes != 100).any(axis=1).mean() < 0.6


def test_the_same_input_gives_the_same_picture() -> None:
    objects = [square((10 * k, 10 * k, 10 * k + 60, 10 * k + 60)) for k in range(12)]
    np.testing.assert_array_equal(draw(grey(), objects, NAMES), draw(grey(), objects, NAMES))


def test_detections_take_the_colours_of_the_truth_whatever_their_order() -> None:
    truth = [square((10, 10, 110, 110)), square((200, 200, 300, 300))]
    detections = found([(202, 199, 300, 300), (12, 10, 110, 108), (300, 10, 390, 100)], [0.9, 0.8, 0.7])
    boxes = instances_of_truth(truth, 400, 400).boxes
    drawn = instances_of_detections(detections, truth=boxes)
    assert drawn.numbers is not None
    assert drawn.numbers.tolist() == [1, 0, 2]
    picture = side_by_side(grey(), truth, detections, NAMES, style=PLAIN)
    strip = picture.shape[0] - 400
    left, right = picture[strip:, :400], picture[strip:, -400:]
    for part in (left, right):
        assert holds(part[:150, :150], instance_colour(0))
        assert holds(part[190:310, 190:310], instance_colour(1))
    assert not holds(left, instance_colour(2))
    assert holds(right[:120, 280:], instance_colour(2))


def test_detections_below_the_score_are_left_out() -> None:
    detections = found([(10, 10, 110, 110), (200, 200, 300, 300)], [0.5, 0.49])
    picture = draw(grey(), detections, NAMES, style=PLAIN)
    assert holds(picture[:150, :150], instance_colour(0))
    assert (picture[190:310, 190:310] == 100).all()


def test_masks_of_detections_left_out_are_not_decoded() -> None:
    broken = {"size": [400, 400], "counts": "not a code"}
    good = square((10, 10, 110, 110)).segmentation
    detections = found([(10, 10, 110, 110), (200, 200, 300, 300)], [0.9, 0.1], masks=[good, broken])
    assert draw(grey(), detections, NAMES).shape == (400, 400, 3)


def test_side_by_side_has_two_halves_under_captions() -> None:
    picture = side_by_side(np.zeros((128, 128, 3), np.uint8), [], Detections.empty(128, 128), NAMES)
    assert picture.dtype == np.uint8
    assert picture.shape[1] >= 2 * 384
    assert 384 < picture.shape[0] < 384 + 40
    for shape in ((1, 1), (3, 2000), (2000, 3)):
        thin = side_by_side(np.zeros((*shape, 3), np.uint8), [], Detections.empty(*shape), NAMES)
        assert max(thin.shape[:2]) <= 8 * min(thin.shape[:2])


def test_keypoints_of_the_file_are_drawn_at_pixel_centres_of_the_schemas_joints() -> None:
    joints = np.zeros((17, 3), np.float32)
    joints[5] = (10, 20, 2)
    part = COCO_PERSON.select([5, 6])
    drawn = instances_of_truth([square((0, 0, 50, 50), keypoints=joints)], 400, 400, part)
    assert drawn.keypoints is not None
    assert drawn.keypoints.tolist() == [[[10.5, 20.5, 2.0], [0.5, 0.5, 0.0]]]


def test_joints_of_low_score_are_not_drawn() -> None:
    keypoints = np.array([[[10, 10, 0.9], [20, 20, 0.1]]], np.float32)
    drawn = instances_of_detections(found([(0, 0, 50, 50)], [0.9], keypoints=keypoints), joint_score=0.5)
    assert drawn.keypoints is not None
    assert drawn.keypoints[0, :, 2].tolist() == [2.0, 0.0]


def test_joints_of_detectors_that_count_pixel_indices_are_drawn_at_pixel_centres() -> None:
    detections = found([(0, 0, 50, 50)], [0.9], keypoints=np.array([[[10, 10, 0.9], [0, 0, 0]]], np.float32))
    drawn = instances_of_detections(replace(detections, keypoint_offset=0.0))
    assert drawn.keypoints is not None
    assert drawn.keypoints[0].tolist() == [[10.5, 10.5, 2.0], [0.5, 0.5, 0.0]]


def test_detections_of_categories_without_joints_get_no_skeleton(pose: Pose) -> None:
    keypoints = np.stack([np.zeros((17, 3), np.float32), pose()])
    both = found([(10, 300, 60, 390), (40, 80, 360, 260)], [0.9, 0.8], keypoints=keypoints)
    drawn = instances_of_detections(both)
    assert drawn.keypoints is not None
    assert not drawn.keypoints[0].any()
    alone = draw(grey(), both.take(np.array([0])), NAMES, schema=COCO_PERSON, style=PLAIN)
    without = draw(grey(), replace(both, keypoints=None).take(np.array([0])), NAMES, style=PLAIN)
    np.testing.assert_array_equal(alone, without)


def test_the_truth_shows_masks_only_beside_predicted_masks() -> None:
    truth = [square((100, 100, 200, 200))]
    with_masks = side_by_side(grey(), truth, Detections.empty(400, 400, masks=True), NAMES, style=PLAIN)
    without = side_by_side(grey(), truth, Detections.empty(400, 400), NAMES, style=PLAIN)
    strip = without.shape[0] - 400
    assert (without[strip + 150, 150] == 100).all()
    assert (with_masks[strip + 150, 150] != 100).any()


def test_keypoints_are_drawn_only_with_a_schema(pose: Pose) -> None:
    detections = found([(40, 80, 360, 260)], [0.9], keypoints=pose()[None])
    without = draw(grey(), detections, NAMES, style=PLAIN)
    assert not holds(without, LEFT)
    assert holds(draw(grey(), detections, NAMES, schema=COCO_PERSON, style=PLAIN), LEFT)


def test_label_texts() -> None:
    assert label_text(NAMES, 1, 0.876) == "cup 0.88"
    assert label_text(NAMES, 2, None) == "person"
    assert label_text(NAMES, 2, None, crowd=True) == "person (crowd)"
    assert label_text(NAMES, 7, None) == "7"


def test_labels_of_any_script_are_drawn() -> None:
    names = ("Größe", "человек", "杯子")
    for label in (1, 2, 3):
        drawn = [square((50, 50, 200, 200), label=label)]
        with_label, without = draw(grey(), drawn, names), draw(grey(), drawn, names, style=PLAIN)
        assert (with_label != without).any()
