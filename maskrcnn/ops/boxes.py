"""Geometry of boxes: areas, overlaps, the regression code of Faster R-CNN and clipping.

Boxes are `x1, y1, x2, y2` in continuous pixels, without +1 in widths. Nothing here knows thresholds or classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from keras import ops

from maskrcnn.ops.tensors import Tensor

MAX_LOG_SCALE = math.log(1000.0 / 16.0)
"""Upper clamp of the decoded tw, th: exp of a large width overflows; the value of Detectron and torchvision."""

_SMALLEST_SIDE_PX = 1e-6
"""Sides below this are taken as this, so that padding rows (0, 0, 0, 0) encode to finite numbers."""


def box_areas(boxes: Tensor) -> Tensor:
    """Areas `[...]` of boxes `[..., 4]` in square pixels; 0 where a corner pair is reversed."""
    width = ops.maximum(boxes[..., 2] - boxes[..., 0], 0.0)
    height = ops.maximum(boxes[..., 3] - boxes[..., 1], 0.0)
    return width * height


def intersection_areas(a: Tensor, b: Tensor) -> Tensor:
    """Areas of the common parts of boxes `a [..., 4]` and `b [..., 4]`, whose leading dimensions broadcast."""
    width = ops.minimum(a[..., 2], b[..., 2]) - ops.maximum(a[..., 0], b[..., 0])
    height = ops.minimum(a[..., 3], b[..., 3]) - ops.maximum(a[..., 1], b[..., 1])
    return ops.maximum(width, 0.0) * ops.maximum(height, 0.0)


def overlap_ratios(intersection: Tensor, area_a: Tensor, area_b: Tensor) -> Tensor:
    """Intersection over union from areas; 0, never NaN, where both boxes are empty."""
    union = area_a + area_b - intersection
    return intersection / ops.where(union > 0.0, union, ops.ones_like(union))


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU `[..., N, M]` of every box of `a [..., N, 4]` with every box of `b [..., M, 4]`.

    Empty boxes overlap nothing: their row is 0 (torchvision gives NaN for two of them).
    """
    intersection = intersection_areas(a[..., :, None, :], b[..., None, :, :])
    return overlap_ratios(intersection, box_areas(a)[..., :, None], box_areas(b)[..., None, :])


def encode_boxes(targets: Tensor, references: Tensor, weights: Sequence[float]) -> Tensor:
    """Deltas `[..., 4]` (tx, ty, tw, th) that lead from `references [..., 4]` to `targets [..., 4]`.

    Sides are taken as at least a millionth of a pixel, so that padding rows give finite deltas.

    Source: PAPER §1.1; Faster R-CNN, eq. 2, with the weights of Fast R-CNN's released code.
    """
    weight_x, weight_y, weight_w, weight_h = (float(w) for w in weights)
    center_x, center_y, width, height = _centers_and_sides(references)
    target_x, target_y, target_width, target_height = _centers_and_sides(targets)
    width, height = ops.maximum(width, _SMALLEST_SIDE_PX), ops.maximum(height, _SMALLEST_SIDE_PX)
    return ops.stack(
        [
            weight_x * (target_x - center_x) / width,
            weight_y * (target_y - center_y) / height,
            weight_w * ops.log(ops.maximum(target_width, _SMALLEST_SIDE_PX) / width),
            weight_h * ops.log(ops.maximum(target_height, _SMALLEST_SIDE_PX) / height),
        ],
        axis=-1,
    )


def decode_boxes(deltas: Tensor, references: Tensor, weights: Sequence[float]) -> Tensor:
    """Boxes `[..., 4]` from `deltas [..., 4]` and `references [..., 4]`; leading dimensions broadcast.

    tw and th are clamped from above at ln(1000 / 16), so a box grows by a factor of at most 62.5. Class-specific
    deltas `[N, C, 4]` go with references `[N, 1, 4]`.

    Source: PAPER §1.1.
    """
    weight_x, weight_y, weight_w, weight_h = (float(w) for w in weights)
    center_x, center_y, width, height = _centers_and_sides(references)
    new_x = deltas[..., 0] / weight_x * width + center_x
    new_y = deltas[..., 1] / weight_y * height + center_y
    half_width = 0.5 * ops.exp(ops.minimum(deltas[..., 2] / weight_w, MAX_LOG_SCALE)) * width
    half_height = 0.5 * ops.exp(ops.minimum(deltas[..., 3] / weight_h, MAX_LOG_SCALE)) * height
    return ops.stack([new_x - half_width, new_y - half_height, new_x + half_width, new_y + half_height], axis=-1)


def clip_boxes(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Boxes `[B, ..., 4]` cut to their images; `sizes [B, 2]` holds the valid height and width in pixels."""
    height, width = ops.cast(sizes[:, 0], "float32"), ops.cast(sizes[:, 1], "float32")
    limits = ops.stack([width, height, width, height], axis=-1)
    for _ in range(len(boxes.shape) - 2):
        limits = limits[:, None]
    return ops.minimum(ops.maximum(boxes, 0.0), limits)


def _centers_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return boxes[..., 0] + 0.5 * width, boxes[..., 1] + 0.5 * height, width, height
