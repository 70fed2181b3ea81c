"""Layouts against NumPy twins of the source's own operations: the same outputs from re-ordered weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from maskrcnn.weights.layout import (
    convolution,
    dense,
    dense_after_map,
    same,
    transposed_convolution,
    without_background,
)

RNG = np.random.default_rng(0)


def build(layer: keras.layers.Layer, inputs: tuple[int, ...], *weights: np.ndarray) -> keras.layers.Layer:
    layer.build((None, *inputs))
    layer.set_weights(list(weights))
    return layer


def test_convolution_correlates_as_the_source_does() -> None:
    weight, bias = RNG.normal(size=(4, 2, 3, 3)), RNG.normal(size=4)  # O, I, kh, kw
    image = RNG.normal(size=(2, 6, 5))  # channels first
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(1, 2))
    expected = np.einsum("ihwyx,oiyx->ohw", windows, weight) + bias[:, None, None]
    layer = build(keras.layers.Conv2D(4, 3), (6, 5, 2), convolution(weight), same(bias))
    np.testing.assert_allclose(layer(image.transpose(1, 2, 0)[None])[0], expected.transpose(1, 2, 0), atol=1e-5)


def test_grouped_convolution_needs_nothing_but_the_number_of_groups() -> None:
    weight, image = RNG.normal(size=(4, 3, 1, 1)), RNG.normal(size=(6, 2, 2))
    expected = np.concatenate(
        [np.einsum("ihw,oi->ohw", image[3 * g : 3 * g + 3], weight[2 * g : 2 * g + 2, :, 0, 0]) for g in range(2)]
    )
    layer = build(keras.layers.Conv2D(4, 1, groups=2, use_bias=False), (2, 2, 6), convolution(weight))
    np.testing.assert_allclose(layer(image.transpose(1, 2, 0)[None])[0], expected.transpose(1, 2, 0), atol=1e-5)


@pytest.mark.parametrize(("side", "padding", "cut"), [(2, "valid", 0), (4, "same", 1)])
def test_transposed_convolution_scatters_without_a_flip(side: int, padding: str, cut: int) -> None:
    weight, image = RNG.normal(size=(3, 2, side, side)), RNG.normal(size=(3, 4, 5))  # I, O, kh, kw
    full = np.zeros((2, 2 * 3 + side, 2 * 4 + side))
    for y in range(4):
        for x in range(5):
            full[:, 2 * y : 2 * y + side, 2 * x : 2 * x + side] += np.einsum("i,ioyx->oyx", image[:, y, x], weight)
    expected = full[:, cut : full.shape[1] - cut, cut : full.shape[2] - cut]
    layer = keras.layers.Conv2DTranspose(2, side, strides=2, padding=padding, use_bias=False)
    build(layer, (4, 5, 3), transposed_convolution(weight))
    np.testing.assert_allclose(layer(image.transpose(1, 2, 0)[None])[0], expected.transpose(1, 2, 0), atol=1e-5)


def test_dense() -> None:
    weight, x = RNG.normal(size=(4, 7)), RNG.normal(size=7)
    np.testing.assert_allclose(x @ dense(weight), weight @ x)


def test_dense_after_a_map_reads_channels_last_what_was_flattened_channels_first() -> None:
    weight, cells = RNG.normal(size=(4, 5 * 3 * 3)), RNG.normal(size=(5, 3, 3))
    ours = cells.transpose(1, 2, 0).reshape(-1) @ dense_after_map(5)(weight)
    np.testing.assert_allclose(ours, weight @ cells.reshape(-1))


def test_background_rows_of_boxes_and_masks_are_dropped() -> None:
    deltas = np.arange(12.0)  # three classes of four coordinates, the first is background
    np.testing.assert_array_equal(without_background(same, 4)(deltas), np.arange(4.0, 12.0))
    assert without_background(convolution)(np.zeros((3, 8, 1, 1))).shape == (1, 1, 8, 2)
