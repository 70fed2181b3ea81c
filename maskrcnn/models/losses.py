"""Losses of the second stage (PAPER §1.2): each a scalar from the heads' outputs and the sampled RoIs.

Means are over the whole batch: on several devices each loss is a device's part of it, and the parts add up.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from maskrcnn.ops.boxes import encode_boxes
from maskrcnn.ops.losses import sigmoid_cross_entropy, smooth_l1, softmax_cross_entropy
from maskrcnn.ops.replicas import total

Tensor = Any


def class_rows(labels: Tensor, num_classes: int, background_index: int) -> Tensor:
    """Row of the class logits for each label (0 = background); int32, same shape."""
    if background_index == 0:
        return labels
    return ops.where(labels > 0, labels - 1, num_classes)


def foreground_scores(logits: Tensor, background_index: int) -> Tensor:
    """Probabilities of the classes 1…C, [..., C], from logits [..., C + 1]."""
    probabilities = ops.softmax(logits, axis=-1)
    return probabilities[..., 1:] if background_index == 0 else probabilities[..., :-1]


def own_class(values: Tensor, labels: Tensor) -> Tensor:
    """[R, ...] of each row's own class from [R, C, ...]; row 0 where the label is not positive or C is 1."""
    if values.shape[1] == 1:
        return values[:, 0]
    rows = ops.maximum(labels - 1, 0)
    index = ops.reshape(rows, (-1,) + (1,) * (len(values.shape) - 1))
    return ops.take_along_axis(values, index, axis=1)[:, 0]


def class_loss(logits: Tensor, rows: Tensor, states: Tensor) -> Tensor:
    """Softmax cross-entropy, mean over the RoIs that are there. logits [R, C + 1], rows and states [R]."""
    used = ops.cast(states >= 0, "float32")
    return ops.sum(softmax_cross_entropy(logits, rows) * used) / ops.maximum(total(ops.sum(used)), 1.0)


def box_loss(
    deltas: Tensor, labels: Tensor, states: Tensor, rois: Tensor, truth: Tensor, *, weights: list[float], beta: float
) -> Tensor:
    """Smooth L1 of the own class' deltas, summed over positives, divided by all sampled RoIs.

    Args:
        deltas: [R, C, 4] or [R, 1, 4]. labels, states: [R]. rois, truth: [R, 4].
    """
    positive = ops.cast(states == 1, "float32")
    used = ops.maximum(total(ops.sum(ops.cast(states >= 0, "float32"))), 1.0)
    # Empty slots and negatives encode a harmless unit box, since zero sides would give -inf · 0 = NaN.
    unit = ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0], dtype="float32")
    there = positive[:, None] > 0
    targets = encode_boxes(ops.where(there, truth, unit), ops.where(there, rois, unit), weights)
    error = ops.sum(smooth_l1(own_class(deltas, labels), targets, beta), axis=-1)
    return ops.sum(error * positive) / used


def mask_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean binary cross-entropy over the cells of the RoIs with weight 1; 0 if there is none.

    Args:
        logits: [R, m, m] of the own class. targets: [R, m, m] in 0…1. weights: [R] 0 or 1.
    """
    cells = float(targets.shape[1] * targets.shape[2])
    error = ops.sum(sigmoid_cross_entropy(logits, targets), axis=(1, 2))
    return ops.sum(error * weights) / (ops.maximum(total(ops.sum(weights)), 1.0) * cells)


def keypoint_loss(logits: Tensor, cells: Tensor, valid: Tensor, sigma: float) -> Tensor:
    """Softmax cross-entropy over the m² places of each visible keypoint, mean over these; 0 if there is none.

    Args:
        logits: [R, m, m, K]. cells: [R, K] index y · m + x. valid: [R, K] 0 or 1.
        sigma: 0 for the paper's one-hot target, else the standard deviation (cells) of a Gaussian around it.
    """
    side = logits.shape[1]
    flat = ops.reshape(ops.transpose(logits, (0, 3, 1, 2)), (-1, logits.shape[3], side * side))
    if sigma > 0:
        log_p = ops.log_softmax(flat, axis=-1)
        error = -ops.sum(_gaussian_targets(cells, side, sigma) * log_p, axis=-1)
    else:
        error = softmax_cross_entropy(flat, cells)
    valid = ops.cast(valid, "float32")
    return ops.sum(error * valid) / ops.maximum(total(ops.sum(valid)), 1.0)


def _gaussian_targets(cells: Tensor, side: int, sigma: float) -> Tensor:
    """[R, K, side²], each row sums to 1."""
    grid = ops.arange(side, dtype="float32")
    x = ops.cast(ops.mod(cells, side), "float32")[..., None]
    y = ops.cast(ops.floor_divide(cells, side), "float32")[..., None]
    in_x = ops.softmax(-((grid - x) ** 2) / (2 * sigma**2), axis=-1)
    in_y = ops.softmax(-((grid - y) ** 2) / (2 * sigma**2), axis=-1)
    product = in_y[..., :, None] * in_x[..., None, :]
    return ops.reshape(product, (-1, cells.shape[1], side * side))
