"""Trained rows go where their category or joint goes; everything else is copied as it stands."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.models.detector import Detector
from maskrcnn.structures import (
    COCO_PERSON,
    AnchorSettings,
    BackboneSettings,
    BoxHeadSettings,
    Conventions,
    DetectorSettings,
    KeypointHeadSettings,
    MaskHeadSettings,
    PyramidSettings,
)
from maskrcnn.weights.coco_names import COCO_NAMES
from maskrcnn.weights.transfer import match_names, transfer


def settings(*, background: int = 0, masks: bool = True, keypoints: bool = False, width: int = 8) -> DetectorSettings:
    return DetectorSettings(
        backbone=BackboneSettings("small", norm="batch"),
        pyramid=PyramidSettings(width, 3),
        anchors=AnchorSettings([[16.0]] * 4),
        box_head=BoxHeadSettings(channels=16),
        mask_head=MaskHeadSettings(convolutions=1, channels=8) if masks else None,
        keypoint_head=KeypointHeadSettings(convolutions=1, channels=8) if keypoints else None,
        conventions=Conventions(background_index=background),
    )


def detector(names: list[str], joints: list[int] | None = None, **options: Any) -> Detector:
    schema = COCO_PERSON.select(joints) if joints is not None else None
    return Detector(
        settings(keypoints=joints is not None, **options),
        len(names),
        len(joints or ()),
        metadata={
            "categories": [{"id": k, "name": name} for k, name in enumerate(names, start=1)],
            "schema": dataclasses.asdict(schema) if schema else None,
        },
    )


def pooled(side: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, side, side, 8)).astype("float32")


def outputs(model: Detector) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class logits [5, C + 1], deltas [5, C, 4] and mask logits [5, 28, 28, C] of some features."""
    logits, deltas = model.box_head(pooled(7))
    return np.asarray(logits), np.asarray(deltas), np.asarray(model.mask_head(pooled(14)))


@pytest.mark.parametrize("background", [0, -1])
def test_kept_classes_have_the_logits_boxes_and_masks_of_the_source(background: int) -> None:
    source = detector(list(COCO_NAMES), background=background)
    target = detector(["traffic light", "gnome", "cat"], background=background)
    before = outputs(target)
    report = transfer(source, target)
    assert (report.kept, report.new, report.dropped) == (("traffic light", "cat"), ("gnome",), 78)
    theirs, ours = outputs(source), outputs(target)
    labels = [COCO_NAMES.index("traffic light"), COCO_NAMES.index("cat")]
    shift = 1 if background == 0 else 0
    place = 0 if background == 0 else -1
    np.testing.assert_allclose(ours[0][:, [shift, 2 + shift]], theirs[0][:, [k + shift for k in labels]], rtol=1e-5)
    np.testing.assert_allclose(ours[0][:, place], theirs[0][:, place], rtol=1e-5)
    np.testing.assert_allclose(ours[1][:, [0, 2]], theirs[1][:, labels], rtol=1e-5)
    np.testing.assert_allclose(ours[2][..., [0, 2]], theirs[2][..., labels], rtol=1e-5)
    assert np.abs(ours[2][..., 1]).max() < 1  # the new class keeps its own small initial weights
    assert before[1].shape == ours[1].shape


def test_new_classes_keep_their_initial_rows_exactly() -> None:
    source, target = detector(["cat", "dog"]), detector(["gnome", "dog"])
    before = np.array(target.box_head.class_logits.kernel)
    transfer(source, target)
    after = np.array(target.box_head.class_logits.kernel)
    np.testing.assert_array_equal(after[:, 1], before[:, 1])
    np.testing.assert_array_equal(after[:, 2], np.array(source.box_head.class_logits.kernel)[:, 2])


def test_another_number_of_joints_keeps_the_maps_of_the_named_ones() -> None:
    source = detector(["person"], list(range(17)), masks=False)
    target = detector(["person"], [16, 0, 5], masks=False)
    report = transfer(source, target)
    assert report.kept_joints == ("right_ankle", "nose", "left_shoulder")
    theirs, ours = source.keypoint_head(pooled(14)), target.keypoint_head(pooled(14))
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs)[..., [16, 0, 5]], rtol=1e-4, atol=1e-6)


def test_heads_that_one_side_lacks_are_named() -> None:
    report = transfer(detector(["cat"], [0, 1]), detector(["cat"], masks=False))
    assert (report.new_parts, report.dropped_parts) == ((), ("keypoint_head", "mask_head"))
    report = transfer(detector(["cat"], masks=False), detector(["cat"]))
    assert report.new_parts == ("mask_head",)
    assert "parts with initial weights: mask_head" in report.to_text()


def test_another_architecture_is_refused_and_changes_nothing() -> None:
    source, target = detector(["cat"]), detector(["cat"], width=16)
    before = [np.array(v) for v in target.weights]
    with pytest.raises(UserError, match="another architecture"):
        transfer(source, target)
    for value, variable in zip(before, target.weights, strict=True):
        np.testing.assert_array_equal(value, variable)


def test_names_match_whatever_their_case_and_blanks() -> None:
    assert match_names(["N/A", "Traffic Light", "cat"], ["traffic_light", "N/A", "dog", "CAT"]) == [1, None, None, 2]
