"""Second-stage losses against hand values: normalisers, class rows, empty sets."""

import math

import numpy as np
import pytest
from keras import ops

from maskrcnn.models import losses


def test_class_rows_put_the_background_first_or_last():
    labels = ops.convert_to_tensor([0, 1, 4])
    assert np.asarray(losses.class_rows(labels, 4, 0)).tolist() == [0, 1, 4]
    assert np.asarray(losses.class_rows(labels, 4, -1)).tolist() == [4, 0, 3]


def test_foreground_scores_leave_the_background_out():
    logits = np.log(np.array([[0.5, 0.3, 0.2]], np.float32))
    assert np.asarray(losses.foreground_scores(logits, 0))[0] == pytest.approx([0.3, 0.2], rel=1e-5)
    assert np.asarray(losses.foreground_scores(logits, -1))[0] == pytest.approx([0.5, 0.3], rel=1e-5)


def test_own_class_takes_the_row_of_the_label():
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    picked = np.asarray(losses.own_class(ops.convert_to_tensor(values), ops.convert_to_tensor([3, 1])))
    np.testing.assert_array_equal(picked, [values[0, 2], values[1, 0]])


def test_class_agnostic_values_serve_every_label():
    values = np.ones((2, 1, 4), np.float32)
    assert np.asarray(losses.own_class(ops.convert_to_tensor(values), ops.convert_to_tensor([3, 1]))).shape == (2, 4)


def test_class_loss_is_the_mean_over_real_rois():
    logits = np.zeros((4, 5), np.float32)
    states = np.array([1, 0, -1, -1], np.int32)
    assert float(losses.class_loss(logits, np.array([2, 0, 0, 0]), states)) == pytest.approx(math.log(5), rel=1e-6)


@pytest.mark.parametrize("positives", [1, 10])
def test_box_loss_is_divided_by_all_sampled_rois(positives):
    """PAPER §6 row 20: 16 sampled RoIs, each positive one off by 1 in a delta of weight 10."""
    rois = np.tile(np.array([[0.0, 0.0, 10.0, 10.0]], np.float32), (16, 1))
    truth = rois + np.array([1.0, 0.0, 1.0, 0.0], np.float32)
    states = np.array([1] * positives + [0] * (16 - positives), np.int32)
    labels = states.copy()
    loss = losses.box_loss(
        np.zeros((16, 3, 4), np.float32),
        ops.convert_to_tensor(labels),
        ops.convert_to_tensor(states),
        rois,
        truth,
        weights=[10.0, 10.0, 5.0, 5.0],
        beta=0.0,
    )
    assert float(loss) == pytest.approx(positives * 1.0 / 16, rel=1e-5)


def test_box_loss_of_empty_slots_is_zero_and_finite():
    zeros = np.zeros((3, 4), np.float32)
    states = np.full(3, -1, np.int32)
    loss = losses.box_loss(
        np.ones((3, 2, 4), np.float32),
        ops.convert_to_tensor(np.zeros(3, np.int32)),
        ops.convert_to_tensor(states),
        zeros,
        zeros,
        weights=[10.0, 10.0, 5.0, 5.0],
        beta=1.0,
    )
    assert float(loss) == 0.0


def test_mask_loss_is_the_mean_over_cells_of_weighted_rois():
    logits, targets = np.zeros((3, 4, 4), np.float32), np.ones((3, 4, 4), np.float32)
    loss = losses.mask_loss(
        ops.convert_to_tensor(logits), ops.convert_to_tensor(targets), np.array([1, 1, 0], np.float32)
    )
    assert float(loss) == pytest.approx(math.log(2), rel=1e-6)
    nothing = losses.mask_loss(ops.convert_to_tensor(logits), ops.convert_to_tensor(targets), np.zeros(3, np.float32))
    assert float(nothing) == 0.0


def test_keypoint_loss_of_flat_maps_is_ln_3136_and_zero_without_visible_joints():
    logits = ops.zeros((2, 56, 56, 3))
    cells = ops.convert_to_tensor(np.array([[0, 5, 3135], [7, 8, 9]], np.int32))
    visible = ops.convert_to_tensor(np.array([[1, 1, 1], [0, 1, 0]], np.int32))
    assert float(losses.keypoint_loss(logits, cells, visible, 0.0)) == pytest.approx(math.log(3136), rel=1e-6)
    assert float(losses.keypoint_loss(logits, cells, visible * 0, 0.0)) == 0.0


def test_a_narrow_gaussian_target_equals_the_one_hot_target():
    logits = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(1, 8, 8, 2)).astype(np.float32))
    cells = ops.convert_to_tensor(np.array([[9, 62]], np.int32))
    visible = ops.ones((1, 2))
    hard = float(losses.keypoint_loss(logits, cells, visible, 0.0))
    assert float(losses.keypoint_loss(logits, cells, visible, 0.1)) == pytest.approx(hard, rel=1e-5)
