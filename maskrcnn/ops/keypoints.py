"""Keypoints and heat maps: the cell that a joint falls into, and the joint that a heat map means (PAPER §1.2, §1.3)."""

from __future__ import annotations

import numpy as np
from keras import ops

from maskrcnn.ops.tensors import Tensor

_CUBIC_A = -0.75
"""Bicubic kernel of PyTorch and OpenCV; `tf.image.resize` has -0.5 and treats borders otherwise (PAPER §6 row 37)."""
_OVERSHOOT = 0.1875
"""Largest sum of a pixel's negative weights, halfway between two cells: 0.75 / 4."""


def keypoint_targets(keypoints: Tensor, rois: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Target cell and validity of each joint: `[R, K]` int32 (`y * size + x`, 0 if not valid) and `[R, K]` bool.

    A joint on the RoI's right or lower border belongs to the last cell. Valid joints lie inside the RoI and are
    labelled (visibility above 0: occluded ones count).

    Args:
        keypoints: `[R, K, 3]` x, y, visibility of each RoI's person, in the frame of the RoIs.
        rois: `[R, 4]`; in an empty RoI no joint is valid, except on its corner.
        size: cells of a heat map's side.

    Source: PAPER §1.2 (Detectron, torchvision).
    """
    x, inside_x = _cells(keypoints[..., 0], rois[:, None, 0], rois[:, None, 2], size)
    y, inside_y = _cells(keypoints[..., 1], rois[:, None, 1], rois[:, None, 3], size)
    valid = ops.logical_and(ops.logical_and(inside_x, inside_y), keypoints[..., 2] > 0)
    cells = y * size + x
    return ops.where(valid, cells, ops.zeros_like(cells)), valid


def _cells(position: Tensor, start: Tensor, end: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cell along one axis, in 0…size - 1, and whether the position lies between the borders."""
    inside = ops.logical_and(position >= start, position <= end)
    extent = ops.maximum(end - start, 1e-6)
    # Clipped before the cast: what a float far outside int32 becomes is undefined.
    cell = ops.clip(ops.floor((position - start) * (size / extent)), 0, size - 1)
    return ops.cast(cell, "int32"), inside


def decode_keypoints(logits: np.ndarray, boxes: np.ndarray, score: str) -> np.ndarray:
    """Joints `[R, K, 3]` float32 (x, y, score) in the frame of the boxes, from heat maps; NumPy alone.

    Each map is resized (bicubic) to its box, in whole pixels rounded up and at least one; the first largest value
    in reading order is the joint.

    Args:
        logits: `[R, m, m, K]`.
        boxes: `[R, 4]`.
        score: "softmax": probability at the maximum, normalised over the map's own cells, so that people of
            different sizes compare (Detectron2; above 1 where the bicubic curve overshoots); "logit": the resized
            value itself (torchvision).

    Source: PAPER §1.3.
    """
    if score not in ("softmax", "logit"):
        raise ValueError(f"score {score!r}: choose softmax or logit")
    logits, boxes = np.asarray(logits, "float32"), np.asarray(boxes, "float32")
    joints = np.zeros((len(logits), logits.shape[-1], 3), "float32")
    for joint, maps, box in zip(joints, logits, boxes, strict=True):
        joint[:] = _decode_person(maps, box)
    if score == "softmax" and len(logits):
        joints[..., 2] = np.exp(joints[..., 2] - _log_sum_exp(logits))
    return joints


def _decode_person(maps: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Joints `[K, 3]` (x, y, resized logit) of one person from maps `[m, m, K]`."""
    width, height = np.maximum(box[2:] - box[:2], np.float32(1.0))
    columns, rows = int(np.ceil(width)), int(np.ceil(height))
    row_taps, column_taps = (cubic_taps(m, n) for m, n in zip(maps.shape[:2], (rows, columns), strict=True))
    # Gathers, not matrix products: with busy cores the threads of BLAS cost such small products twenty times more.
    maps = np.ascontiguousarray(maps.transpose(2, 1, 0))
    joints = np.empty((len(maps), 3), "float32")
    for joint, own in zip(joints, maps, strict=True):
        row, column, value = _first_maximum(_resize(own, row_taps).T, column_taps)
        joint[:] = box[0] + (column + 0.5) * width / columns, box[1] + (row + 0.5) * height / rows, value
    return joints


def _first_maximum(lines: np.ndarray, taps: tuple[np.ndarray, np.ndarray]) -> tuple[int, int, float]:
    """Row, column and value of the first largest pixel of `lines [rows, m]`, resized along each row.

    Rows that cannot reach the largest pixel of the most promising row are not resized: most of a peaked map.
    """
    highest, lowest = lines.max(axis=1), lines.min(axis=1)
    reached = _resize(lines[highest.argmax()][None], taps).max()
    rounding = 1e-5 * max(float(highest.max()), -float(lowest.min()))
    rows = np.flatnonzero(highest + _OVERSHOOT * (highest - lowest) >= reached - rounding)
    resized = _resize(lines[rows], taps)
    row, column = divmod(int(resized.argmax()), resized.shape[1])
    return int(rows[row]), column, float(resized[row, column])


def _resize(lines: np.ndarray, taps: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Lines `[rows, target]` from `[rows, source]`."""
    cells, weights = taps
    return sum(lines[:, cells[:, k]] * weights[:, k] for k in range(4))


def cubic_taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells and weights `[target, 4]` of a bicubic resize: half-pixel centres, repeated border, no antialias."""
    position = (np.arange(target) + 0.5) * (source / target) - 0.5
    base = np.floor(position)[:, None]
    cells = base + np.arange(-1, 3)
    weights = _cubic(np.abs(position[:, None] - cells))
    return np.clip(cells, 0, source - 1).astype(int), weights.astype("float32")


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel at `distance` ≥ 0."""
    near = ((_CUBIC_A + 2.0) * distance - (_CUBIC_A + 3.0)) * distance**2 + 1.0
    far = _CUBIC_A * (((distance - 5.0) * distance + 8.0) * distance - 4.0)
    return np.where(distance <= 1.0, near, np.where(distance < 2.0, far, 0.0))


def _log_sum_exp(logits: np.ndarray) -> np.ndarray:
    """Logarithm `[R, K]` of the sum of exponentials over the cells of each map."""
    largest = logits.max(axis=(1, 2))
    return largest + np.log(np.exp(logits - largest[:, None, None]).sum(axis=(1, 2)))
