"""Tests of merged views. The network's place is taken by one that is symmetric by construction and reads blobs."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from maskrcnn.models.detector import Detector
from maskrcnn.prediction.network import Stages, compile_network, compile_stages
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.prediction.tta import ViewBatch, merged_outputs, suppress
from maskrcnn.prediction.views import (
    View,
    average_heatmaps,
    average_masks,
    boxes_to_base,
    boxes_to_view,
    unpaired_joints,
    views_of,
)
from maskrcnn.structures import COCO_PERSON, KeypointSchema, ResizeSettings, RoISettings, TTASettings

ROI = RoISettings(nms_iou=0.5, detections_per_image=5)
SIDE = 8
HAND = KeypointSchema(("left_hand", "right_hand", "nose"), flip_pairs=((0, 1),))


def blobs(images: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Boxes around the bright areas of each image, the largest first."""
    found = {
        "boxes": np.zeros((len(images), 5, 4), np.float32),
        "scores": np.zeros((len(images), 5), np.float32),
        "labels": np.zeros((len(images), 5), np.int32),
    }
    for row, image in enumerate(images):
        count, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 100).astype(np.uint8))
        areas = sorted(range(1, count), key=lambda k: -stats[k, cv2.CC_STAT_AREA])
        for slot, k in enumerate(areas):
            x, y, width, height, _ = stats[k]
            found["boxes"][row, slot] = x, y, x + width, y + height
            found["scores"][row, slot], found["labels"][row, slot] = 0.9 - 0.1 * slot, 1
    return images, found


