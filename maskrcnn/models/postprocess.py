"""From the box head's outputs to detections: scores, decoding, per-class NMS, the best of an image (PAPER §1.3)."""

from __future__ import annotations

from typing import Any

from keras import ops

from maskrcnn.models.losses import foreground_scores
from maskrcnn.models.rpn import ABSENT
from maskrcnn.models.shapes import at_most
from maskrcnn.ops.boxes import clip_boxes, decode_boxes
from maskrcnn.ops.nms import non_max_suppression
from maskrcnn.structures import Conventions, RoISettings

Tensor = Any


def select_detections(
    logits: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    valid: Tensor,
    sizes: Tensor,
    settings: RoISettings,
    conventions: Conventions,
) -> dict[str, Tensor]:
    """The best detections of each image; one RoI can give several, one a class.

    Args:
        logits: [B, P, C + 1]. deltas: [B, P, C, 4] or [B, P, 1, 4]. proposals: [B, P, 4]. valid: [B, P].

    Returns:
        boxes [B, D, 4], scores [B, D], labels [B, D] int32, by falling score; label 0 and score 0 are padding.
    """
    scores = foreground_scores(logits, conventions.background_index)
    scores = ops.where(valid[..., None], scores, ABSENT)
    num_classes = scores.shape[-1]
    flat = ops.reshape(scores, (ops.shape(scores)[0], -1))
    candidates, places = ops.top_k(flat, _candidate_count(scores, settings.score_threshold))
    rows, labels = ops.floor_divide(places, num_classes), ops.mod(places, num_classes) + 1
    boxes = _decode(deltas, proposals, rows, labels, conventions)
    boxes = clip_boxes(boxes, sizes)
    sides = ops.min(boxes[..., 2:] - boxes[..., :2], axis=-1)
    large = sides >= conventions.detection_min_side if conventions.detection_min_side > 0 else sides > 0
    candidates = ops.where(ops.logical_and(candidates > settings.score_threshold, large), candidates, ABSENT)
    kept, real = non_max_suppression(
        boxes, candidates, labels, iou_threshold=settings.nms_iou, max_outputs=settings.detections_per_image
    )
    there = ops.cast(real, "float32")
    return {
        "boxes": ops.take_along_axis(boxes, kept[..., None], axis=1) * there[..., None],
        "scores": ops.where(real, ops.take_along_axis(candidates, kept, axis=1), 0.0),
        "labels": ops.where(real, ops.take_along_axis(labels, kept, axis=1), 0),
    }


def _candidate_count(scores: Tensor, threshold: float) -> Any:
    """Rows that can pass the threshold: the classes of one RoI sum to at most 1, so fewer than 1 / threshold do."""
    proposals, num_classes = ops.shape(scores)[1], scores.shape[-1]
    per_proposal = num_classes if threshold <= 0 else min(num_classes, int(1.0 / threshold))
    return (
        at_most(proposals * num_classes, proposals * per_proposal)
        if isinstance(proposals, int)
        else (proposals * per_proposal)
    )


def _decode(deltas: Tensor, proposals: Tensor, rows: Tensor, labels: Tensor, conventions: Conventions) -> Tensor:
    """Boxes [B, N, 4] of the candidates, from the deltas of their own class."""
    classes = deltas.shape[2]
    flat = ops.reshape(deltas, (ops.shape(deltas)[0], -1, 4))
    places = rows * classes + (labels - 1 if classes > 1 else 0)
    chosen = ops.take_along_axis(flat, places[..., None], axis=1)
    references = ops.take_along_axis(proposals, rows[..., None], axis=1)
    return decode_boxes(chosen, references, conventions.box_weights)
