"""Elementwise losses in float32; sums and normalisers belong to the heads."""

from __future__ import annotations

from keras import ops

from maskrcnn.ops.tensors import Tensor


def smooth_l1(pred: Tensor, target: Tensor, beta: float) -> Tensor:
    """Smooth L1 of each element: `0.5 d² / beta` below `beta`, else `|d| - 0.5 beta`; plain L1 where beta is 0.

    Source: Fast R-CNN, eq. 3, with the `beta` of Detectron.
    """
    difference = ops.abs(ops.cast(pred, "float32") - ops.cast(target, "float32"))
    if beta <= 0.0:
        return difference
    return ops.where(difference < beta, 0.5 / beta * ops.square(difference), difference - 0.5 * beta)


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of each element; `targets` in 0…1 may be soft. Finite for every finite logit."""
    logits, targets = ops.cast(logits, "float32"), ops.cast(targets, "float32")
    negative = logits < 0.0
    # `where` instead of maximum and abs: their gradients at exactly 0 would not add up to sigmoid(0) - target.
    positive_part = ops.where(negative, ops.zeros_like(logits), logits)
    minus_magnitude = ops.where(negative, logits, -logits)
    return positive_part - logits * targets + ops.log1p(ops.exp(minus_magnitude))


def softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy `[...]` of `logits [..., C]` with class indices `labels [...]`; 0 where the label is negative."""
    log_probabilities = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    classes = ops.arange(logits.shape[-1], dtype="int32")
    own = ops.equal(classes, ops.cast(labels, "int32")[..., None])
    # A sum over a mask, not a gather: its gradient is deterministic on every device.
    return -ops.sum(ops.where(own, log_probabilities, ops.zeros_like(log_probabilities)), axis=-1)
