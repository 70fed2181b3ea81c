"""Image sizes and resampling by the rules of the sources (`Conventions.resize`, PAPER §1.4).

| rule | size | resampling | result |
| --- | --- | --- | --- |
| opencv | side * scale, rounded | bilinear on uint8, no antialias | uint8 |
| torchvision | floor(side * scale) | bilinear on floats, no antialias | float32 in 0..255 |
| detectron2 | int(side * scale + 0.5) | Pillow's antialiased bilinear on uint8 | uint8 |

torchvision normalises before it resizes; both are linear in the pixels, so floats in 0..255 that are normalised
afterwards have the same values.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from PIL import Image

RULES = ("opencv", "torchvision", "detectron2")


def resized_size(height: int, width: int, short_side: int, long_side: int, rule: str) -> tuple[int, int]:
    """Height and width after scaling the short side to `short_side`, unless the long side would pass `long_side`.

    `short_side` 0 keeps the size. Computed in double precision, as the sources do.
    """
    _check(rule)
    if short_side <= 0:
        return height, width
    if rule == "detectron2":
        return _detectron2_size(height, width, short_side, long_side)
    scale = min(short_side / min(height, width), long_side / max(height, width))
    if rule == "torchvision":
        return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize_image(image: np.ndarray, height: int, width: int, rule: str) -> np.ndarray:
    """uint8 `[H, W, 3]` resampled to `[height, width, 3]`: float32 in 0..255 under torchvision's rule, else uint8."""
    _check(rule)
    if rule == "torchvision":
        image = image.astype(np.float32)
    if image.shape[:2] == (height, width):
        return image
    if rule == "detectron2":
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    return cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_LINEAR)


def _detectron2_size(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    scale = short_side / min(height, width)
    new_height, new_width = (short_side, scale * width) if height < width else (scale * height, short_side)
    if max(new_height, new_width) > long_side:
        shrink = long_side / max(new_height, new_width)
        new_height, new_width = new_height * shrink, new_width * shrink
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def _check(rule: str) -> None:
    if rule not in RULES:
        raise ValueError(f"unknown resize rule {rule!r}; known: {', '.join(RULES)}")
