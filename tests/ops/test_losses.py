import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from maskrcnn.ops.losses import sigmoid_cross_entropy, smooth_l1, softmax_cross_entropy


@pytest.mark.parametrize(("name", "beta"), [("beta1_9", 1 / 9), ("beta1", 1.0), ("beta0_l1", 0.0)])
def test_smooth_l1_agrees_with_torchvision(golden, name, beta):
    difference = golden["smooth_l1.difference"]
    target = np.full_like(difference, 3.0)
    got = np.asarray(smooth_l1(target + difference, target, beta))
    np.testing.assert_allclose(got, golden[f"smooth_l1.{name}"], rtol=1e-4, atol=2e-6)


def test_objectness_loss_agrees_with_torchvision_over_the_sampled_anchors(golden):
    labels = golden["rpn_loss.labels"]
    losses = np.asarray(sigmoid_cross_entropy(golden["rpn_loss.logits"], np.maximum(labels, 0)))
    assert losses[labels >= 0].mean() == pytest.approx(float(golden["rpn_loss.objectness"]), rel=1e-5)


def test_box_loss_of_the_proposals_agrees_with_torchvision(golden):
    labels = golden["rpn_loss.labels"]
    losses = np.asarray(smooth_l1(golden["rpn_loss.deltas"], golden["rpn_loss.targets"], 1 / 9))
    assert losses[labels == 1].sum() / (labels >= 0).sum() == pytest.approx(float(golden["rpn_loss.box"]), rel=1e-5)


def test_class_loss_agrees_with_torchvision(golden):
    losses = np.asarray(softmax_cross_entropy(golden["box_loss.logits"], golden["box_loss.labels"]))
    assert losses.shape == (60,)
    assert losses.mean() == pytest.approx(float(golden["box_loss.classification"]), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(-1e4, 1e4, width=32), st.floats(0, 1, width=32))
def test_sigmoid_cross_entropy_agrees_with_float64(logit, target):
    expected = np.logaddexp(0.0, np.float64(logit)) - np.float64(logit) * np.float64(target)
    got = float(sigmoid_cross_entropy(np.float32([logit]), np.float32([target]))[0])
    assert got == pytest.approx(expected, rel=1e-5, abs=1e-6 * (1 + abs(logit)))


def test_confident_predictions_keep_their_small_losses():
    got = np.asarray(sigmoid_cross_entropy(np.float32([10, -10]), np.float32([1, 0])))
    np.testing.assert_allclose(got, np.log1p(np.exp(-10.0)), rtol=1e-5)


def test_the_gradient_at_zero_is_one_half_minus_the_target():
    """A form with maximum and abs would give 1 - target there, and all logits start near 0."""
    tf = pytest.importorskip("tensorflow")
    logits = tf.Variable([0.0, 0.0, 0.0])
    with tf.GradientTape() as tape:
        total = ops.sum(sigmoid_cross_entropy(logits, tf.constant([0.0, 0.25, 1.0])))
    np.testing.assert_allclose(tape.gradient(total, logits), [0.5, 0.25, -0.5])


def test_extreme_logits_give_finite_losses():
    logits = np.float32([[1e4, -1e4, 0.0]])
    assert float(softmax_cross_entropy(logits, np.int32([1]))[0]) == pytest.approx(2e4)
    assert float(softmax_cross_entropy(logits, np.int32([0]))[0]) == pytest.approx(0.0)


def test_a_negative_label_has_no_loss():
    assert float(softmax_cross_entropy(np.float32([[1.0, 2.0]]), np.int32([-1]))[0]) == 0.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_losses_are_float32_whatever_comes_in(dtype):
    logits = ops.cast(np.zeros((2, 3)), dtype)
    for loss in (
        smooth_l1(logits, logits, 0.5),
        sigmoid_cross_entropy(logits, logits),
        softmax_cross_entropy(logits, np.int32([0, 1])),
    ):
        assert "float32" in str(loss.dtype)


def test_no_rows_give_no_losses():
    assert smooth_l1(np.zeros((0, 4)), np.zeros((0, 4)), 0.0).shape == (0, 4)
    assert softmax_cross_entropy(np.zeros((0, 5)), np.zeros(0, "int32")).shape == (0,)
