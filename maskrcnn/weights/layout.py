"""Layout rules from channels-first sources into Keras (PAPER §5.1): plain functions on NumPy arrays.

None of them flips anything: PyTorch and Keras both correlate, and both transposed convolutions scatter.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Layout = Callable[[np.ndarray], np.ndarray]


def same(values: np.ndarray) -> np.ndarray:
    """Vectors (biases, norm parameters) stay as they are."""
    return values


def convolution(weight: np.ndarray) -> np.ndarray:
    """[O, I / groups, kh, kw] → [kh, kw, I / groups, O]."""
    return weight.transpose(2, 3, 1, 0)


def transposed_convolution(weight: np.ndarray) -> np.ndarray:
    """[I, O, kh, kw] → [kh, kw, O, I], the layout of `Conv2DTranspose`."""
    return weight.transpose(2, 3, 1, 0)


def dense(weight: np.ndarray) -> np.ndarray:
    """[O, I] → [I, O]."""
    return weight.transpose(1, 0)


def dense_after_map(channels: int) -> Layout:
    """The first dense layer after a feature map, [O, C · side · side] → [side · side · C, O].

    The source flattens C, H, W and Keras flattens H, W, C; without this the shapes fit and the result is garbage.
    """

    def convert(weight: np.ndarray) -> np.ndarray:
        outputs, inputs = weight.shape
        side = round((inputs / channels) ** 0.5)
        cells = weight.reshape(outputs, channels, side, side)
        return cells.transpose(2, 3, 1, 0).reshape(inputs, outputs)

    return convert


def without_background(layout: Layout, rows_per_class: int = 1) -> Layout:
    """Drop the rows of class 0 (background) of a box or mask predictor, then `layout`.

    Args:
        rows_per_class: 4 for box deltas (4 · class + coordinate), 1 for masks.
    """

    def convert(values: np.ndarray) -> np.ndarray:
        return layout(values[rows_per_class:])

    return convert
