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

    The S × S cells of a mask fill its ground-truth box. Each target cell takes the bilinear value at its centre or,
    if it is coarser than the mask (`size` < S), the mean of two by two values; outside the ground-truth box it is 0.

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
    samples = 2 if masks.shape[-1] is None or size < masks.shape[-1] else 1
    weights_x, weights_y = (_cell_weights(rois[:, k::2], own_boxes[:, k::2], side, size, samples) for k in (0, 1))
    # Sampling and averaging are separable: two small matrix products for each RoI, on every backend alike.
    values = ops.matmul(ops.matmul(weights_y, own_masks), ops.transpose(weights_x, (0, 2, 1)))
    return ops.cast(values >= _HALF, "float32") if binary else values


def _cell_weights(roi: Tensor, box: Tensor, side: Tensor, size: int, samples: int) -> Tensor:
    """Weights `[R, size, S]` of a mask's cells in each target cell, along one axis.

    `roi` and `box` `[R, 2]` hold the lower and the upper border of each RoI and ground-truth box.
    """
    steps = (ops.arange(size * samples, dtype="float32") + 0.5) / float(size * samples)
    position = roi[:, :1] + (roi[:, 1:] - roi[:, :1]) * steps
    extent = box[:, 1:] - box[:, :1]
    inside = ops.logical_and(position >= box[:, :1], position <= box[:, 1:])
    inside = ops.logical_and(inside, extent > 0.0)
    share = (position - box[:, :1]) / ops.where(extent > 0.0, extent, ops.ones_like(extent))
    last = ops.cast(side, "float32") - 1.0
    cell = ops.minimum(ops.maximum(share * (last + 1.0) - 0.5, 0.0), last)
    columns = ops.cast(ops.arange(side), "float32")
    weights = ops.maximum(1.0 - ops.abs(cell[:, :, None] - columns), 0.0)
    weights = ops.where(inside[:, :, None], weights, ops.zeros_like(weights))
    return ops.mean(ops.reshape(weights, (-1, size, samples, side)), axis=2)
