from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import ops

from maskrcnn.ops.boxes import pairwise_iou
from maskrcnn.ops.matching import match_anchors, match_proposals, running_overlaps

RPN = {"positive_iou": 0.7, "negative_iou": 0.3, "low_quality": True}


@pytest.fixture
def match(compiled):
    def run(anchors, boxes, labels):
        form = compiled("rpn", lambda: partial(match_anchors, **RPN), ("float32", 2), ("float32", 3), ("int32", 2))
        found = form(np.asarray(anchors, "float32"), np.asarray(boxes, "float32"), np.asarray(labels, "int32"))
        return tuple(map(np.asarray, found))

    return run


def from_matrix(quality, positive_iou, negative_iou, low_quality):
    """torchvision's coding (row, -1 below, -2 between) of what the pass finds on a given IoU matrix `[M, A]`."""
    quality = ops.convert_to_tensor(quality)
    zero = ops.zeros_like(quality[:1])
    found = running_overlaps(
        lambda m: (ops.take(quality, m, axis=0)[None], zero), quality.shape[0], (1, quality.shape[1])
    )
    best, matched = np.asarray(found.best)[0], np.asarray(found.matched)[0]
    positive = best >= np.float32(positive_iou)
    if low_quality:
        positive |= np.asarray(found.is_best_of_some)[0]
    return np.where(positive, matched, np.where(best < np.float32(negative_iou), -1, -2))


@pytest.mark.parametrize(
    ("expected", "rule"),
    [
        ("matcher.rpn", (0.7, 0.3, True)),
        ("matcher.rpn_without_low_quality", (0.7, 0.3, False)),
        ("matcher.box", (0.5, 0.5, False)),
    ],
)
def test_thresholds_and_ties_agree_with_torchvision(golden, expected, rule):
    np.testing.assert_array_equal(from_matrix(golden["matcher.quality"], *rule), golden[expected])


def test_a_ground_truth_that_meets_no_anchor_marks_none(match):
    """PAPER §6 row 19; torchvision's matcher marks all anchors with IoU 0 here."""
    states, _ = match([[0, 0, 10, 10], [20, 20, 30, 30]], [[[500, 500, 510, 510]]], [[1]])
    np.testing.assert_array_equal(states, [[0, 0]])


def test_a_zero_row_changes_nothing_else(golden):
    got = from_matrix(golden["matcher.quality_zero_row"], 0.7, 0.3, True)
    others = from_matrix(np.delete(golden["matcher.quality_zero_row"], 2, axis=0), 0.7, 0.3, True)
    np.testing.assert_array_equal(got, np.where(others > 1, others + 1, others))


def test_rpn_targets_agree_with_torchvision(match, golden):
    ground_truth = golden["rpn_targets.gt"]
    states, matched = match(golden["anchors.all"], ground_truth[None], np.ones((1, 3)))
    np.testing.assert_array_equal(states[0], golden["rpn_targets.labels"])
    np.testing.assert_array_equal(ground_truth[matched[0][states[0] == 1]], golden["rpn_targets.matched"])


def test_a_low_quality_match_keeps_its_own_best_ground_truth(match):
    # The anchor is the best one of both objects, and overlaps the first more.
    states, matched = match([[0, 0, 10, 10]], [[[0, 0, 10, 5], [0, 6, 10, 10]]], [[1, 2]])
    assert states.tolist() == [[1]]
    assert matched.tolist() == [[0]]


def test_all_ties_of_the_best_anchor_are_positive(match):
    states, _ = match([[0, 0, 10, 10], [10, 0, 20, 10], [40, 40, 50, 50]], [[[5, 0, 15, 10]]], [[1]])
    np.testing.assert_array_equal(states, [[1, 1, 0]])


def test_no_ground_truth_makes_every_anchor_negative(match):
    states, matched = match(np.tile([0, 0, 10, 10], (4, 1)), np.zeros((2, 0, 4)), np.zeros((2, 0)))
    assert states.shape == matched.shape == (2, 4)
    assert not states.any()
    assert not matched.any()


