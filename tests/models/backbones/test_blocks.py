"""Convolutions and blocks against a NumPy twin of explicit padding, at even and odd sizes (PAPER §6 rows 10, 11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from maskrcnn.models.backbones.blocks import BlockStyle, basic_block, bottleneck_block, conv_norm, relu, stem_pool

SIZES = [(16, 16), (17, 15), (13, 20)]
EPSILON = 1e-5


def style(**changed: Any) -> BlockStyle:
    return BlockStyle(
        **({"norm": "frozen", "epsilon": EPSILON, "symmetric_padding": True, "stride_in_1x1": False} | changed)
    )


def build(make: Callable[[Any], Any], channels: int, rng: np.random.Generator) -> keras.Model:
    """The block as a model with random weights and statistics."""
    inputs = keras.Input((None, None, channels))
    model = keras.Model(inputs, make(inputs))
    for layer in model.layers:
        if layer.weights:
            shapes = [v.shape for v in layer.weights]
            layer.set_weights([rng.uniform(0.2, 1.0, s) if len(s) == 1 else rng.normal(size=s) / 4 for s in shapes])
    return model


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int, groups: int = 1) -> np.ndarray:
    """Correlation with zeros on both sides alike; kernel [k, k, I / groups, O]."""
    pad = kernel.shape[0] // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    parts = zip(np.split(windows, groups, axis=3), np.split(kernel, groups, axis=3), strict=True)
    return np.concatenate([np.einsum("bhwcij,ijco->bhwo", w, k) for w, k in parts], axis=-1)


def conv_and_norm(
    model: keras.Model, x: np.ndarray, name: str, *, tag: str = "", stride: int = 1, groups: int = 1
) -> Any:
    (kernel,) = model.get_layer(f"{name}_conv{tag}").get_weights()
    gamma, beta, mean, variance = model.get_layer(f"{name}_norm{tag}").get_weights()
    return (convolve(x, kernel, stride, groups) - mean) / np.sqrt(variance + EPSILON) * gamma + beta


def images(rng: np.random.Generator, size: tuple[int, int], channels: int) -> np.ndarray:
    return rng.normal(size=(2, *size, channels)).astype("float32")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("side", "stride"), [(7, 2), (3, 2), (3, 1), (1, 2)])
def test_convolutions_pad_both_sides_alike(size: tuple[int, int], side: int, stride: int) -> None:
    rng = np.random.default_rng(0)
    model = build(lambda x: conv_norm(x, 4, side, stride=stride, style=style(), name="a"), 3, rng)
    x = images(rng, size, 3)
    np.testing.assert_allclose(model(x), conv_and_norm(model, x, "a", stride=stride), rtol=1e-4, atol=1e-4)


def test_without_symmetric_padding_it_is_tensorflows_same() -> None:
    rng = np.random.default_rng(0)
    model = build(lambda x: conv_norm(x, 4, 3, stride=2, style=style(symmetric_padding=False), name="a"), 3, rng)
    x = images(rng, (16, 16), 3)
    shifted = conv_and_norm(model, np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:], "a", stride=2)
    found = np.asarray(model(x))
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], shifted[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-4)
    assert np.abs(found - conv_and_norm(model, x, "a", stride=2)).max() > 0.1


@pytest.mark.parametrize("size", SIZES)
def test_the_stem_pool_is_a_maximum_over_a_3x3_with_a_border_of_one(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    model = build(lambda x: stem_pool(relu(x, "r"), style=style(), name="pool"), 2, rng)
    x = images(rng, size, 2)
    padded = np.pad(np.maximum(x, 0), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    np.testing.assert_allclose(model(x), windows.max((-1, -2)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("stride", "channels"), [(1, 4), (1, 6), (2, 6)])
def test_basic_block(size: tuple[int, int], stride: int, channels: int) -> None:
    rng = np.random.default_rng(2)
    model = build(lambda x: basic_block(x, channels, stride=stride, style=style(), name="b"), 4, rng)
    x = images(rng, size, 4)
    plain = stride == 1 and channels == 4
    shortcut = x if plain else conv_and_norm(model, x, "b_shortcut", stride=stride)
    y = np.maximum(conv_and_norm(model, x, "b", tag="1", stride=stride), 0)
    expected = np.maximum(conv_and_norm(model, y, "b", tag="2") + shortcut, 0)
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("in_1x1", [False, True])
def test_bottleneck_block_strides_where_the_convention_says(size: tuple[int, int], groups: int, in_1x1: bool) -> None:
    rng = np.random.default_rng(3)
    convention = style(stride_in_1x1=in_1x1)
    model = build(lambda x: bottleneck_block(x, 8, 6, groups=groups, stride=2, style=convention, name="b"), 4, rng)
    x = images(rng, size, 4)
    first, second = (2, 1) if in_1x1 else (1, 2)
    y = np.maximum(conv_and_norm(model, x, "b", tag="1", stride=first), 0)
    y = np.maximum(conv_and_norm(model, y, "b", tag="2", stride=second, groups=groups), 0)
    y = conv_and_norm(model, y, "b", tag="3") + conv_and_norm(model, x, "b_shortcut", stride=2)
    np.testing.assert_allclose(model(x), np.maximum(y, 0), rtol=1e-4, atol=1e-3)
