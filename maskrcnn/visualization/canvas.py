"""The sheet that pictures are drawn on: its size, lines, text.

Small images are enlarged by a whole factor and very thin ones padded, so that MLflow can make a thumbnail of each
(FACTS 2.24). Widths follow the picture's longer side: a line stays visible when that side becomes 256 pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from maskrcnn.visualization.colours import BLACK, GREY, Colour

THINNEST = 8
"""A picture's longer side is at most so many times the shorter one."""


@dataclass(frozen=True)
class Style:
    """How large and how loud a picture is; lengths are pixels of the picture."""

    min_side: int = 384
    """Images whose longer side is below this are enlarged by the smallest whole factor that reaches it."""
    max_side: int | None = 1024
    """Images with a longer side above this are reduced to it; None: never."""
    mask_opacity: float = 0.45
    labels: bool = True
    joint_score: float = 0.0
    """Detected joints with a lower score are not drawn."""


@dataclass(frozen=True)
class Pen:
    """Widths for one picture, in pixels."""

    line: int
    outline: int
    text: int


def pen_for(pixels: np.ndarray, count: int = 1) -> Pen:
    """Widths for a picture with `count` instances: a line of 1/100 of the longer side, letters of 1/32 of it.

    Where there are more than eight instances, smaller letters leave something to see.
    """
    longest = max(pixels.shape[:2])
    letters = longest // 32 if count <= 8 else longest // 40
    return Pen(line=max(2, round(longest / 100)), outline=max(1, round(longest / 400)), text=max(11, letters))


def thinner(pen: Pen, extent: float) -> Pen:
    """The pen for an object of `extent` pixels: its lines are at most an eighth of that, but two pixels at least."""
    return replace(pen, line=max(2, min(pen.line, round(extent / 8))))


def sized(image: np.ndarray, style: Style) -> tuple[np.ndarray, float]:
    """A copy of the image at the size to be drawn on, and that picture's pixels per pixel of the image.

    Args:
        image: uint8 [H, W, 3].

    Raises:
        ValueError: if the image has another type or shape, or no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"expected a uint8 image [H, W, 3], got {image.dtype} {list(image.shape)}")
    longest = max(image.shape[:2])
    if longest < style.min_side:
        factor = math.ceil(style.min_side / longest)
        return _resized(image, factor, cv2.INTER_CUBIC), float(factor)
    if style.max_side is not None and longest > style.max_side:
        factor = style.max_side / longest
        return _resized(image, factor, cv2.INTER_AREA), factor
    return np.array(image), 1.0


def _resized(image: np.ndarray, factor: float, interpolation: int) -> np.ndarray:
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=interpolation)


def unthinned(pixels: np.ndarray, colour: Colour = GREY) -> np.ndarray:
    """The picture, padded right or below where its sides differ by more than a factor of 8."""
    height, width = pixels.shape[:2]
    tall, wide = max(height, math.ceil(width / THINNEST)), max(width, math.ceil(height / THINNEST))
    if (tall, wide) == (height, width):
        return pixels
    padded = np.empty((tall, wide, 3), np.uint8)
    padded[...] = colour
    padded[:height, :width] = pixels
    return padded


def outlined_line(pixels: np.ndarray, start: np.ndarray, end: np.ndarray, colour: Colour, pen: Pen) -> None:
    """Draws a line with dark edges between two points (x, y; continuous picture coordinates) into `pixels`."""
    ends = [(round(float(x) - 0.5), round(float(y) - 0.5)) for x, y in (start, end)]
    cv2.line(pixels, ends[0], ends[1], BLACK, pen.line + 2 * pen.outline, cv2.LINE_AA)
    cv2.line(pixels, ends[0], ends[1], colour, pen.line, cv2.LINE_AA)


def frame_corners(box: np.ndarray, shape: tuple[int, ...], width: int) -> tuple[int, int, int, int]:
    """Pixel indices x1, y1, x2, y2 of the middle of a frame of `width` around a box.

    The frame lies just outside the box, so that small objects stay visible, but never outside the picture.
    """
    half = (width + 1) // 2
    height, wide = shape[:2]
    left, top = (max(half, round(float(v)) - half) for v in box[:2])
    right = min(wide - 1 - half, round(float(box[2])) - 1 + half)
    bottom = min(height - 1 - half, round(float(box[3])) - 1 + half)
    return min(left, wide - 1), min(top, height - 1), max(right, 0), max(bottom, 0)


def frame(pixels: np.ndarray, box: np.ndarray, colour: Colour, pen: Pen) -> None:
    """Draws a box (x1, y1, x2, y2; continuous picture coordinates) as a frame with dark edges."""
    x1, y1, x2, y2 = frame_corners(box, pixels.shape, pen.line + 2 * pen.outline)
    cv2.rectangle(pixels, (x1, y1), (x2, y2), BLACK, pen.line + 2 * pen.outline)
    cv2.rectangle(pixels, (x1, y1), (x2, y2), colour, pen.line)


def dashed_frame(pixels: np.ndarray, box: np.ndarray, colour: Colour, pen: Pen) -> None:
    """Draws a box as dashes, for regions that are not one object."""
    x1, y1, x2, y2 = frame_corners(box, pixels.shape, pen.line)
    dash = 4 * pen.line
    for start in range(x1, x2, 2 * dash):
        for y in (y1, y2):
            cv2.line(pixels, (start, y), (min(start + dash, x2), y), colour, pen.line)
    for start in range(y1, y2, 2 * dash):
        for x in (x1, x2):
            cv2.line(pixels, (x, start), (x, min(start + dash, y2)), colour, pen.line)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib ships DejaVu, which covers Latin, Greek and Cyrillic and stays legible at 10 pixels.
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans-Bold.ttf")), size)


def text_extent(text: str, size: int) -> tuple[int, int]:
    """Width and height in pixels of a line of text; the height is the same for all texts of a size."""
    return math.ceil(_font(size).getlength(text)), round(1.2 * size)


def draw_text(pixels: np.ndarray, text: str, x: int, y: int, size: int, *, colour: Colour) -> None:
    """Writes one line of text with its upper left corner at (x, y); what lies outside the picture is cut off."""
    width, height = text_extent(text, size)
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + width, pixels.shape[1]), min(y + height, pixels.shape[0])
    if x1 >= x2 or y1 >= y2:
        return
    ink = Image.new("L", (width, height))
    ImageDraw.Draw(ink).text((0, round(0.92 * size)), text, fill=255, font=_font(size), anchor="ls")
    cover = np.asarray(ink, np.float32)[y1 - y : y2 - y, x1 - x : x2 - x, None] / 255.0
    window = pixels[y1:y2, x1:x2]
    window[...] = np.round(window * (1.0 - cover) + np.asarray(colour, np.float32) * cover).astype(np.uint8)
