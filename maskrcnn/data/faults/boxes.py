"""Checks of one annotation's box: COCO's [x, y, width, height] in pixels of the image."""

from __future__ import annotations

from typing import Any

from maskrcnn.data.faults.values import UnfitError, finite, show
from maskrcnn.data.rle import COORDINATE_LIMIT

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""

BORDER_PIXELS = 2.0
"""A box may pass the image's border by this much without a word: annotation tools round, or count from 1."""

_UNKNOWN_SIDE = 2**16
"""Stands for the image's sides where they are unknown."""


def read_box(entry: dict[str, Any], size: tuple[int, int] | None) -> Box:
    """The annotation's box as x1, y1, x2, y2; sides of 0 pass.

    Raises UnfitError for anything but four finite numbers, for a negative side, for absurd coordinates and for a box
    wholly outside an image of `size` (height, width; None: unknown).
    """
    if "bbox" not in entry:
        raise UnfitError("has no bbox")
    value = entry["bbox"]
    if not isinstance(value, list):
        raise UnfitError(f"has bbox {show(value)}, expected a list [x, y, width, height]")
    if len(value) != 4:
        raise UnfitError(f"has a bbox of {len(value)} values, expected 4: [x, y, width, height]")
    x, y, width, height = (_number(item) for item in value)
    limit = COORDINATE_LIMIT * max(size or (_UNKNOWN_SIDE,))
    if max(abs(x), abs(y), abs(width), abs(height)) > limit:
        raise UnfitError(f"has a bbox [{x:g}, {y:g}, {width:g}, {height:g}] of absurd size")
    if width < 0 or height < 0:
        raise UnfitError(f"has a bbox with a negative side: [{x:g}, {y:g}, {width:g}, {height:g}]")
    box = (x, y, x + width, y + height)
    if size is not None and _is_outside(box, size):
        shown = f"[{x:g}, {y:g}, {width:g}, {height:g}]"
        raise UnfitError(f"has a bbox {shown} wholly outside the image of {size[1]} x {size[0]}")
    return box


def area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def perimeter(box: Box) -> float:
    return 2 * (box[2] - box[0] + box[3] - box[1])


def distance_beyond(box: Box, size: tuple[int, int]) -> float:
    """Pixels by which the box passes the border of an image of `size` (height, width); negative: none."""
    return max(-box[0], -box[1], box[2] - size[1], box[3] - size[0])


def disagree(box: Box, other: Box, size: tuple[int, int]) -> bool:
    """Whether two boxes, cut to the image, share less than half of their union, borders of a pixel aside."""
    first, second = (_cut(each, size) for each in (box, other))
    width = min(first[2], second[2]) - max(first[0], second[0]) + 2
    height = min(first[3], second[3]) - max(first[1], second[1]) + 2
    shared = max(width, 0.0) * max(height, 0.0)
    return shared < 0.5 * (area(first) + area(second) - shared)


def _cut(box: Box, size: tuple[int, int]) -> Box:
    height, width = size
    x1, y1, x2, y2 = box
    return min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height)


def _number(value: Any) -> float:
    number = finite(value)
    if number is None:
        raise UnfitError(f"has a bbox with {show(value)}, expected four finite numbers")
    return number


def _is_outside(box: Box, size: tuple[int, int]) -> bool:
    height, width = size
    x1, y1, x2, y2 = box
    if x1 == x2 or y1 == y2:
        # a box without area is only warned of as long as it lies on the image
        return x1 > width or y1 > height or x2 < 0 or y2 < 0
    return x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0
