"""Checks of masks: polygons and run-length codes, before pycocotools sees them (FACTS §5.1–5.3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from maskrcnn.data import rle
from maskrcnn.data.faults.values import UnfitError, numbers, show
from maskrcnn.data.records import Segmentation
from maskrcnn.data.rle import RleError

_UNKNOWN_SIDE = 2**16
"""Stands for the image's sides where they are unknown: bounds the coordinates of polygons all the same."""


def read_segmentation(value: Any, size: tuple[int, int] | None) -> Segmentation:
    """The mask of an annotation; None for none (null, an empty list).

    Raises UnfitError for what pycocotools drops, misreads or crashes on, and for a mask of another size than the
    image's `size` (height, width; None: unknown).
    """
    if value is None or value == []:
        return None
    try:
        if isinstance(value, dict):
            return _read_rle(value, size)
        if isinstance(value, list):
            return _read_polygons(value, size)
    except RleError as error:
        raise UnfitError(f"segmentation: {error}") from error
    raise UnfitError(f"segmentation is {show(value)}, expected a list of polygons or a run-length code")


def _read_rle(value: dict[str, Any], size: tuple[int, int] | None) -> dict[str, Any]:
    rle.runs(value)
    height, width = (int(side) for side in value["size"])
    if size is not None and (height, width) != size:
        hint = " (height and width are swapped)" if (width, height) == size else ""
        raise RleError(f"RLE of size [{height}, {width}], the image has [{size[0]}, {size[1]}]{hint}")
    return {"size": [height, width], "counts": rle.compress(value)["counts"]}


def _read_polygons(value: list[Any], size: tuple[int, int] | None) -> tuple[np.ndarray, ...]:
    if not isinstance(value[0], list):
        shown = show(value[0])
        raise UnfitError(f"segmentation is a flat list (it begins with {shown}), expected a list of polygons")
    height, width = size or (_UNKNOWN_SIDE, _UNKNOWN_SIDE)
    polygons = tuple(numbers(polygon, "polygon") for polygon in value)
    for polygon in polygons:
        rle.check_polygon(polygon, height, width)
    x1, y1, x2, y2 = extent(polygons)
    if size is not None and (x1 > width or y1 > height or x2 < 0 or y2 < 0):
        raise RleError(f"polygons lie wholly outside the image of {width} x {height}")
    return polygons


def extent(segmentation: Segmentation) -> tuple[float, float, float, float]:
    """Box x1, y1, x2, y2 around all polygons' points, or around the set pixels of an RLE (zeros if there are none)."""
    if isinstance(segmentation, dict):
        return rle.bounds(segmentation)
    points = np.concatenate(segmentation or (np.zeros(2),))
    xs, ys = points[0::2], points[1::2]
    return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())


def quick_area(segmentation: Segmentation) -> float:
    """Pixels of an RLE, or the sum of the polygons' areas (shoelace), which overlaps and crossings can spoil."""
    if isinstance(segmentation, dict):
        return float(rle.area(segmentation))
    return float(sum(_shoelace(polygon) for polygon in segmentation or ()))


def pixel_area(segmentation: Segmentation, size: tuple[int, int]) -> float:
    """Number of pixels of the mask on its image."""
    return float(rle.area(rle.segmentation_to_rle(segmentation, *size)))


def _shoelace(polygon: np.ndarray) -> float:
    xs, ys = polygon[0::2], polygon[1::2]
    cross = np.dot(xs[:-1], ys[1:]) - np.dot(xs[1:], ys[:-1]) + xs[-1] * ys[0] - xs[0] * ys[-1]
    return abs(float(cross)) / 2
