"""Mask targets: each ground-truth mask, cut out by the RoI that learns it (PAPER §1.2; not by its own box)."""

from __future__ import annotations

from keras import ops

from maskrcnn.ops.tensors import Tensor

_HALF = 0.5 - 1e-3
"""Threshold of binary targets: one half, less the rounding of coordinates, so that exact halves count as inside."""


def mask_targets(
    masks: Tensor,
    boxes: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    matched: Tensor,
    *,
    size: int,
    binary: bool,
) -> Tensor:
    """Targets `[R, size, size]` float32 in 0…1: what of the matched object lies in each cell of the RoI.

    The S × S cells of a mask fill its ground-truth box; outside of it a target is 0. Where targets have fewer cells
    (`size` < S) each takes the covered share of its area, else the bilinear value at its centre.

    Args:
        masks: `[B, M, S, S]` uint8 {0, 1}.
        boxes: `[B, M, 4]` ground-truth boxes, in the frame of the RoIs.
        rois: `[R, 4]`; R may be 0.
        batch_indices: `[R]` int32 image of each RoI.
        matched: `[R]` int32 ground truth of each RoI.
        size: cells of a target's side.
        binary: threshold at one half (Detectron); else the values themselves.
    """
    rois, boxes = ops.stop_gradient(rois), ops.stop_gradient(boxes)
    _, instances, side, _ = ops.shape(masks)
    rows = ops.cast(batch_indices, "int32") * instances + ops.cast(matched, "int32")
    own_masks = ops.cast(ops.take(ops.reshape(masks, (-1, side, side)), rows, axis=0), "float32")
    own_boxes = ops.take(ops.reshape(boxes, (-1, 4)), rows, axis=0)
    weights_of = _area_weights if masks.shape[-1] is None or size < masks.shape[-1] else _bilinear_weights
    weights_x, weights_y = (weights_of(rois[:, k::2], own_boxes[:, k::2], side, size) for k in (0, 1))
    # Both rules are separable: two small matrix products for each RoI, on every backend alike.
    values = ops.matmul(ops.matmul(weights_y, own_masks), ops.transpose(weights_x, (0, 2, 1)))
    values = ops.minimum(values, 1.0)
    return ops.cast(values >= _HALF, "float32") if binary else values


def _area_weights(roi: Tensor, box: Tensor, side: Tensor, size: int) -> Tensor:
    """Share `[R, size, S]` of each target cell that each of a mask's cells covers, along one axis.

    `roi` and `box` `[R, 2]` hold the lower and the upper border of each RoI and ground-truth box.
    """
    steps = ops.arange(size + 1, dtype="float32") / float(size)
    edges = _in_cells(roi[:, :1] + (roi[:, 1:] - roi[:, :1]) * steps, box, side)
    lower, upper = edges[:, :-1, None], edges[:, 1:, None]
    columns = ops.cast(ops.arange(side), "float32")
    covered = ops.maximum(ops.minimum(upper, columns + 1.0) - ops.maximum(lower, columns), 0.0)
    return covered / ops.maximum(upper - lower, 1e-6)


def _bilinear_weights(roi: Tensor, box: Tensor, side: Tensor, size: int) -> Tensor:
    """Weights `[R, size, S]` of a mask's cells at the centre of each target cell, along one axis."""
    steps = (ops.arange(size, dtype="float32") + 0.5) / float(size)
    position = _in_cells(roi[:, :1] + (roi[:, 1:] - roi[:, :1]) * steps, box, side)
    last = ops.cast(side, "float32") - 1.0
    inside = ops.logical_and(position >= 0.0, position <= last + 1.0)
    # Between the border and the first centre the mask keeps its border value: objects touch their own box.
    nearest = ops.minimum(ops.maximum(position - 0.5, 0.0), last)
    columns = ops.cast(ops.arange(side), "float32")
    weights = ops.maximum(1.0 - ops.abs(nearest[:, :, None] - columns), 0.0)
    return ops.where(inside[:, :, None], weights, ops.zeros_like(weights))


def _in_cells(position: Tensor, box: Tensor, side: Tensor) -> Tensor:
    """Positions `[R, n]` of an image, in cells of the mask that fills `box [R, 2]`; beyond all cells if it is empty."""
    extent = box[:, 1:] - box[:, :1]
    share = (position - box[:, :1]) / ops.where(extent > 0.0, extent, ops.ones_like(extent))
    return ops.where(extent > 0.0, share, ops.full_like(share, -1.0)) * ops.cast(side, "float32")