def test_padding_never_matches_an_empty_anchor_at_the_origin(match):
    states, _ = match([[0, 0, 0, 0], [0, 0, 8, 8]], np.zeros((1, 3, 4)), np.zeros((1, 3)))
    np.testing.assert_array_equal(states, [[0, 0]])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31 - 1), st.integers(1, 12))
def test_rows_of_padding_change_nothing(match, seed, padding):
    """PAPER §6 row 18."""
    rng = np.random.default_rng(seed)
    anchors, boxes = random_boxes(rng, (40,)), random_boxes(rng, (1, 3))
    labels = rng.integers(1, 4, (1, 3))
    padded_boxes = np.concatenate([boxes, np.zeros((1, padding, 4))], axis=1)
    padded_labels = np.concatenate([labels, np.zeros((1, padding), int)], axis=1)
    for got, expected in zip(match(anchors, padded_boxes, padded_labels), match(anchors, boxes, labels), strict=True):
        np.testing.assert_array_equal(got, expected)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31 - 1))
def test_states_agree_with_the_matrix_of_all_overlaps(match, seed):
    rng = np.random.default_rng(seed)
    anchors, boxes = random_boxes(rng, (60,)), random_boxes(rng, (1, 5))
    iou = np.asarray(pairwise_iou(boxes[0], anchors))
    best_of_some = ((iou == iou.max(axis=1, keepdims=True)) & (iou > 0)).any(axis=0)
    expected = np.where((iou.max(0) >= 0.7) | best_of_some, 1, np.where(iou.max(0) < np.float32(0.3), 0, -1))
    states, matched = match(anchors, boxes, np.ones((1, 5)))
    np.testing.assert_array_equal(states[0], expected)
    np.testing.assert_array_equal(matched[0], iou.argmax(axis=0))


def test_anchors_inside_a_crowd_are_neither_positive_nor_negative(match):
    """PAPER §6 row 29: more than 0.7 of the anchor's own area inside the crowd."""
    anchors = [[0, 0, 10, 10], [93, 0, 103, 10], [92, 0, 102, 10], [200, 200, 210, 210]]
    states, _ = match(anchors, [[[0, 0, 100, 100]]], [[-1]])
    np.testing.assert_array_equal(states, [[-1, 0, -1, 0]])


def test_a_crowd_does_not_take_a_positive_away(match):
    states, matched = match([[0, 0, 10, 10]], [[[0, 0, 100, 100], [0, 0, 10, 10]]], [[-1, 1]])
    assert states.tolist() == [[1]]
    assert matched.tolist() == [[1]]


def test_proposals_are_positive_from_the_threshold_on_and_negative_below():
    proposals = np.float32([[[0, 0, 10, 10], [0, 0, 10, 20], [0, 0, 10, 21], [0, 0, 10, 10]]])
    valid = np.array([[True, True, True, False]])
    states, matched = match_proposals(
        proposals, valid, np.float32([[[0, 0, 10, 10]]]), np.array([[3]]), positive_iou=0.5
    )
    np.testing.assert_array_equal(np.asarray(states), [[1, 1, 0, -1]])
    assert np.asarray(matched).shape == (1, 4)


def test_proposals_in_a_crowd_are_ignored():
    proposals = np.float32([[[0, 0, 10, 10], [300, 0, 310, 10]]])
    states, _ = match_proposals(
        proposals, np.ones((1, 2), bool), np.float32([[[0, 0, 100, 100]]]), np.array([[-1]]), positive_iou=0.5
    )
    np.testing.assert_array_equal(np.asarray(states), [[-1, 0]])


def random_boxes(rng, shape):
    corners = rng.integers(0, 12, (*shape, 2))
    return np.concatenate([corners, corners + rng.integers(1, 9, (*shape, 2))], axis=-1).astype("float32")
