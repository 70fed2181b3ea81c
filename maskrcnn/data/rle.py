"""Run-length masks in COCO's coding: runs of 0s and 1s down the columns, plain (a list) or compressed (a string).

pycocotools does the rasterising and compressing; everything it would crash on or answer with garbage (FACTS §5.1–5.5:
runs that do not fill the image, absurd sizes, coordinates that are not finite) is refused here first. Masks come and
go as uint8 or bool arrays [H, W].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnn.data.records import Segmentation

Rle = dict[str, Any]
"""{"size": [height, width], "counts": compressed bytes | str, or a list of runs}."""

MAX_PIXELS = 2**28
"""Largest mask that is decoded; the coding itself ends at 2**32 (its runs are uint32)."""

COORDINATE_LIMIT = 16
"""Polygon coordinates reach at most this many image sides beyond the image: pycocotools' work and memory grow with
the coordinates, and from 1e8 the process dies (FACTS §5.1)."""


class RleError(ValueError):
    """A segmentation that cannot be read; the message says why, without naming the object."""


def encode(bitmap: np.ndarray) -> Rle:
    """Compressed RLE of a mask [H, W] (bool, or numbers of which all but 0 count as set)."""
    if bitmap.ndim != 2:
        raise RleError(f"a mask has 2 axes, not {bitmap.ndim}")
    return coco_mask.encode(np.asfortranarray(bitmap != 0, dtype=np.uint8))


def decode(rle: Rle) -> np.ndarray:
    """Mask uint8 [H, W] of 0 and 1. Raises RleError where the runs do not fill the size."""
    counts = runs(rle)
    height, width = _size(rle)
    values = np.arange(len(counts), dtype=np.uint8) & 1
    return np.repeat(values, counts).reshape(width, height).T


def area(rle: Rle) -> int:
    """Number of set pixels."""
    return int(runs(rle)[1::2].sum())


def bounds(rle: Rle) -> tuple[float, float, float, float]:
    """Box x1, y1, x2, y2 around the set pixels; zeros for an empty mask."""
    x, y, width, height = coco_mask.toBbox(compress(rle)).tolist()
    return x, y, x + width, y + height


def merge(rles: Sequence[Rle]) -> Rle:
    """Union of masks of one size, compressed. Raises RleError on none and on different sizes."""
    sizes = {tuple(rle["size"]) for rle in rles}
    if len(sizes) != 1:
        raise RleError(f"masks of {len(sizes)} sizes cannot be merged")
    return coco_mask.merge([compress(rle) for rle in rles])


def compress(rle: Rle) -> Rle:
    """The same mask with compressed counts (ASCII bytes), after the checks of `runs`."""
    counts = runs(rle)
    height, width = _size(rle)
    if isinstance(rle["counts"], bytes):
        return {"size": [height, width], "counts": rle["counts"]}
    if isinstance(rle["counts"], str):
        return {"size": [height, width], "counts": rle["counts"].encode("ascii")}
    return _from_runs(counts.tolist(), height, width)


def runs(rle: Rle) -> np.ndarray:
    """Run lengths int64 [R], 0s first. Raises RleError unless size and counts are sane and fill each other."""
    height, width = _size(rle)
    counts = rle.get("counts")
    if isinstance(counts, str | bytes):
        lengths = _decompress(counts)
    elif isinstance(counts, list | tuple | np.ndarray):
        lengths = _plain_runs(counts)
    elif counts is None:
        raise RleError("RLE without counts")
    else:
        raise RleError(f"RLE counts are of type {type(counts).__name__}, expected a list or a string")
    if lengths.size and int(lengths.min()) < 0:
        raise RleError(f"RLE with a negative run ({int(lengths.min())})")
    # a sum of floats cannot wrap, whatever the runs
    total = float(lengths.sum(dtype=np.float64))
    if total != height * width:
        raise RleError(f"RLE runs add up to {total:.0f}, expected {height} x {width} = {height * width}")
    return lengths


def polygons_to_rle(polygons: Sequence[np.ndarray | Sequence[float]], height: int, width: int) -> Rle:
    """Compressed RLE of the union of polygons (flat x, y in pixels). Raises RleError as `check_polygon` does."""
    if not polygons:
        raise RleError("no polygon")
    parts = [np.asarray(polygon, dtype=np.float64) for polygon in polygons]
    for part in parts:
        check_polygon(part, height, width)
    return coco_mask.merge(coco_mask.frPyObjects(parts, int(height), int(width)))


def check_polygon(polygon: np.ndarray, height: int, width: int) -> None:
    """Raises RleError for a polygon that pycocotools drops, misreads or crashes on."""
    if polygon.ndim != 1:
        raise RleError("polygon is not a flat list x1, y1, x2, y2, …")
    if len(polygon) % 2:
        raise RleError(f"polygon of {len(polygon)} numbers, expected pairs x, y")
    if len(polygon) < 6:
        raise RleError(f"polygon of {len(polygon)} numbers, expected at least 6 (three points)")
    if not np.isfinite(polygon).all():
        raise RleError("polygon with a coordinate that is not finite (NaN or infinite)")
    limit = COORDINATE_LIMIT * max(height, width)
    if float(np.abs(polygon).max()) > limit:
        raise RleError(f"polygon with a coordinate of {np.abs(polygon).max():.6g} in an image of {width} x {height}")


def segmentation_to_rle(segmentation: Segmentation, height: int, width: int) -> Rle:
    """Compressed RLE of polygons or RLE on an image of this size. Raises RleError on none or another size."""
    if segmentation is None:
        raise RleError("no segmentation")
    if not isinstance(segmentation, dict):
        return polygons_to_rle(segmentation, height, width)
    if _size(segmentation) != (height, width):
        raise RleError(f"RLE of size {list(_size(segmentation))}, expected [{height}, {width}]")
    return compress(segmentation)


def segmentation_to_bitmap(segmentation: Segmentation, height: int, width: int) -> np.ndarray:
    """Mask uint8 [H, W] of polygons (pycocotools' raster) or RLE. Raises RleError on none or another size."""
    return decode(segmentation_to_rle(segmentation, height, width))


def box_mask_to_rle(bits: np.ndarray, x: int, y: int, height: int, width: int) -> Rle:
    """Compressed RLE of an image [height, width] whose set pixels all lie in `bits` [h, w] (bool) at column x, row y.

    Made from the box's own runs, without the full mask (PERFORMANCE §3 G). Raises RleError if the box leaves the image.
    """
    rows, columns = bits.shape
    if x < 0 or y < 0 or x + columns > width or y + rows > height:
        raise RleError(f"box {columns} x {rows} at ({x}, {y}) leaves the image of {width} x {height}")
    if not bits.size:
        return _from_runs([height * width], height, width)
    padded = np.zeros((columns, rows + 2), np.int8)
    padded[:, 1:-1] = (bits != 0).T
    steps = np.diff(padded, axis=1)
    start_column, start_row = np.nonzero(steps == 1)
    end_column, end_row = np.nonzero(steps == -1)
    starts = (start_column + x) * height + start_row + y
    ends = (end_column + x) * height + end_row + y
    if len(starts) > 1:
        # a run that ends with its column goes on in the next one
        apart = starts[1:] != ends[:-1]
        starts, ends = starts[np.r_[True, apart]], ends[np.r_[apart, True]]
    edges = np.empty(2 * len(starts) + 2, np.int64)
    edges[0], edges[1:-1:2], edges[2:-1:2], edges[-1] = 0, starts, ends, height * width
    lengths = np.diff(edges)
    return _from_runs((lengths[:-1] if len(lengths) > 1 and lengths[-1] == 0 else lengths).tolist(), height, width)


def _from_runs(lengths: list[int], height: int, width: int) -> Rle:
    return coco_mask.frPyObjects({"size": [height, width], "counts": lengths}, height, width)


def _size(rle: Rle) -> tuple[int, int]:
    """(height, width). Raises RleError unless they are whole, positive and of a size that can be decoded."""
    size = rle.get("size")
    if not isinstance(size, list | tuple | np.ndarray) or len(size) != 2:
        raise RleError(f"RLE with size {_short(size)}, expected [height, width]")
    height, width = _whole(size[0]), _whole(size[1])
    if height is None or width is None or height < 1 or width < 1:
        raise RleError(f"RLE with size {_short(size)}, expected two positive whole numbers")
    if height * width > MAX_PIXELS:
        raise RleError(f"RLE with size {_short(size)}: more than {MAX_PIXELS} pixels")
    return height, width


def _whole(value: Any) -> int | None:
    """The whole number that `value` is, 3.0 included; None for anything else (bool, text, 2.5)."""
    plain = value.item() if isinstance(value, np.generic) else value
    if type(plain) is float:
        return int(plain) if plain.is_integer() and abs(plain) < 2**53 else None
    return plain if type(plain) is int and abs(plain) < 2**62 else None


def _plain_runs(counts: Any) -> np.ndarray:
    kinds = set(map(type, counts))
    if not all(issubclass(kind, int | float | np.integer | np.floating) and kind is not bool for kind in kinds):
        raise RleError("RLE counts hold something that is not a number")
    try:
        lengths = np.asarray(counts, dtype=np.float64)
    except OverflowError as error:
        raise RleError("RLE with a run of absurd length") from error
    if lengths.ndim != 1 or not lengths.size:
        raise RleError("RLE with empty counts")
    if not np.isfinite(lengths).all() or (lengths != np.floor(lengths)).any():
        raise RleError("RLE counts hold a number that is not whole")
    if float(np.abs(lengths).max()) >= 2**53:
        raise RleError("RLE with a run of absurd length")
    return lengths.astype(np.int64)


def _decompress(text: str | bytes) -> np.ndarray:
    """Runs of a compressed string: 5 bits a character, 0x20 = more follow, differences to the run before last."""
    try:
        codes = np.frombuffer(text.encode("ascii") if isinstance(text, str) else text, np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError as error:
        raise RleError("compressed RLE counts hold a character outside ASCII") from error
    if not codes.size:
        raise RleError("RLE with empty counts")
    if int(codes.min()) < 0 or int(codes.max()) > 63:
        raise RleError("compressed RLE counts hold a character outside '0'…'o'")
    last = np.flatnonzero((codes & 0x20) == 0)
    if not len(last) or last[-1] != len(codes) - 1:
        raise RleError("compressed RLE counts end in the middle of a run (truncated)")
    first = np.concatenate([[0], last[:-1] + 1])
    digits = last - first + 1
    if int(digits.max()) > 8:
        raise RleError("compressed RLE counts hold a run of absurd length")
    shift = 5 * (np.arange(len(codes)) - np.repeat(first, digits))
    values = np.add.reduceat((codes & 0x1F) << shift, first)
    values = np.where(codes[last] & 0x10, values - (1 << (5 * digits)), values)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
