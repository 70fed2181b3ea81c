"""Selection of detections against a slow NumPy twin."""

import numpy as np
import pytest
from keras import ops

from maskrcnn.models.postprocess import select_detections
from maskrcnn.structures import Conventions, RoISettings

SETTINGS = RoISettings(score_threshold=0.05, nms_iou=0.5, detections_per_image=6)


def iou(a, b):
    corner = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inter = np.prod(np.clip(corner, 0, None))
    return inter / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter)


def slow_twin(logits, proposals, settings):
    """Class by class, box by box; deltas are zero."""
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = []
    for label in range(1, logits.shape[-1]):
        kept = []
        for row in np.argsort(-scores[:, label], kind="stable"):
            if scores[row, label] <= settings.score_threshold:
                continue
            if all(iou(proposals[row], proposals[k]) <= settings.nms_iou for k in kept):
                kept.append(row)
                found.append((scores[row, label], label, proposals[row]))
    return sorted(found, key=lambda f: -f[0])[: settings.detections_per_image]


@pytest.mark.parametrize("seed", range(4))
def test_detections_equal_the_slow_twin(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 30, (20, 2))
    proposals = np.concatenate([corners, corners + rng.uniform(10, 30, (20, 2))], -1).astype(np.float32)
    logits = rng.normal(0, 2, (20, 4)).astype(np.float32)
    found = select_detections(
        ops.convert_to_tensor(logits[None]),
        ops.zeros((1, 20, 3, 4)),
        ops.convert_to_tensor(proposals[None]),
        ops.ones((1, 20), dtype="bool"),
        ops.convert_to_tensor(np.array([[100, 100]], np.int32)),
        SETTINGS,
        Conventions(),
    )
    expected = slow_twin(logits, proposals, SETTINGS)
    count = len(expected)
    assert np.asarray(found["labels"])[0, :count].tolist() == [label for _, label, _ in expected]
    np.testing.assert_allclose(np.asarray(found["scores"])[0, :count], [s for s, _, _ in expected], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(found["boxes"])[0, :count], [b for _, _, b in expected], atol=1e-4)
    assert not np.asarray(found["labels"])[0, count:].any()


def test_one_roi_gives_a_detection_of_each_class_above_the_threshold():
    logits = np.log(np.array([[[0.1, 0.5, 0.4]]], np.float32))
    found = select_detections(
        ops.convert_to_tensor(logits),
        ops.zeros((1, 1, 1, 4)),
        ops.convert_to_tensor(np.array([[[5.0, 5.0, 20.0, 20.0]]], np.float32)),
        ops.ones((1, 1), dtype="bool"),
        ops.convert_to_tensor(np.array([[40, 40]], np.int32)),
        SETTINGS,
        Conventions(),
    )
    assert np.asarray(found["labels"])[0, :3].tolist() == [1, 2, 0]


def test_proposals_that_are_not_there_give_nothing():
    found = select_detections(
        ops.zeros((1, 3, 4)),
        ops.zeros((1, 3, 3, 4)),
        ops.zeros((1, 3, 4)),
        ops.zeros((1, 3), dtype="bool"),
        ops.convert_to_tensor(np.array([[40, 40]], np.int32)),
        SETTINGS,
        Conventions(),
    )
    assert not np.asarray(found["labels"]).any()
    assert not np.asarray(found["scores"]).any()


@pytest.mark.parametrize(("smallest_side", "count"), [(0.0, 2), (0.01, 1)])
def test_detections_with_a_side_under_the_limit_are_dropped(smallest_side, count):
    boxes = np.array([[[5.0, 5.0, 20.0, 20.0], [30.0, 5.0, 30.005, 20.0]]], np.float32)
    found = select_detections(
        ops.convert_to_tensor(np.array([[[0.0, 3.0], [0.0, 3.0]]], np.float32)),
        ops.zeros((1, 2, 1, 4)),
        ops.convert_to_tensor(boxes),
        ops.ones((1, 2), dtype="bool"),
        ops.convert_to_tensor(np.array([[40, 40]], np.int32)),
        SETTINGS,
        Conventions(detection_min_side=smallest_side),
    )
    assert (np.asarray(found["labels"]) > 0).sum() == count
