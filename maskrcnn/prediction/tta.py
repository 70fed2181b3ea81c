"""Test-time augmentation: one image seen in several views, whose findings are merged (paper, tables 8 and 9).

Boxes of all views form one list, thinned by the detector's own NMS; masks are the mean of the views' probabilities
at the final boxes, and joints are read from the mean of their heat maps (Detectron's recipe, PAPER §1.3). The paper's
gain of +1.5 mask AP comes from scales 400 ... 1200 and flips together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maskrcnn.prediction.network import Outputs, Stages
from maskrcnn.prediction.views import (
    View,
    average_heatmaps,
    average_masks,
    boxes_to_base,
    boxes_to_view,
)
from maskrcnn.structures import KeypointSchema, RoISettings


class ViewBatch(NamedTuple):
    """Images of one view at the network's input: `[B, H, W, 3]`, and their sizes `[B, 2]` without padding."""

    images: np.ndarray
    sizes: np.ndarray


def merged_outputs(
    stages: Stages,
    views: Sequence[View],
    batches: Sequence[ViewBatch],
    roi: RoISettings,
    schema: KeypointSchema | None,
) -> Outputs:
    """What the network would return for the base view (the first), out of all views.

    Args:
        batches: the same images in each of the views.
        roi: gives the NMS threshold and the number of detections.
        schema: sides of the joints, for a keypoint head.
    """
    features, found = zip(*(stages.find(*batch) for batch in batches), strict=True)
    merged = _merge_images(found, views, [batch.sizes for batch in batches], roi)
    base = batches[0].sizes
    read = [
        stages.read(maps, _to_view(merged["boxes"], base, batch.sizes, view), merged["labels"])
        for maps, batch, view in zip(features, batches, views, strict=True)
    ]
    if "masks" in read[0]:
        merged["masks"] = average_masks([outputs["masks"] for outputs in read], views)
    if "keypoint_logits" in read[0]:
        merged["keypoint_logits"] = average_heatmaps([o["keypoint_logits"] for o in read], views, schema)
    return merged


def _merge_images(
    found: Sequence[Outputs], views: Sequence[View], sizes: Sequence[np.ndarray], roi: RoISettings
) -> Outputs:
    """boxes `[B, D, 4]` of the base view, scores and labels `[B, D]`, by falling score; label 0 is padding."""
    count, limit = len(sizes[0]), roi.detections_per_image
    boxes, scores = np.zeros((count, limit, 4), np.float32), np.zeros((count, limit), np.float32)
    labels = np.zeros((count, limit), np.int32)
    for image in range(count):
        base = tuple(sizes[0][image].tolist())
        in_base = [
            boxes_to_base(outputs["boxes"][image], base, tuple(size[image].tolist()), view.flipped)
            for outputs, size, view in zip(found, sizes, views, strict=True)
        ]
        every_box = np.concatenate(in_base).clip(0, np.array([base[1], base[0]] * 2, np.float32))
        every_score = np.concatenate([outputs["scores"][image] for outputs in found])
        every_label = np.concatenate([outputs["labels"][image] for outputs in found])
        rows = suppress(every_box, every_score, every_label, iou_threshold=roi.nms_iou)[:limit]
        boxes[image, : len(rows)], scores[image, : len(rows)] = every_box[rows], every_score[rows]
        labels[image, : len(rows)] = every_label[rows]
    return {"boxes": boxes, "scores": scores, "labels": labels}


def suppress(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, *, iou_threshold: float) -> np.ndarray:
    """Rows by falling score that no better box of their label overlaps by more than the threshold.

    Args:
        boxes: `[N, 4]`. scores, labels: `[N]`; rows of label 0 are not there. Among equal scores the lower row wins.
    """
    rows = np.flatnonzero(labels > 0)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    overlaps = _pairwise_iou(boxes[rows]) > iou_threshold
    overlaps &= labels[rows, None] == labels[None, rows]
    alive = np.ones(len(rows), bool)
    for row in range(len(rows)):
        if alive[row]:
            alive[row + 1 :] &= ~overlaps[row, row + 1 :]
    return rows[alive]


def _pairwise_iou(boxes: np.ndarray) -> np.ndarray:
    """`[N, N]`; 0 for boxes without area."""
    corners = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(corners[1] - corners[0], 0).prod(-1)
    areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(-1)
    union = areas[:, None] + areas[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _to_view(boxes: np.ndarray, base: np.ndarray, sizes: np.ndarray, view: View) -> np.ndarray:
    """Boxes `[B, D, 4]` of the base view in another one; padding rows come along."""
    images = zip(boxes, base.tolist(), sizes.tolist(), strict=True)
    return np.stack([boxes_to_view(own, tuple(of), tuple(to), view.flipped) for own, of, to in images])
