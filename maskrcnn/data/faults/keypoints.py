"""Checks of one annotation's keypoints: x, y, visibility of each joint of its category."""

from __future__ import annotations

from typing import Any

import numpy as np

from maskrcnn.data.faults.values import UnfitError, numbers, show, whole

NEAR_SHARE = 0.02
NEAR_PIXELS = 2.0
"""Labelled joints may pass the image's border by this much without a word; COCO's own do, by rounding."""

_FARTHEST = 1e6
"""Pixels; farther out float32 loses whole pixels, whatever the image."""


def read_keypoints(value: Any, num_joints: int) -> np.ndarray:
    """Joints float64 [K, 3]. Raises UnfitError for another length, for what is not a finite number, and for a
    visibility other than 0, 1, 2."""
    flat = numbers(value, "keypoints list")
    if len(flat) != 3 * num_joints:
        raise UnfitError(f"has {len(flat)} keypoint numbers, expected 3 x {num_joints} = {3 * num_joints}")
    if flat.size and np.abs(flat).max() > _FARTHEST:
        raise UnfitError(f"has a keypoint at {show(float(np.abs(flat).max()))}, an absurd place")
    joints = flat.reshape(-1, 3)
    visibility = joints[:, 2]
    odd = (visibility != 0) & (visibility != 1) & (visibility != 2)
    if odd.any():
        raise UnfitError(f"has a keypoint of visibility {show(float(visibility[odd][0]))}, expected 0, 1 or 2")
    return joints


def distance_outside(joints: np.ndarray, size: tuple[int, int]) -> float:
    """How far (pixels) the farthest labelled joint [K, 3] lies outside the image of `size` (height, width); ≤ 0: none.

    Pixel indices: 0 to side - 1.
    """
    labelled = joints[joints[:, 2] > 0]
    if not len(labelled):
        return 0.0
    height, width = size
    over = np.maximum(-labelled[:, :2], labelled[:, :2] - [width, height])
    return float(over.max())


def read_count(entry: dict[str, Any]) -> int | None:
    """What `num_keypoints` says; None if it is missing. Raises UnfitError for anything but a whole number from 0 on."""
    if "num_keypoints" not in entry:
        return None
    stated = whole(entry["num_keypoints"])
    if stated is None or stated < 0:
        raise UnfitError(f"has num_keypoints {show(entry['num_keypoints'])}, expected a whole number from 0 on")
    return stated
