"""Region proposal network: the shared head, its losses and the selection of proposals (PAPER §1.1; Faster R-CNN §3).

Anchors are made for the maps at hand; nothing here knows images, classes or files.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from maskrcnn.models.shapes import at_most, flatten_levels
from maskrcnn.ops.anchors import cell_anchors, pyramid_anchors
from maskrcnn.ops.boxes import clip_boxes, decode_boxes, encode_boxes
from maskrcnn.ops.losses import sigmoid_cross_entropy, smooth_l1
from maskrcnn.ops.matching import match_anchors
from maskrcnn.ops.nms import non_max_suppression
from maskrcnn.ops.replicas import total
from maskrcnn.ops.sampling import sample_balanced
from maskrcnn.structures import AnchorSettings, Conventions, ProposalSettings

Tensor = Any
ABSENT = -1e30
"""Score of a row that is not there."""
SAMPLING_STREAM = 1


@keras.saving.register_keras_serializable("maskrcnn")
class RPNHead(keras.layers.Layer):
    """Objectness logits and box deltas of every anchor, one head shared by all levels.

    Call: list of [B, H, W, channels] -> (logits [B, A], deltas [B, A, 4]), order level, y, x, anchor.
    """

    def __init__(self, in_channels: int, anchors_per_cell: int, *, convolutions: int, channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.in_channels, self._per_cell = in_channels, anchors_per_cell
        width = channels or in_channels

        def convolution(filters: int, size: int, name: str, activation: str | None) -> keras.layers.Conv2D:
            # One initializer a layer: an instance of Keras' gives the same numbers again for the same shape.
            normal = keras.initializers.RandomNormal(stddev=0.01)
            return keras.layers.Conv2D(
                filters, size, padding="same", activation=activation, kernel_initializer=normal, name=name
            )

        self.convs = [convolution(width, 3, f"conv{i}", "relu") for i in range(convolutions)]
        self.objectness = convolution(anchors_per_cell, 1, "objectness", None)
        self.deltas = convolution(4 * anchors_per_cell, 1, "deltas", None)
        self._width = width
        self.build()

    def build(self, input_shape: Any = None) -> None:
        channels = self.in_channels
        for conv in self.convs:
            conv.build((None, None, None, channels))
            channels = self._width
        self.objectness.build((None, None, None, channels))
        self.deltas.build((None, None, None, channels))
        self.built = True

    def call(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        hidden = list(features)
        for conv in self.convs:
            hidden = [conv(level) for level in hidden]
        outputs = ops.cast(
            flatten_levels([self._both_outputs(level) for level in hidden], 5 * self._per_cell), "float32"
        )
        batch = ops.shape(outputs)[0]
        logits = ops.reshape(outputs[..., : self._per_cell], (batch, -1))
        return logits, ops.reshape(outputs[..., self._per_cell :], (batch, -1, 4))

    def _both_outputs(self, hidden: Tensor) -> Tensor:
        """Objectness and deltas of each cell, [B, H, W, A + 4 A], by one convolution: each alone would read the maps
        for a handful of channels."""
        layers = (self.objectness, self.deltas)
        kernel = ops.concatenate([layer.kernel for layer in layers], axis=-1)
        bias = ops.concatenate([layer.bias for layer in layers], axis=-1)
        outputs = ops.conv(hidden, ops.cast(kernel, hidden.dtype), padding="same", data_format="channels_last")
        return outputs + ops.cast(bias, hidden.dtype)


def anchors_of(
    features: list[Tensor],
    image_shape: tuple[Any, Any],
    strides: list[int],
    settings: AnchorSettings,
    conventions: Conventions,
) -> list[Tensor]:
    """Anchors of each level, list of [H·W·A, 4], for maps of a padded image of `image_shape` (height, width)."""
    cells = [
        cell_anchors(sizes, settings.ratios, rounding=conventions.anchor_rounding, order=conventions.anchor_order)
        for sizes in settings.sizes
    ]
    grid_sizes = [(ops.shape(level)[1], ops.shape(level)[2]) for level in features]
    if conventions.anchor_stride == "from_grid":
        steps = [(image_shape[0] // h, image_shape[1] // w) for h, w in grid_sizes]
    else:
        steps = [(stride, stride) for stride in strides]
    return pyramid_anchors(grid_sizes, steps, cells, conventions.anchor_offset)


def rpn_losses(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    batch: dict[str, Tensor],
    settings: ProposalSettings,
    conventions: Conventions,
) -> dict[str, Tensor]:
    """Objectness and box loss over the sampled anchors, and how many anchors matched.

    Args:
        logits: [B, A]. deltas: [B, A, 4]. anchors: [A, 4].

    Both are divided by the number of sampled anchors, not of positives (PAPER §1.1).
    """
    states, matched = match_anchors(
        anchors,
        batch["boxes"],
        batch["labels"],
        positive_iou=settings.positive_iou,
        negative_iou=settings.negative_iou,
        low_quality=True,
    )
    rows, sampled = sample_balanced(
        states,
        batch["seeds"],
        count=settings.batch_per_image,
        positive_fraction=settings.positive_fraction,
        stream=SAMPLING_STREAM,
    )
    positive = ops.cast(sampled == 1, "float32")
    used = ops.cast(sampled >= 0, "float32")
    normaliser = ops.maximum(total(ops.sum(used)), 1.0)
    objectness = sigmoid_cross_entropy(ops.take_along_axis(logits, rows, axis=1), positive)
    sampled_anchors = ops.take(anchors, rows, axis=0)
    truth_rows = ops.take_along_axis(matched, rows, axis=1)
    truth = ops.take_along_axis(batch["boxes"], truth_rows[..., None], axis=1)
    # Rows without a ground truth would encode a zero-sized box to -inf; they regress to themselves.
    truth = ops.where(positive[..., None] > 0, truth, sampled_anchors)
    targets = encode_boxes(truth, sampled_anchors, conventions.rpn_box_weights)
    box = smooth_l1(ops.take_along_axis(deltas, rows[..., None], axis=1), targets, settings.smooth_l1_beta)
    return {
        "loss/rpn_objectness": ops.sum(objectness * used) / normaliser,
        "loss/rpn_box": ops.sum(ops.sum(box, axis=-1) * positive) / normaliser,
        "rpn/positive_anchors": ops.mean(ops.sum(ops.cast(states == 1, "float32"), axis=1)),
    }


def select_proposals(
    logits: list[Tensor],
    deltas: list[Tensor],
    anchors: list[Tensor],
    sizes: Tensor,
    settings: ProposalSettings,
    conventions: Conventions,
    *,
    pre_nms: int,
    post_nms: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The best proposals of each image.

    Args:
        logits, deltas, anchors: one entry a level: [B, A_l], [B, A_l, 4], [A_l, 4].
        sizes: [B, 2] height and width without padding.

    Returns:
        boxes [B, P, 4], scores [B, P], valid [B, P] bool, by falling score; P = post_nms. No gradient flows.
    """
    levels = [
        _level_candidates(level_logits, level_deltas, level_anchors, pre_nms, conventions)
        for level_logits, level_deltas, level_anchors in zip(logits, deltas, anchors)
    ]
    boxes = clip_boxes(ops.concatenate([level[0] for level in levels], axis=1), sizes)
    scores = ops.concatenate([level[1] for level in levels], axis=1)
    groups = ops.concatenate([ops.full_like(level[1], i, dtype="int32") for i, level in enumerate(levels)], axis=1)
    scores = ops.where(_large_enough(boxes, conventions.proposal_min_side), scores, ABSENT)
    rows, valid = non_max_suppression(boxes, scores, groups, iou_threshold=settings.nms_iou, max_outputs=post_nms)
    chosen = ops.take_along_axis(boxes, rows[..., None], axis=1) * ops.cast(valid[..., None], boxes.dtype)
    chosen_scores = ops.where(valid, ops.take_along_axis(scores, rows, axis=1), ABSENT)
    return ops.stop_gradient(chosen), ops.stop_gradient(chosen_scores), valid


def _level_candidates(
    logits: Tensor, deltas: Tensor, anchors: Tensor, count: int, conventions: Conventions
) -> tuple[Tensor, Tensor]:
    """Decoded boxes and scores of the `count` best anchors of one level."""
    scores, rows = ops.top_k(logits, at_most(ops.shape(logits)[1], count))
    best_deltas = ops.take_along_axis(deltas, rows[..., None], axis=1)
    boxes = decode_boxes(best_deltas, ops.take(anchors, rows, axis=0), conventions.rpn_box_weights)
    if conventions.proposal_score == "sigmoid":
        scores = ops.sigmoid(scores)
    return boxes, scores


def _large_enough(boxes: Tensor, min_side: float) -> Tensor:
    sides = boxes[..., 2:] - boxes[..., :2]
    smallest = ops.min(sides, axis=-1)
    return smallest >= min_side if min_side > 0 else smallest > 0
