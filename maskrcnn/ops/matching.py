"""Assignment of anchors and proposals to ground truth by overlap (PAPER §1.1, §1.2, §1.4).

One pass over the ground truths keeps running maxima `[B, N]`: the matrix of all overlaps (213k anchors × 100
objects at 800 px) is never made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from maskrcnn.ops.boxes import box_areas, intersection_areas, overlap_ratios
from maskrcnn.ops.tensors import Tensor

CROWD_OVERLAP = 0.7
"""Share of a box's own area inside a crowd above which it is no background (Detectron 1: CROWD_FILTER_THRESH)."""

POSITIVE, NEGATIVE, IGNORE = 1, 0, -1


class Overlaps(NamedTuple):
    """Running result `[B, N]` of the pass over the ground truths."""

    best: Tensor
    """Largest IoU with a ground truth; 0 if there is none."""
    matched: Tensor
    """int32 row of that ground truth; the lowest among equals, 0 if there is none."""
    is_best_of_some: Tensor
    """bool: no other box overlaps one of the ground truths more (ties included; never with IoU 0)."""
    crowd: Tensor
    """Largest share of the box's own area inside a crowd region."""


def match_anchors(
    anchors: Tensor,
    boxes: Tensor,
    labels: Tensor,
    *,
    positive_iou: float,
    negative_iou: float,
    low_quality: bool,
    crowd_overlap: float = CROWD_OVERLAP,
) -> tuple[Tensor, Tensor]:
    """State and matched ground truth of each anchor: `[B, A]` int32 each.

    Args:
        anchors: `[A, 4]`.
        boxes: `[B, M, 4]`; M may be 0.
        labels: `[B, M]`: above 0 ground truth, 0 padding (matches nothing), below 0 crowd (never positive).
        positive_iou: anchors whose best IoU reaches it are positive.
        negative_iou: anchors whose best IoU is below it are negative; between the two they are ignored.
        low_quality: the anchors that overlap a ground truth most (all ties) are positive too, and keep their own
            best ground truth. A ground truth that no anchor touches marks nothing.
        crowd_overlap: negatives with more than this share of their area in a crowd region are ignored.

    Returns:
        states (1 positive, 0 negative, -1 ignored) and the row of the best ground truth (0 where there is none).
    """
    overlaps = _overlaps_with_ground_truth(anchors[None], boxes, labels)
    positive = overlaps.best >= positive_iou
    if low_quality:
        positive = ops.logical_or(positive, overlaps.is_best_of_some)
    return _states(overlaps, positive, negative_iou, crowd_overlap), overlaps.matched


def match_proposals(
    proposals: Tensor,
    valid: Tensor,
    boxes: Tensor,
    labels: Tensor,
    *,
    positive_iou: float,
    crowd_overlap: float = CROWD_OVERLAP,
) -> tuple[Tensor, Tensor]:
    """State and matched ground truth `[B, P]` int32 of `proposals [B, P, 4]`, as in `match_anchors`.

    Positive from `positive_iou` on, else negative; rows that are not `valid [B, P]` are ignored.
    """
    overlaps = _overlaps_with_ground_truth(proposals, boxes, labels)
    states = _states(overlaps, overlaps.best >= positive_iou, positive_iou, crowd_overlap)
    return ops.where(valid, states, ops.full_like(states, IGNORE)), overlaps.matched


def _states(overlaps: Overlaps, positive: Tensor, negative_iou: float, crowd_overlap: float) -> Tensor:
    negative = ops.logical_and(overlaps.best < negative_iou, overlaps.crowd <= crowd_overlap)
    states = ops.where(negative, ops.full_like(overlaps.matched, NEGATIVE), ops.full_like(overlaps.matched, IGNORE))
    return ops.where(positive, ops.full_like(states, POSITIVE), states)


def _overlaps_with_ground_truth(references: Tensor, boxes: Tensor, labels: Tensor) -> Overlaps:
    """Overlaps of `references [B or 1, N, 4]` with each image's ground truth and crowds."""
    references, boxes = ops.stop_gradient(references), ops.stop_gradient(boxes)
    areas = box_areas(references)
    own_areas = ops.where(areas > 0.0, areas, ops.ones_like(areas))
    labels = ops.cast(labels, "int32")

    def rows(index: Tensor) -> tuple[Tensor, Tensor]:
        box = ops.take(boxes, index, axis=1)[:, None, :]
        label = ops.take(labels, index, axis=1)[:, None]
        intersection = intersection_areas(references, box)
        iou = overlap_ratios(intersection, areas, box_areas(box))
        nothing = ops.zeros_like(iou)
        return ops.where(label > 0, iou, nothing), ops.where(label < 0, intersection / own_areas, nothing)

    batch, count = ops.shape(labels)
    return running_overlaps(rows, count, (batch, ops.shape(references)[1]))


def running_overlaps(
    rows: Callable[[Tensor], tuple[Tensor, Tensor]], count: Tensor, shape: tuple[Tensor, Tensor]
) -> Overlaps:
    """Folds `count` ground truths; `rows(m)` gives the IoU and the crowd share `[B, N]` of the m-th one."""

    def fold(index: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        best, matched, is_best, crowd = state
        iou, crowd_share = rows(index)
        largest = ops.max(iou, axis=-1, keepdims=True)
        reaches = ops.logical_and(ops.equal(iou, largest), largest > 0.0)
        better = iou > best
        row = ops.broadcast_to(ops.cast(index, "int32"), shape)
        return (
            ops.where(better, iou, best),
            ops.where(better, row, matched),
            ops.logical_or(is_best, reaches),
            ops.maximum(crowd, crowd_share),
        )

    start = (
        ops.zeros(shape, "float32"),
        ops.zeros(shape, "int32"),
        ops.zeros(shape, "bool"),
        ops.zeros(shape, "float32"),
    )
    return Overlaps(*ops.fori_loop(0, count, fold, start))
