"""Weight decay and gradient norm by hand."""

import keras
import numpy as np
import pytest

from maskrcnn.models.detector import Detector
from maskrcnn.structures import (
    AnchorSettings,
    BackboneSettings,
    BoxHeadSettings,
    DetectorSettings,
    KeypointHeadSettings,
    MaskHeadSettings,
    PyramidSettings,
)
from maskrcnn.training.optimizers import build_optimizer


def variable(value, name):
    return keras.Variable(np.array(value, np.float32), name=name)


def test_sgd_adds_l2_to_the_gradient_of_kernels_alone():
    kernel, bias = variable([2.0], "kernel"), variable([2.0], "bias")
    optimizer = build_optimizer("sgd", 0.1, weight_decay=0.5, momentum=0.0)
    optimizer.build([kernel, bias])
    optimizer.apply([keras.ops.ones(1), keras.ops.ones(1)], [kernel, bias])
    assert float(kernel[0]) == pytest.approx(2.0 - 0.1 * (1.0 + 0.5 * 2.0))
    assert float(bias[0]) == pytest.approx(2.0 - 0.1 * 1.0)


def test_adamw_decays_kernels_but_no_bias_or_norm():
    kernel, gamma = variable([2.0], "kernel"), variable([2.0], "gamma")
    optimizer = build_optimizer("adamw", 0.1, weight_decay=0.5)
    optimizer.build([kernel, gamma])
    optimizer.apply([keras.ops.zeros(1), keras.ops.zeros(1)], [kernel, gamma])
    assert float(kernel[0]) == pytest.approx(2.0 * (1 - 0.1 * 0.5), rel=1e-5)
    assert float(gamma[0]) == 2.0


def muon_step(value, gradient, name="kernel", **options):
    """How far one step of Muon at rate 1 moves `value`."""
    weight = variable(value, name)
    optimizer = build_optimizer("muon", 1.0, **options)
    optimizer.build([weight])
    optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [weight])
    return np.array(value) - np.array(weight)


def test_muon_moves_a_matrix_by_its_orthogonalised_gradient():
    gradient = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    moved = muon_step(np.zeros((32, 8)), gradient)
    scale = 0.2 * np.sqrt(32)
    left, singular, right = np.linalg.svd(moved / scale, full_matrices=False)
    assert singular.min() > 0.6
    assert singular.max() < 1.3
    wanted = np.linalg.svd(gradient, full_matrices=False)
    # The same directions as the gradient's polar factor; Newton and Schulz' five steps leave its lengths rough.
    alignment = np.sum((left @ right) * (wanted[0] @ wanted[2])) / 8
    assert alignment > 0.99


def test_muon_takes_a_convolution_as_a_matrix_of_its_outputs():
    gradient = np.random.default_rng(1).normal(size=(3, 3, 4, 6)).astype(np.float32)
    moved = muon_step(np.zeros((3, 3, 4, 6)), gradient)
    matrix = muon_step(np.zeros((36, 6)), gradient.reshape(36, 6))
    np.testing.assert_allclose(moved.reshape(36, 6), matrix, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(8,), (3, 3, 4, 1)], ids=["bias", "depthwise"])
def test_muon_leaves_what_is_no_matrix_to_adam(shape):
    gradient = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    # Adam's first step is the sign of the gradient, at the learning rate.
    np.testing.assert_allclose(muon_step(np.zeros(shape), gradient), np.sign(gradient), atol=1e-3)


def test_muon_leaves_every_output_layer_of_a_detector_to_adam():
    settings = DetectorSettings(
        backbone=BackboneSettings(name="small", norm="batch"),
        pyramid=PyramidSettings(channels=16, levels=3),
        anchors=AnchorSettings(sizes=[[16.0], [32.0], [64.0], [128.0]]),
        box_head=BoxHeadSettings(channels=16),
        mask_head=MaskHeadSettings(convolutions=1, channels=16),
        keypoint_head=KeypointHeadSettings(convolutions=1, channels=16, upsample=1),
    )
    detector = Detector(settings, num_classes=3, num_keypoints=5)
    optimizer = build_optimizer("muon", 0.1)
    by_adam = {v.path for v in detector.trainable_variables if len(v.shape) > 1 and optimizer._should_use_adamw(v)}
    layers = {path.split("/")[-2] for path in by_adam}
    assert layers == {"class_logits", "box_deltas", "objectness", "deltas", "logits", "keypoint_logits"}


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_a_rate_factor_shortens_the_steps_of_its_variable_alone(name):
    def moved(**options):
        weights = [variable(np.zeros((4, 4)), "slow"), variable(np.zeros((4, 4)), "full")]
        optimizer = build_optimizer(name, 0.1, **options)
        optimizer.build(weights)
        optimizer.apply([keras.ops.eye(4), keras.ops.eye(4)], weights)
        return [np.array(weight) for weight in weights]

    plain, scaled = moved(), moved(rate_factors={"slow": 0.25})
    assert np.abs(plain[0]).max() > 0.01
    np.testing.assert_allclose(scaled[0], 0.25 * plain[0], rtol=1e-5)
    np.testing.assert_array_equal(scaled[1], plain[1])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="XLA orders the operations of other backends")
@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_nothing_of_an_update_lies_in_memory_before_the_gradients_are_known(name):
    import tensorflow as tf

    weight = variable(np.ones((4, 4)), "kernel")
    optimizer = build_optimizer(name, 0.1, weight_decay=0.1)
    optimizer.build([weight])

    @tf.function
    def step(x):
        optimizer.apply([tf.square(x, name="gradient")], [weight])

    graph = step.get_concrete_function(tf.TensorSpec((4, 4))).graph
    gradient = graph.get_operation_by_name("gradient")
    reads = [op for op in graph.get_operations() if op.type == "ReadVariableOp"]
    assert len(reads) > 3
    assert all(gradient in op.control_inputs for op in reads)


def test_the_gradient_norm_is_taken_over_all_variables_before_clipping():
    kernel, bias = variable([0.0], "kernel"), variable([0.0], "bias")
    optimizer = build_optimizer("sgd", 1.0, momentum=0.0, global_clipnorm=1.0)
    optimizer.build([kernel, bias])
    optimizer.apply([3.0 * keras.ops.ones(1), 4.0 * keras.ops.ones(1)], [kernel, bias])
    assert float(optimizer.gradient_norm) == pytest.approx(5.0)
    assert float(kernel[0]) == pytest.approx(-0.6, rel=1e-5)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="unknown optimizer 'lamb'"):
        build_optimizer("lamb", 0.1)
