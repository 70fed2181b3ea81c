"""Recall of proposals: which share of the objects any proposal covers, whatever its score and category."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def recall_at_iou(
    boxes: Sequence[np.ndarray], truth: Sequence[np.ndarray], thresholds: Sequence[float] = (0.5, 0.7)
) -> list[float | None]:
    """The share of ground-truth boxes whose best proposal reaches each IoU threshold.

    A proposal may cover several objects: with hundreds of proposals an image, matching one to one changes little.

    Args:
        boxes: for each image [N, 4] proposals x1, y1, x2, y2.
        truth: for each image [M, 4] objects (without crowds and padding) in the same frame.

    Returns:
        One recall 0…1 for each threshold; None where there is no object at all.

    Raises:
        ValueError: for different numbers of images.
    """
    best = [best_iou(own, objects) for own, objects in zip(boxes, truth, strict=True)]
    covered = np.concatenate([*best, np.zeros(0)])
    if not len(covered):
        return [None for _ in thresholds]
    return [float(np.mean(covered >= threshold)) for threshold in thresholds]


def best_iou(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """[M]: the highest IoU of any of `boxes` [N, 4] with each of `truth` [M, 4]; 0 without boxes."""
    first, second = (np.asarray(b, np.float64).reshape(-1, 4) for b in (boxes, truth))
    if not len(first):
        return np.zeros(len(second))
    sides = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    intersection = np.prod(np.clip(sides, 0.0, None), axis=-1)
    area_first, area_second = (np.prod(np.clip(b[:, 2:] - b[:, :2], 0.0, None), axis=-1) for b in (first, second))
    union = area_first[:, None] + area_second[None, :] - intersection
    return np.where(union > 0.0, intersection / np.maximum(union, 1e-12), 0.0).max(axis=0)
