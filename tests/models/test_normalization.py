"""Norms by name: the frozen one never changes, groups always divide, unknown names are refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.models.normalization import FrozenBatchNorm, group_count, normalization


def filled_norm(rng: np.random.Generator, epsilon: float) -> tuple[FrozenBatchNorm, list[np.ndarray]]:
    layer = FrozenBatchNorm(epsilon=epsilon)
    layer.build((None, None, None, 5))
    values = [rng.uniform(0.5, 2.0, 5).astype("float32") for _ in range(4)]
    layer.set_weights(values)
    return layer, values


@pytest.mark.parametrize("epsilon", [0.0, 1e-5, 1e-3])
def test_frozen_norm_is_the_affine_map_of_its_four_vectors(epsilon: float) -> None:
    rng = np.random.default_rng(0)
    layer, (gamma, beta, mean, variance) = filled_norm(rng, epsilon)
    x = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    expected = (x - mean) / np.sqrt(variance + epsilon) * gamma + beta
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=1e-5, atol=1e-5)


def test_frozen_norm_takes_the_weights_of_a_keras_batch_norm_in_their_order() -> None:
    rng = np.random.default_rng(1)
    layer, values = filled_norm(rng, 1e-3)
    stock = keras.layers.BatchNormalization(epsilon=1e-3)
    stock.build((None, None, None, 5))
    stock.set_weights(values)
    x = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    np.testing.assert_allclose(layer(x), stock(x, training=False), rtol=1e-5, atol=1e-6)


def test_frozen_norm_has_no_trainable_variable_and_stays_float32_under_half_precision() -> None:
    layer = FrozenBatchNorm(dtype="mixed_bfloat16")
    output = layer(np.ones((1, 2, 2, 8), "float32"))
    assert layer.trainable_variables == []
    assert {v.dtype for v in layer.variables} == {"float32"}
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"


def test_frozen_norm_is_rebuilt_from_its_config() -> None:
    layer = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(FrozenBatchNorm(epsilon=0.25)))
    assert isinstance(layer, FrozenBatchNorm)
    assert layer.epsilon == 0.25


@pytest.mark.parametrize(("channels", "groups"), [(16, 8), (32, 8), (40, 8), (64, 32), (256, 32)])
def test_groups_divide_the_channels_and_hold_two_at_least(channels: int, groups: int) -> None:
    assert group_count(channels) == groups
    layer = normalization("group", channels, name="norm")
    assert layer(np.ones((1, 3, 3, channels), "float32")).shape == (1, 3, 3, channels)


def test_channels_that_no_group_divides_and_unknown_norms_are_refused() -> None:
    with pytest.raises(UserError, match="multiple of 8"):
        normalization("group", 12, name="norm")
    with pytest.raises(UserError, match="none, group, batch, frozen"):
        normalization("layer", 16, name="norm")


def test_none_is_no_layer() -> None:
    assert normalization("none", 16, name="norm") is None
