from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maskrcnn.prediction.export_check import compare
from maskrcnn.prediction.tta import ViewBatch


def outputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    corners = np.array([[[5, 5], [40, 10], [8, 60], [0, 0]]], np.float32)
    boxes = np.concatenate([corners, corners + 20], -1)
    labels = np.array([[1, 2, 1, 0]], np.int32)
    maps = rng.normal(size=(1, 4, 6, 6, 2)).astype(np.float32)
    masks = rng.uniform(size=(1, 4, 4, 4)).astype(np.float32)
    scores = np.array([[0.9, 0.8, 0.7, 0.0]], np.float32)
    return {"boxes": boxes, "scores": scores, "labels": labels, "masks": masks, "keypoint_logits": maps}


def compared(**changes: Any) -> Any:
    one = ViewBatch(np.zeros((1, 8, 8, 3), np.float32), np.array([[8, 8]], np.int32))
    return compare(lambda images, sizes: outputs(), lambda images, sizes: outputs() | changes, [one])


def test_equal_models_differ_by_nothing() -> None:
    found = compared()
    assert found.passed
    assert found.differences == {"boxes": 0, "scores": 0, "masks": 0, "heatmaps": 0, "keypoints": 0}
    assert (found.images, found.detections, found.unmatched) == (1, 3, 0)


def test_detections_in_another_order_are_the_same() -> None:
    order = [2, 0, 3, 1]
    found = compared(**{name: value[:, order] for name, value in outputs().items()})
    assert found.passed
    assert max(found.differences.values()) == 0


@pytest.mark.parametrize(("name", "step"), [("boxes", 0.06), ("scores", 0.002), ("masks", 0.002)])
def test_a_difference_above_the_limit_is_found(name: str, step: float) -> None:
    found = compared(**{name: outputs()[name] + np.float32(step)})
    assert not found.passed
    assert found.differences[name] == pytest.approx(step, rel=1e-3)
    assert f"{name} {step:.1e}" in str(found)


def test_a_lost_detection_is_told() -> None:
    labels = outputs()["labels"].copy()
    labels[0, 1] = 0
    found = compared(labels=labels)
    assert found.unmatched == 1
    assert not found.passed
    assert "1 detections without a partner" in str(found)


def test_no_detections_at_all_are_no_difference() -> None:
    nothing = outputs() | {"labels": np.zeros((1, 4), np.int32)}
    one = ViewBatch(np.zeros((1, 8, 8, 3), np.float32), np.array([[8, 8]], np.int32))
    found = compare(lambda images, sizes: nothing, lambda images, sizes: nothing, [one])
    assert found.passed
    assert found.detections == 0
