"""Non-maximum suppression inside groups (pyramid levels or classes) of a batch of images.

The usual trick of shifting each group's boxes to a place of its own is not used: with 80 classes the shifted
coordinates leave float32 only 1/128 pixel, enough to turn decisions near the threshold. Groups are compared instead.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from maskrcnn.ops.boxes import box_areas, intersection_areas, overlap_ratios
from maskrcnn.ops.forms import kernels_allowed
from maskrcnn.ops.tensors import Tensor

ABSENT_SCORE = -1e30
"""Rows with this score or less are absent: never chosen, suppressing nothing."""


def non_max_suppression(
    boxes: Tensor, scores: Tensor, groups: Tensor, *, iou_threshold: float, max_outputs: int
) -> tuple[Tensor, Tensor]:
    """The best boxes of each image that no better box of their group covers, by falling score.

    A box is suppressed where its IoU with a chosen one is above the threshold (equal is kept); the IoU of empty
    boxes is 0. Among equal scores the lower row wins.

    Args:
        boxes: `[B, N, 4]`.
        scores: `[B, N]`; `ABSENT_SCORE` or less, or NaN, marks an absent row.
        groups: `[B, N]` int32; only boxes of one group suppress each other.
        iou_threshold: as in torchvision, compared without rounding it to float32.
        max_outputs: number of slots of each image.

    Returns:
        indices `[B, max_outputs]` int32 (0 in empty slots) and valid `[B, max_outputs]` bool.
    """
    boxes, scores = ops.stop_gradient(boxes), ops.stop_gradient(scores)
    threshold = float32_threshold(iou_threshold)
    if kernels_allowed():
        from maskrcnn.ops.nms_tensorflow import suppress_by_kernels

        return suppress_by_kernels(boxes, scores, groups, threshold, max_outputs)
    return suppress_by_loop(boxes, scores, groups, threshold, max_outputs)


def float32_threshold(threshold: float) -> float:
    """The float32 t with `x > t` exactly where `x > threshold`, for every float32 x.

    0.3 rounds up in float32: an IoU of float32(0.3) is above 0.3, and torchvision suppresses it.
    """
    rounded = np.float32(threshold)
    return float(np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded)


def suppress_by_loop(
    boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, max_outputs: int
) -> tuple[Tensor, Tensor]:
    """Reference form on every backend: takes the best remaining box of each image, `max_outputs` times."""
    areas = box_areas(boxes)
    lowest = ops.full_like(scores, -np.inf)
    # The comparison is false for NaN as well.
    remaining = ops.where(scores > ABSENT_SCORE, scores, lowest)
    rows = ops.arange(ops.shape(scores)[1], dtype="int32")[None, :]
    slots = ops.arange(max_outputs, dtype="int32")[None, :]

    def choose(slot: Tensor, state: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        remaining, indices, valid = state
        # top_k promises the lower row among equals, argmax does not.
        score, best = ops.top_k(remaining, 1)
        best = ops.cast(best, "int32")
        box = ops.take_along_axis(boxes, best[:, :, None], axis=1)
        iou = overlap_ratios(intersection_areas(box, boxes), areas, box_areas(box))
        same_group = ops.equal(groups, ops.take_along_axis(groups, best, axis=1))
        gone = ops.logical_or(ops.logical_and(same_group, iou > threshold), ops.equal(rows, best))
        found = score > ABSENT_SCORE
        here = ops.logical_and(ops.equal(slots, ops.cast(slot, "int32")), found)
        return ops.where(gone, lowest, remaining), ops.where(here, best, indices), ops.logical_or(valid, here)

    batch = ops.shape(scores)[0]
    start = (remaining, ops.zeros((batch, max_outputs), "int32"), ops.zeros((batch, max_outputs), "bool"))
    _, indices, valid = ops.fori_loop(0, max_outputs, choose, start)
    return indices, valid
