"""Anchors: reference boxes of the region proposal network, on one map or a pyramid (PAPER §1.1, §1.4).

A ratio is height / width. Published code bases differ in rounding, order and stride: the arguments name the choices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keras import ops

from maskrcnn.ops.tensors import Tensor


def cell_anchors(sizes: Sequence[float], ratios: Sequence[float], *, rounding: str, order: str) -> np.ndarray:
    """Anchors `[A, 4]` float32 of one cell, centred on (0, 0), in pixels.

    Args:
        sizes: square roots of the anchors' areas in pixels.
        ratios: height / width.
        rounding: "none" (Detectron2) or "corners": corners to whole pixels, half to even (torchvision).
        order: "size_major" (Detectron2: all ratios of the first size first) or "ratio_major" (torchvision).
    """
    if rounding not in ("none", "corners"):
        raise ValueError(f"rounding {rounding!r}: choose none or corners")
    if order not in ("size_major", "ratio_major"):
        raise ValueError(f"order {order!r}: choose size_major or ratio_major")
    size_grid, ratio_grid = np.meshgrid(np.asarray(sizes, "float64"), np.asarray(ratios, "float64"), indexing="ij")
    if order == "ratio_major":
        size_grid, ratio_grid = size_grid.T, ratio_grid.T
    half_width = (size_grid / np.sqrt(ratio_grid)).reshape(-1) / 2.0
    half_height = (size_grid * np.sqrt(ratio_grid)).reshape(-1) / 2.0
    cells = np.stack([-half_width, -half_height, half_width, half_height], axis=-1).astype("float32")
    return np.round(cells) if rounding == "corners" else cells


def grid_anchors(
    cells: np.ndarray, grid_height: Tensor, grid_width: Tensor, stride_y: Tensor, stride_x: Tensor, offset: float
) -> Tensor:
    """Anchors `[H*W*A, 4]` of a whole map in image pixels, order y, x, anchor of the cell.

    Args:
        cells: `[A, 4]`, from `cell_anchors`.
        grid_height, grid_width: size of the map, integers or scalar tensors.
        stride_y, stride_x: pixels per cell, numbers or scalar tensors.
        offset: centre of the first anchor in strides (0 in Detectron2 and torchvision).
    """
    centers_y = _centers(grid_height, stride_y, offset)
    centers_x = _centers(grid_width, stride_x, offset)
    x = ops.broadcast_to(centers_x[None, :], (grid_height, grid_width))
    y = ops.broadcast_to(centers_y[:, None], (grid_height, grid_width))
    shifts = ops.reshape(ops.stack([x, y, x, y], axis=-1), (-1, 1, 4))
    return ops.reshape(shifts + ops.convert_to_tensor(cells, dtype="float32")[None], (-1, 4))


def pyramid_anchors(
    grid_sizes: Sequence[tuple[Tensor, Tensor]],
    strides: Sequence[tuple[Tensor, Tensor]],
    cells: Sequence[np.ndarray],
    offset: float,
) -> list[Tensor]:
    """Anchors `[N_l, 4]` of each level; grid sizes are (height, width), strides (y, x) pixels, cells `[A, 4]`."""
    return [
        grid_anchors(cell, height, width, stride_y, stride_x, offset)
        for cell, (height, width), (stride_y, stride_x) in zip(cells, grid_sizes, strides, strict=True)
    ]


def _centers(count: Tensor, stride: Tensor, offset: float) -> Tensor:
    """Coordinates `[count]` of the cells' anchor centres in pixels."""
    stride = ops.cast(stride, "float32")
    return ops.cast(ops.arange(count), "float32") * stride + offset * stride
