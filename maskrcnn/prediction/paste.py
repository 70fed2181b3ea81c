"""Masks of boxes → masks of the image, as run-length codes: only the box's own pixels are ever computed.

A small map is read at the pixels of its box by two one-dimensional interpolations (rows, then columns). They are
gathers, not matrix products: products of such small matrices lose more to the threads of BLAS than they win
(PERFORMANCE §3 G), and the boolean result comes out column by column, as run lengths want it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from maskrcnn.data.rle import box_mask_to_rle

RULES = ("bilinear", "legacy")
_STRIP_PIXELS = 2**16
"""Pixels that are interpolated at once: a strip stays in the cache, and a mask of a whole photo needs little memory."""


@dataclass(frozen=True)
class PastedMask:
    """Boolean pixels `[h, w]` of which the first lies at column `x`, row `y` of the image."""

    bits: np.ndarray
    x: int
    y: int


def paste_masks(masks: np.ndarray, boxes: np.ndarray, height: int, width: int, rule: str) -> list[dict]:
    """Compressed RLEs `[D]` of an image `height` x `width` from masks `[D, m, m]` inside boxes `[D, 4]`.

    Args:
        masks: probabilities, set where at least one half.
        boxes: in pixels of the image.
        rule: bilinear (Detectron2: read at the pixel centres) | legacy (torchvision and Detectron: whole-pixel boxes).

    Source: PAPER §1.3, mask paste.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r} to paste masks; known: {', '.join(RULES)}")
    paste = paste_bilinear if rule == "bilinear" else paste_legacy
    pasted = [paste(mask, box, height, width) for mask, box in zip(masks, boxes)]
    return [box_mask_to_rle(part.bits, part.x, part.y, height, width) for part in pasted]


def paste_bilinear(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> PastedMask:
    """The mask `[m, m]` read at the pixel centres of the box x1, y1, x2, y2; cells outside the map count as 0.

    Soft values reach half a cell beyond the box, but no pixel with its centre outside the box reaches one half, so
    only those inside (or on the border) are read.
    """
    padded = np.pad(np.asarray(mask, np.float32), 1)
    y, rows = _centre_taps(float(box[1]), float(box[3]), height, mask.shape[0])
    x, columns = _centre_taps(float(box[0]), float(box[2]), width, mask.shape[1])
    return PastedMask(_threshold(padded, rows, columns), x, y)


def paste_legacy(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> PastedMask:
    """The mask `[m, m]` padded by one cell, its box widened alike and cut to whole pixels, resized to these (+ 1)."""
    padded = np.pad(np.asarray(mask, np.float32), 1)
    # float32 as in torchvision: a corner that rounds to the other side of a whole number moves the mask by a pixel.
    x1, y1, x2, y2 = _widen(np.asarray(box, np.float32), np.float32(padded.shape[0] / mask.shape[0]))
    x, columns = _resize_taps(x1, x2, width, padded.shape[1])
    y, rows = _resize_taps(y1, y2, height, padded.shape[0])
    return PastedMask(_threshold(padded, rows, columns), x, y)


@dataclass(frozen=True)
class _Taps:
    """Two neighbouring cells and the weight of the second, for each pixel along one axis."""

    lower: np.ndarray
    upper: np.ndarray
    weight: np.ndarray

    def read(self, table: np.ndarray, part: slice = slice(None)) -> np.ndarray:
        """Rows of `table` at the pixels of `part`, interpolated."""
        rows = table[self.lower[part]]
        difference = table[self.upper[part]]
        difference -= rows
        difference *= self.weight[part, None]
        rows += difference
        return rows


def _threshold(padded: np.ndarray, rows: _Taps, columns: _Taps) -> np.ndarray:
    """Pixels of one half or more, bool `[h, w]`, in column-major memory."""
    tall = np.ascontiguousarray(rows.read(padded).T)
    height, width = len(rows.lower), len(columns.lower)
    bits = np.empty((width, height), bool)
    step = max(1, _STRIP_PIXELS // max(height, 1))
    for start in range(0, width, step):
        part = slice(start, start + step)
        np.greater_equal(columns.read(tall, part), 0.5, out=bits[part])
    return bits.T


def _centre_taps(low: float, high: float, limit: int, cells: int) -> tuple[int, _Taps]:
    """First pixel with its centre in low … high (of 0 … limit), and the taps in a map padded by one cell."""
    first = max(math.ceil(low - 0.5), 0)
    last = min(math.floor(high - 0.5), limit - 1)
    if high <= low or last < first:
        return 0, _Taps(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.float32))
    position = (np.arange(first, last + 1) + 0.5 - low) * (cells / (high - low)) + 0.5
    lower = np.minimum(position.astype(np.intp), cells)
    return first, _Taps(lower, lower + 1, (position - lower).astype(np.float32))


def _widen(box: np.ndarray, scale: np.float32) -> tuple[int, int, int, int]:
    """The box scaled about its centre, corners cut towards zero."""
    half = (box[2:] - box[:2]) * np.float32(0.5) * scale
    centre = (box[2:] + box[:2]) * np.float32(0.5)
    (x1, y1), (x2, y2) = (centre - half).tolist(), (centre + half).tolist()
    return int(x1), int(y1), int(x2), int(y2)


def _resize_taps(first: int, last: int, limit: int, cells: int) -> tuple[int, _Taps]:
    """First pixel inside the image, and the taps of a half-pixel resize from `cells` to the pixels first … last."""
    pixels = max(last - first + 1, 1)
    start, stop = max(first, 0), max(min(last + 1, limit), max(first, 0))
    scale = np.float32(cells / pixels)
    position = (np.arange(start - first, stop - first, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    position = np.maximum(position, np.float32(0.0))
    lower = np.minimum(position.astype(np.intp), cells - 1)
    taps = _Taps(lower, np.minimum(lower + 1, cells - 1), (position - lower).astype(np.float32))
    return (start if stop > start else 0), taps
