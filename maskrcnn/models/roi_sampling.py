"""RoIs that train the heads: ground truth joins the proposals, then positives and negatives are drawn (PAPER §1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import ops

from maskrcnn.ops.matching import match_proposals
from maskrcnn.ops.sampling import sample_balanced
from maskrcnn.structures import RoISettings

Tensor = Any
SAMPLING_STREAM = 2


@dataclass(frozen=True)
class SampledRoIs:
    """A fixed number R of RoIs of each image, positives first.

    boxes [B, R, 4]; states [B, R]: 1 positive, 0 negative, -1 empty slot; matched [B, R]: row of the ground truth;
    labels [B, R]: class of positives, else 0.
    """

    boxes: Tensor
    states: Tensor
    matched: Tensor
    labels: Tensor


def sample_rois(proposals: Tensor, valid: Tensor, batch: dict[str, Tensor], settings: RoISettings) -> SampledRoIs:
    """Draw `settings.batch_per_image` RoIs from proposals [B, P, 4] and the ground truth of `batch`.

    The ground truth joins the candidates, so that the heads see positives before the RPN has learnt anything.
    """
    is_truth = batch["labels"] > 0
    # Ground truth last: its padding, whose length depends on the batch, must not move the rows that are drawn.
    candidates = ops.concatenate([proposals, batch["boxes"]], axis=1)
    usable = ops.concatenate([valid, is_truth], axis=1)
    states, matched = match_proposals(
        candidates, usable, batch["boxes"], batch["labels"], positive_iou=settings.positive_iou
    )
    rows, sampled = sample_balanced(
        states,
        batch["seeds"],
        count=settings.batch_per_image,
        positive_fraction=settings.positive_fraction,
        stream=SAMPLING_STREAM,
    )
    matched = ops.take_along_axis(matched, rows, axis=1)
    labels = ops.take_along_axis(batch["labels"], matched, axis=1)
    boxes = ops.take_along_axis(candidates, rows[..., None], axis=1)
    return SampledRoIs(
        boxes=ops.stop_gradient(boxes * ops.cast(sampled[..., None] >= 0, boxes.dtype)),
        states=sampled,
        matched=matched,
        labels=ops.where(sampled == 1, labels, 0),
    )