def look(images: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Brightness at the cells of each box as mask; joints by side: left hand on the right, nose in the middle."""
    masks = np.zeros((*labels.shape, SIDE, SIDE), np.float32)
    for row, slot in zip(*np.nonzero(labels), strict=True):
        x1, y1, x2, y2 = boxes[row, slot]
        x, y = (np.arange(SIDE) + 0.5) / SIDE * (x2 - x1) + x1, (np.arange(SIDE) + 0.5) / SIDE * (y2 - y1) + y1
        masks[row, slot] = images[row, ..., 1][y.astype(int)][:, x.astype(int)] / 255
    halves = np.repeat([[0.0], [1.0]], SIDE // 2, axis=0)[:, 0]
    joints = np.stack([masks * halves, masks * halves[::-1], masks], axis=-1)
    return {"masks": masks, "keypoint_logits": joints}


STAGES = Stages(blobs, look)


def scene() -> np.ndarray:
    image = np.zeros((1, 64, 96, 3), np.float32)
    rng = np.random.default_rng(1)
    for x1, y1, x2, y2 in ((8, 8, 40, 32), (56, 24, 80, 56)):
        image[0, y1:y2, x1:x2, 0] = 255
        texture = rng.uniform(0, 255, ((y2 - y1) // 4, (x2 - x1) // 4)).astype(np.float32)
        image[0, y1:y2, x1:x2, 1] = np.kron(texture, np.ones((4, 4)))
    return image


def in_view(image: np.ndarray, view: View) -> ViewBatch:
    sized = np.kron(image, np.ones((1, int(view.scale), int(view.scale), 1))).astype(np.float32)
    sized = sized[:, :, ::-1] if view.flipped else sized
    return ViewBatch(sized, np.array([sized.shape[1:3]], np.int32))


@pytest.mark.parametrize(("flip", "scales"), [(True, []), (False, [2.0]), (True, [2.0, 3.0])])
def test_views_of_a_symmetric_network_change_nothing(flip: bool, scales: list[float]) -> None:
    views = views_of(TTASettings(flip, scales))
    batches = [in_view(scene(), view) for view in views]
    plain = merged_outputs(STAGES, views[:1], batches[:1], ROI, HAND)
    merged = merged_outputs(STAGES, views, batches, ROI, HAND)
    assert np.count_nonzero(plain["labels"]) == 2
    assert set(merged) == set(plain)
    for name, value in plain.items():
        np.testing.assert_allclose(merged[name], value, atol=1e-5, err_msg=name)


def test_what_only_one_view_finds_is_kept_in_pixels_of_the_base_view() -> None:
    def find(images: np.ndarray, sizes: np.ndarray) -> Any:
        found = blobs(images, sizes)[1]
        plain = images.shape[1] == 64
        return images, {name: value * 0 if plain else value for name, value in found.items()}

    views = views_of(TTASettings(False, [2.0]))
    merged = merged_outputs(Stages(find, look), views, [in_view(scene(), v) for v in views], ROI, HAND)
    np.testing.assert_allclose(merged["boxes"][0, :2], [[8, 8, 40, 32], [56, 24, 80, 56]])


def test_views_are_the_base_view_first_then_each_once() -> None:
    assert views_of(TTASettings()) == [View(1.0, False)]
    found = views_of(TTASettings(True, [0.5, 1.0, 0.5]))
    assert found == [View(1.0, False), View(1.0, True), View(0.5, False), View(0.5, True)]


def test_a_scale_multiplies_the_short_side_and_the_limit_of_the_long_side() -> None:
    rule = ResizeSettings(short_side=100, long_side=150)
    assert View(1.0, False).input_size(300, 600, rule, "opencv") == (75, 150)
    assert View(2.0, False).input_size(300, 600, rule, "opencv") == (150, 300)
    assert View(1.5, True).input_size(64, 96, ResizeSettings(0, 0), "opencv") == (96, 144)


def test_boxes_come_back_from_every_view() -> None:
    boxes = np.array([[3.0, 4.0, 20.0, 50.0], [0.0, 0.0, 96.0, 64.0]], np.float32)
    for flipped in (False, True):
        there = boxes_to_view(boxes, (64, 96), (100, 141), flipped)
        np.testing.assert_allclose(boxes_to_base(there, (64, 96), (100, 141), flipped), boxes, atol=1e-4)
    np.testing.assert_allclose(boxes_to_view(boxes[:1], (64, 96), (128, 192), True), [[152, 8, 186, 100]])


def test_mirrored_masks_are_turned_back_before_the_mean() -> None:
    mask = np.arange(8, dtype=np.float32).reshape(1, 1, 2, 4)
    mean = average_masks([mask, mask[..., ::-1]], [View(1, False), View(1, True)])
    np.testing.assert_array_equal(mean, mask)


def test_a_mirrored_left_hand_is_a_right_hand() -> None:
    maps = np.random.default_rng(0).normal(size=(1, 1, 2, 4, 3)).astype(np.float32)
    mirrored = maps[..., ::-1, :][..., [1, 0, 2]]
    mean = average_heatmaps([maps, mirrored], [View(1, False), View(1, True)], HAND)
    np.testing.assert_allclose(mean, maps, atol=1e-6)


def test_a_joint_without_its_partner_keeps_its_unflipped_map() -> None:
    schema = COCO_PERSON.select([0, 5, 15, 16])  # nose, left shoulder, both ankles
    assert unpaired_joints(schema).tolist() == [False, True, False, False]
    plain, mirrored = np.random.default_rng(0).normal(size=(2, 1, 1, 6, 6, 4)).astype(np.float32)
    mean = average_heatmaps([plain, mirrored], [View(1, False), View(1, True)], schema)
    np.testing.assert_array_equal(mean[..., 1], plain[..., 1])
    np.testing.assert_allclose(mean[..., 0], (plain[..., 0] + mirrored[..., ::-1, 0]) / 2, rtol=1e-6)
    np.testing.assert_allclose(mean[..., 2], (plain[..., 2] + mirrored[..., ::-1, 3]) / 2, rtol=1e-6)


def test_plain_views_of_a_joint_without_partner_are_still_averaged() -> None:
    schema = HAND.select([0])
    first, flipped, second, ignored = np.random.default_rng(0).normal(size=(4, 1, 1, 3, 3, 1)).astype(np.float32)
    views = [View(1, False), View(1, True), View(2, False), View(2, True)]
    mean = average_heatmaps([first, flipped, second, ignored], views, schema)
    np.testing.assert_allclose(mean, (first + second) / 2, rtol=1e-6)


def test_a_side_in_a_name_without_a_pair_counts_as_unpaired() -> None:
    # Models that were saved before the schema said so.
    assert unpaired_joints(KeypointSchema(("nose", "left_ear"))).tolist() == [False, True]


def test_a_subset_of_a_subset_remembers_lost_partners() -> None:
    assert COCO_PERSON.select([0, 5, 15, 16]).select([1, 0]).unpaired == (0,)


def test_suppression_keeps_the_best_of_each_label_and_drops_padding() -> None:
    box = [0.0, 0.0, 10.0, 10.0]
    boxes = np.array([box, [0, 0, 10, 9], box, [50, 0, 60, 10], box], np.float32)
    rows = suppress(boxes, np.array([0.5, 0.8, 0.6, 0.1, 0.9]), np.array([1, 1, 2, 1, 0]), iou_threshold=0.5)
    assert rows.tolist() == [1, 2, 3]
    assert len(suppress(np.zeros((0, 4)), np.zeros(0), np.zeros(0), iou_threshold=0.5)) == 0


def test_the_two_stages_give_what_the_whole_network_gives(tiny_detector: Detector) -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)
    sizes = np.array([[64, 96], [60, 80]], np.int32)
    whole = compile_network(tiny_detector)(images, sizes)
    stages = compile_stages(tiny_detector)
    features, found = stages.find(images, sizes)
    parts = found | stages.read(features, found["boxes"], found["labels"])
    assert np.count_nonzero(whole["labels"]) > 0
    assert set(parts) == set(whole)
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, atol=1e-5, err_msg=name)


def test_a_predictor_with_views_gives_detections_in_original_pixels(
    tiny_detector: Detector, photos: list[np.ndarray]
) -> None:
    found = Predictor(tiny_detector, tta=TTASettings(True, [1.5])).predict_images(photos)
    for image, detections in zip(photos, found, strict=True):
        height, width = image.shape[:2]
        assert len(detections) > 0
        assert (detections.boxes >= 0).all()
        assert (detections.boxes <= [width, height, width, height]).all()
        assert detections.bool_masks().shape[1:] == (height, width)
        assert detections.keypoints is not None
        assert np.isfinite(detections.keypoints).all()
        assert (np.diff(detections.scores) <= 0).all()


def test_plain_settings_change_nothing(tiny_detector: Detector, photos: list[np.ndarray]) -> None:
    plain = Predictor(tiny_detector).predict_images(photos)
    same = Predictor(tiny_detector, tta=TTASettings(False, [1.0])).predict_images(photos)
    for a, b in zip(plain, same, strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)
        assert a.masks == b.masks


def test_more_views_mean_fewer_images_at_once(tiny_detector: Detector) -> None:
    assert Predictor(tiny_detector, batch_size=8, tta=TTASettings(True, [0.5]))._images_at_once == 2
    assert Predictor(tiny_detector, batch_size=1, tta=TTASettings(True))._images_at_once == 1
