"""The mask head's two ways to the logits of a row's own class; the RPN's two outputs by one convolution."""

import keras
import numpy as np
import pytest
from keras import ops

from maskrcnn.models.heads import MaskHead
from maskrcnn.models.losses import own_class
from maskrcnn.models.rpn import RPNHead
from maskrcnn.structures import Conventions, MaskHeadSettings


def make_head(**fields):
    keras.utils.set_random_seed(1)
    settings = MaskHeadSettings(channels=6, pool_size=5, predictor_std=0.5, **fields)
    head = MaskHead(settings, Conventions(), in_channels=4, num_classes=3)
    rng = np.random.default_rng(2)
    for variable in (head.deconv.bias, head.logits.bias):
        variable.assign(rng.normal(size=variable.shape))
    return head


@pytest.mark.parametrize(
    "fields", [{"convolutions": 2}, {"convolutions": 0}, {"convolutions": 1, "norm": "batch"}, {"class_agnostic": True}]
)
def test_the_logits_of_the_own_class_are_those_among_all_classes(fields):
    head = make_head(**fields)
    pooled = np.random.default_rng(0).normal(size=(5, 5, 5, 4)).astype("float32")
    labels = np.int32([1, 3, 2, 0, 3])  # 0 stands in where no row is
    every = np.asarray(head(pooled)).transpose(0, 3, 1, 2)
    wanted = np.asarray(own_class(ops.convert_to_tensor(every), ops.convert_to_tensor(labels)))
    got = np.asarray(head.own_logits(pooled, ops.convert_to_tensor(labels)))
    assert got.shape == (5, 10, 10)
    assert np.std(got) > 0.1
    np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients by TensorFlow's tape")
def test_the_gradient_of_the_own_class_is_that_among_all_classes():
    import tensorflow as tf

    head = make_head(convolutions=1)
    pooled = tf.constant(np.random.default_rng(0).normal(size=(3, 5, 5, 4)).astype("float32"))
    labels = tf.constant([2, 2, 1])

    def gradients(logits_of):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(logits_of() ** 2)
        return tape.gradient(total, [v.value for v in head.trainable_variables])

    got = gradients(lambda: head.own_logits(pooled, labels))
    wanted = gradients(lambda: own_class(tf.transpose(head(pooled), (0, 3, 1, 2)), labels))
    assert len(got) == 6
    for a, b in zip(got, wanted):
        np.testing.assert_allclose(tf.convert_to_tensor(a), tf.convert_to_tensor(b), rtol=1e-4, atol=1e-4)


def test_half_precision_gives_float32_logits_near_those_of_full_precision():
    pooled = np.random.default_rng(0).normal(size=(2, 5, 5, 4)).astype("float32")
    full = np.asarray(make_head(convolutions=1).own_logits(pooled, ops.convert_to_tensor(np.int32([1, 2]))))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = make_head(convolutions=1).own_logits(
            ops.cast(pooled, "bfloat16"), ops.convert_to_tensor(np.int32([1, 2]))
        )
    finally:
        keras.config.set_dtype_policy(before)
    assert keras.backend.standardize_dtype(half.dtype) == "float32"
    np.testing.assert_allclose(np.asarray(half), full, atol=0.1)


def test_the_rpn_gives_each_anchor_the_outputs_of_its_two_layers():
    keras.utils.set_random_seed(1)
    head = RPNHead(4, 3, convolutions=1, channels=0)
    head.deltas.bias.assign(np.arange(12) / 10)
    maps = [np.random.default_rng(0).normal(size=(2, n, n + 1, 4)).astype("float32") for n in (4, 2)]
    logits, deltas = (np.asarray(v) for v in head(maps))
    hidden = [head.convs[0](m) for m in maps]
    wanted = [np.concatenate([np.reshape(layer(h), (2, -1, n)) for h in hidden], 1) for layer, n in
              ((head.objectness, 1), (head.deltas, 4))]  # fmt: skip
    assert logits.shape == (2, 3 * (20 + 6))
    np.testing.assert_allclose(logits, wanted[0][..., 0], atol=1e-6)
    np.testing.assert_allclose(deltas, wanted[1], atol=1e-6)
