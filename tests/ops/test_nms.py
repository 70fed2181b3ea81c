from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskrcnn.ops.nms import ABSENT_SCORE, float32_threshold, non_max_suppression, suppress_by_loop

THRESHOLDS = ("0.3", "0.5", "0.7")


ARGUMENTS = (("float32", 3), ("float32", 2), ("int32", 2))


@pytest.fixture
def chosen(compiled):
    """Rows kept in each image by the backend's form, which must equal the reference form's."""

    def run(boxes, scores, groups, iou_threshold, max_outputs):
        limits = {"iou_threshold": iou_threshold, "max_outputs": max_outputs}
        form = compiled(("nms", iou_threshold, max_outputs), lambda: partial(non_max_suppression, **limits), *ARGUMENTS)
        threshold = {"threshold": float32_threshold(iou_threshold), "max_outputs": max_outputs}
        loop = compiled(
            ("loop", iou_threshold, max_outputs), lambda: partial(suppress_by_loop, **threshold), *ARGUMENTS
        )
        args = (np.asarray(boxes, "float32"), np.asarray(scores, "float32"), np.asarray(groups, "int32"))
        (indices, valid), reference = map(np.asarray, form(*args)), loop(*args)
        np.testing.assert_array_equal(indices, np.asarray(reference[0]))
        np.testing.assert_array_equal(valid, np.asarray(reference[1]))
        assert indices.shape == valid.shape == (len(args[1]), max_outputs)
        return [row[keep].tolist() for row, keep in zip(indices, valid, strict=True)]

    return run


def slow_nms(boxes, scores, groups, threshold):
    """Independent twin: greedy, in float32 like the kernels."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > ABSENT_SCORE and all(
            groups[i] != groups[j] or iou(boxes[i], boxes[j]) <= threshold for j in kept
        ):
            kept.append(int(i))
    return kept


def iou(a, b):
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inter = max(width, np.float32(0)) * max(height, np.float32(0))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if union > 0 else 0.0


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_kept_rows_agree_with_torchvision(chosen, golden, threshold):
    boxes, scores = golden["nms.boxes"][None], golden["nms.scores"][None]
    got = chosen(boxes, scores, np.zeros((1, 120)), float(threshold), 120)
    assert got == [golden[f"nms.keep_{threshold}"].tolist()]


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_groups_agree_with_torchvisions_batched_nms(chosen, golden, threshold):
    boxes, scores = golden["nms.boxes"][None], golden["nms.scores"][None]
    got = chosen(boxes, scores, golden["nms.classes"][None], float(threshold), 120)
    assert got == [golden[f"nms.batched_keep_{threshold}"].tolist()]


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_exact_thresholds_and_empty_boxes_agree_with_torchvision(chosen, golden, threshold):
    got = chosen(
        golden["nms_exact.boxes"][None], golden["nms_exact.scores"][None], np.zeros((1, 12)), float(threshold), 12
    )
    assert got == [golden[f"nms_exact.keep_{threshold}"].tolist()]


def test_the_float32_threshold_decides_like_the_exact_one():
    for threshold in (0.3, 0.5, 0.7, 0.65):
        nearest = np.float32(threshold)
        for value in (np.nextafter(nearest, np.float32(0)), nearest, np.nextafter(nearest, np.float32(1))):
            assert (value > np.float32(float32_threshold(threshold))) == (float(value) > threshold)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31 - 1))
def test_near_ties_in_80_groups_decide_as_in_each_group_alone(chosen, seed):
    """Shifting boxes by the group would leave 1/128 pixel here: pairs within 0.002 of the threshold turn."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 1000, (40, 2))
    side = rng.uniform(20, 60, (40, 2))
    # IoU of a box with itself moved by d of its width is (1 - d) / (1 + d): 1/3 gives one half.
    moved = corner + side * [1 / 3, 0] + rng.uniform(-0.002, 0.002, (40, 2)) * [1, 0]
    boxes = np.concatenate([np.c_[corner, corner + side], np.c_[moved, moved + side]]).astype("float32")
    scores = rng.uniform(0.1, 1, 80).astype("float32")
    groups = np.tile(rng.integers(0, 80, 40), 2)
    assert chosen(boxes[None], scores[None], groups[None], 0.5, 80) == [slow_nms(boxes, scores, groups, 0.5)]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31 - 1), st.sampled_from([0.0, 0.5]))
def test_a_batch_agrees_with_the_slow_twin_and_its_first_rows_are_the_limited_result(chosen, seed, threshold):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 10, (2, 25, 2))
    boxes = np.concatenate([corners, corners + rng.integers(0, 8, (2, 25, 2))], axis=-1).astype("float32")
    scores = rng.integers(0, 8, (2, 25)).astype("float32") / 8
    groups = rng.integers(-1, 3, (2, 25))
    expected = [slow_nms(*image, threshold) for image in zip(boxes, scores, groups, strict=True)]
    assert chosen(boxes, scores, groups, threshold, 25) == expected
    assert chosen(boxes, scores, groups, threshold, 4) == [rows[:4] for rows in expected]


def test_the_result_does_not_depend_on_the_order_of_rows(chosen, golden):
    order = np.random.default_rng(0).permutation(120)
    # Without ties: equal scores are ordered by row on purpose.
    boxes, scores = golden["nms.boxes"], golden["nms.scores"] + np.arange(120) * 1e-5
    (plain,) = chosen(boxes[None], scores[None], np.zeros((1, 120)), 0.5, 120)
    (shuffled,) = chosen(boxes[order][None], scores[order][None], np.zeros((1, 120)), 0.5, 120)
    assert order[shuffled].tolist() == plain


def test_absent_rows_are_never_chosen_and_suppress_nothing(chosen):
    boxes = np.float32([[[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8], [50, 50, 60, 60]]])
    scores = np.float32([[-np.inf, ABSENT_SCORE, 0.5, np.nan]])
    assert chosen(boxes, scores, np.zeros((1, 4)), 0.5, 3) == [[2]]


def test_negative_logits_are_scores_like_any_other(chosen):
    boxes = np.float32([[[0, 0, 10, 10], [20, 0, 30, 10]]])
    assert chosen(boxes, np.float32([[-900.0, -3.0]]), np.zeros((1, 2)), 0.5, 4) == [[1, 0]]


@pytest.mark.parametrize("count", [0, 3])
def test_images_without_present_rows_give_no_output(compiled, count):
    given = np.zeros((2, count, 4), "float32"), np.full((2, count), -np.inf, "float32"), np.zeros((2, count), "int32")
    eager = partial(non_max_suppression, iou_threshold=0.5, max_outputs=5)
    for form in (eager, compiled(("nms", 0.5, 5), lambda: eager, *ARGUMENTS)):
        indices, valid = form(*given)
        assert not np.asarray(valid).any()
        np.testing.assert_array_equal(np.asarray(indices), np.zeros((2, 5)))
