"""RoIAlign over a feature pyramid, and the RoIPool of the paper's ablation (PAPER §1.2).

The form here gathers single cells and runs on every backend; it is exact to torchvision's kernel, out-of-range
rules included, and the oracle of the fast TensorFlow form in `roi_align_tensorflow`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from maskrcnn.ops.boxes import box_areas
from maskrcnn.ops.forms import kernels_allowed
from maskrcnn.ops.tensors import Tensor


def roi_levels(
    boxes: Tensor,
    *,
    min_level: int,
    max_level: int,
    canonical_size: float,
    canonical_level: int,
    epsilon: str,
) -> Tensor:
    """Pyramid level `[R]` int32 of boxes `[R, 4]` in pixels; an empty box gets `min_level`.

    floor(canonical_level + log2(sqrt(area) / canonical_size)), within the two levels.

    Args:
        epsilon: where a small number guards the step at a power of two: "inside" the logarithm (Detectron2, 1e-8)
            or "outside" (torchvision, 1e-6).

    Source: FPN, eq. 1.
    """
    if epsilon not in ("inside", "outside"):
        raise ValueError(f"epsilon {epsilon!r}: choose inside or outside")
    scale = ops.sqrt(box_areas(ops.stop_gradient(boxes))) / canonical_size
    inside, outside = (1e-8, 0.0) if epsilon == "inside" else (0.0, 1e-6)
    level = ops.floor(canonical_level + ops.log2(scale + inside) + outside)
    # An empty box has log2(0); limits come before the cast, since -inf and NaN have no integer.
    level = ops.where(level > min_level, ops.minimum(level, max_level), ops.full_like(level, min_level))
    return ops.cast(level, "int32")


def roi_align(
    features: Sequence[Tensor],
    boxes: Tensor,
    batch_indices: Tensor,
    levels: Tensor,
    *,
    min_level: int,
    output_size: int | tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
    strides: Sequence[int],
) -> Tensor:
    """Features `[R, out, out, C]` of each RoI: means of bilinear samples, without any rounding of coordinates.

    No gradient flows into the boxes. On TensorFlow the gradient to the features is right only under
    `tf.config.experimental.enable_op_determinism()` or on one thread (FACTS 4.20).

    Args:
        features: `[B, H_l, W_l, C]` of each level, finest first.
        boxes: `[R, 4]` in image pixels; R may be 0. Coordinates that are not finite are read as 0.
        batch_indices: `[R]` int32 image of each RoI.
        levels: `[R]` int32 absolute pyramid level of each RoI, `min_level` for `features[0]`.
        output_size: cells of the output's side, or (height, width).
        sampling_ratio: samples per bin and axis; 0: ceil(bin size), each axis of each RoI apart. Where shapes are
            static (JAX), adaptive sampling needs boxes no larger than their feature map.
        aligned: shift by half a cell (Detectron2); False also widens RoIs to one cell (torchvision).
        strides: image pixels per cell of each level.
    """
    places = Places(ops.cast(batch_indices, "int32"), ops.cast(levels - min_level, "int32"))
    rois = _align_rois(_boxes_in_cells(boxes, places.level, strides), aligned)
    size = _height_and_width(output_size)
    if kernels_allowed():
        from maskrcnn.ops.roi_align_tensorflow import align_by_crops

        return align_by_crops(features, rois, places, size, sampling_ratio)
    return align_by_gathers(features, rois, places, size, sampling_ratio)


def pack_maps(features: list[Tensor]) -> list[Tensor]:
    """The same maps, prepared for several calls of `roi_align`: on TensorFlow with the atlas that its form reads."""
    if kernels_allowed():
        from maskrcnn.ops.roi_align_tensorflow import pack

        return pack(features)
    return features


class Rois(NamedTuple):
    """RoIs `[R]` in cells of their own level: first border and extent of each axis."""

    y: Tensor
    x: Tensor
    height: Tensor
    width: Tensor


class Places(NamedTuple):
    """Image `[R]` and position `[R]` of the level in the pyramid of each RoI."""

    image: Tensor
    level: Tensor


def _height_and_width(output_size: int | tuple[int, int]) -> tuple[int, int]:
    return (output_size, output_size) if isinstance(output_size, int) else output_size


def _boxes_in_cells(boxes: Tensor, level_index: Tensor, strides: Sequence[int]) -> Tensor:
    """Boxes `[R, 4]` in cells of their own level."""
    boxes = ops.stop_gradient(ops.cast(boxes, "float32"))
    # A coordinate from NaN would be an index out of range, which ends the process.
    boxes = ops.where(ops.isfinite(boxes), boxes, ops.zeros_like(boxes))
    scales = ops.convert_to_tensor(np.asarray([1.0 / stride for stride in strides], "float32"))
    return boxes * ops.take(scales, level_index, axis=0)[:, None]


def _align_rois(boxes: Tensor, aligned: bool) -> Rois:
    if aligned:
        boxes = boxes - 0.5
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    if not aligned:
        width, height = ops.maximum(width, 1.0), ops.maximum(height, 1.0)
    return Rois(boxes[:, 1], boxes[:, 0], height, width)


def samples_per_bin(extent: Tensor, bins: int, sampling_ratio: int) -> Tensor:
    """Number `[R]` int32 of samples in each bin along one axis; 0 where an adaptive RoI has no extent."""
    if sampling_ratio > 0:
        return ops.cast(ops.zeros_like(extent), "int32") + sampling_ratio
    return ops.cast(ops.maximum(ops.ceil(extent / bins), 0.0), "int32")


def align_by_gathers(
    features: Sequence[Tensor], rois: Rois, places: Places, size: tuple[int, int], sampling_ratio: int
) -> Tensor:
    """Reference form of `roi_align`: one sample of each bin at a time."""
    table = _table(features, places)
    count_y = samples_per_bin(rois.height, size[0], sampling_ratio)
    count_x = samples_per_bin(rois.width, size[1], sampling_ratio)
    most_y, most_x = (_most(c, features, n, sampling_ratio) for c, n in ((count_y, size[0]), (count_x, size[1])))

    def add(step: Tensor, total: Tensor) -> Tensor:
        y = _axis_sample(rois.y, rois.height, count_y, step // most_x, size[0])
        x = _axis_sample(rois.x, rois.width, count_x, step % most_x, size[1])
        return total + _bilinear(table, y, x)

    total = _fold(add, most_y * most_x, table, size, 0.0)
    divisor = ops.cast(ops.maximum(count_y * count_x, 1), total.dtype)
    return total / divisor[:, None, None, None]


def _most(counts: Tensor, features: Sequence[Tensor], bins: int, sampling_ratio: int) -> Tensor:
    """The largest number of samples of one bin: exact on TensorFlow, a bound from the static shapes elsewhere."""
    if sampling_ratio > 0:
        return sampling_ratio
    if keras.backend.backend() == "tensorflow":
        return ops.max(counts, initial=0)
    return max(math.ceil(max(f.shape[1:3]) / bins) for f in features)


def _fold(
    step: Callable[[Tensor, Tensor], Tensor], count: Tensor, table: Table, size: tuple[int, int], start: float
) -> Tensor:
    """`step(k, result)` for k below `count`, from a result `[R, h, w, C]` filled with `start`."""
    shape = (ops.shape(table.base)[0], *size, table.cells.shape[-1])
    return ops.fori_loop(0, count, step, ops.zeros(shape, table.cells.dtype) + start)


class Table(NamedTuple):
    """All cells of a pyramid in one list, and where each RoI's map lies in it."""

    cells: Tensor
    """`[T, C]`."""
    base: Tensor
    """`[R]` row of the map's first cell."""
    height: Tensor
    width: Tensor


def _table(features: Sequence[Tensor], places: Places) -> Table:
    sizes = [ops.shape(f) for f in features]
    starts, total = [], 0
    for batch, height, width, _ in sizes:
        starts.append(total)
        total = total + batch * height * width
    start, height, width = (
        ops.take(ops.stack([ops.cast(v, "int32") for v in values]), places.level, axis=0)
        for values in (starts, [s[1] for s in sizes], [s[2] for s in sizes])
    )
    cells = ops.concatenate([ops.reshape(f, (-1, f.shape[-1])) for f in features], axis=0)
    return Table(cells, start + places.image * height * width, height, width)


class AxisSample(NamedTuple):
    """One sample `[R, bins]` of each bin along one axis: positions in cells, and whether the bin has that sample."""

    position: Tensor
    exists: Tensor


def _axis_sample(start: Tensor, extent: Tensor, count: Tensor, step: Tensor, bins: int) -> AxisSample:
    step = ops.cast(step, "int32")
    bin_extent = (extent / bins)[:, None]
    safe_count = ops.cast(ops.maximum(count, 1), "float32")[:, None]
    within = (ops.cast(step, "float32") + 0.5) * bin_extent / safe_count
    position = start[:, None] + ops.arange(bins, dtype="float32") * bin_extent + within
    return AxisSample(position, ops.broadcast_to((step < count)[:, None], ops.shape(position)))


def in_range(position: Tensor, length: Tensor) -> Tensor:
    """Whether samples at `position` read a map of `length` cells; beyond, torchvision's kernel gives 0."""
    return ops.logical_and(position >= -1.0, position <= ops.cast(length, "float32"))


def _bilinear(table: Table, y: AxisSample, x: AxisSample) -> Tensor:
    """Values `[R, h, w, C]` at the crossings of the positions `y [R, h]` and `x [R, w]`."""
    low_y, high_y, weight_low_y, weight_high_y = _taps(y, table.height[:, None])
    low_x, high_x, weight_low_x, weight_high_x = _taps(x, table.width[:, None])

    def tap(row: Tensor, weight_y: Tensor, column: Tensor, weight_x: Tensor) -> Tensor:
        index = (table.base[:, None] + row * table.width[:, None])[:, :, None] + column[:, None, :]
        weight = ops.cast(weight_y[:, :, None] * weight_x[:, None, :], table.cells.dtype)
        return ops.take(table.cells, index, axis=0) * weight[..., None]

    return (
        tap(low_y, weight_low_y, low_x, weight_low_x)
        + tap(low_y, weight_low_y, high_x, weight_high_x)
        + tap(high_y, weight_high_y, low_x, weight_low_x)
        + tap(high_y, weight_high_y, high_x, weight_high_x)
    )


def _taps(sample: AxisSample, length: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lower and upper cell of each position and their weights; positions beyond the border read the border."""
    last = length - 1
    position = ops.minimum(ops.maximum(sample.position, 0.0), ops.cast(last, "float32"))
    low = ops.floor(position)
    counts = ops.cast(ops.logical_and(sample.exists, in_range(sample.position, length)), "float32")
    upper = (position - low) * counts
    low = ops.cast(low, "int32")
    return low, ops.minimum(low + 1, last), counts - upper, upper


def roi_pool(
    features: Sequence[Tensor],
    boxes: Tensor,
    batch_indices: Tensor,
    levels: Tensor,
    *,
    min_level: int,
    output_size: int | tuple[int, int],
    strides: Sequence[int],
) -> Tensor:
    """Maxima `[R, out, out, C]` over the whole cells of each bin; borders of RoIs and bins are rounded (Fast R-CNN).

    Arguments as in `roi_align`. Bins without a cell are 0. Where shapes are static, boxes must not be larger than
    their feature map.
    """
    size = _height_and_width(output_size)
    places = Places(ops.cast(batch_indices, "int32"), ops.cast(levels - min_level, "int32"))
    rois = _whole_rois(_boxes_in_cells(boxes, places.level, strides))
    table = _table(features, places)
    first_y, end_y = _pool_borders(rois.y, rois.height, size[0], table.height)
    first_x, end_x = _pool_borders(rois.x, rois.width, size[1], table.width)
    most_y, most_x = (
        _most_cells(e - f, features, n) for e, f, n in ((end_y, first_y, size[0]), (end_x, first_x, size[1]))
    )
    lowest = float(np.finfo("float32").min)

    def widen(step: Tensor, largest: Tensor) -> Tensor:
        row, column = first_y + step // most_x, first_x + step % most_x
        exists = ops.logical_and((row < end_y)[:, :, None], (column < end_x)[:, None, :])
        row, column = ops.where(row < end_y, row, 0 * row), ops.where(column < end_x, column, 0 * column)
        index = (table.base[:, None] + row * table.width[:, None])[:, :, None] + column[:, None, :]
        cells = ops.take(table.cells, index, axis=0)
        return ops.maximum(largest, ops.where(exists[..., None], cells, ops.full_like(cells, lowest)))

    largest = _fold(widen, most_y * most_x, table, size, lowest)
    return ops.where(largest > lowest, largest, ops.zeros_like(largest))


def _whole_rois(boxes: Tensor) -> Rois:
    """RoIs on whole cells, the last one included; corners `[R, 4]` round to the nearest, halves away from zero."""
    corners = _round_away(boxes)
    width, height = corners[:, 2] - corners[:, 0] + 1.0, corners[:, 3] - corners[:, 1] + 1.0
    return Rois(corners[:, 1], corners[:, 0], ops.maximum(height, 1.0), ops.maximum(width, 1.0))


def _round_away(values: Tensor) -> Tensor:
    return ops.sign(values) * ops.floor(ops.abs(values) + 0.5)


def _pool_borders(start: Tensor, extent: Tensor, bins: int, length: Tensor) -> tuple[Tensor, Tensor]:
    """First cell and end `[R, bins]` int32 of each bin, within the map."""
    bin_extent = (extent / bins)[:, None]
    steps = ops.arange(bins, dtype="float32")
    limit = ops.cast(length, "float32")[:, None]
    first = ops.floor(steps * bin_extent) + start[:, None]
    end = ops.ceil((steps + 1.0) * bin_extent) + start[:, None]
    return tuple(ops.cast(ops.minimum(ops.maximum(v, 0.0), limit), "int32") for v in (first, end))


def _most_cells(extents: Tensor, features: Sequence[Tensor], bins: int) -> Tensor:
    if keras.backend.backend() == "tensorflow":
        return ops.max(extents, initial=0)
    return max(math.ceil((max(f.shape[1:3]) + 1) / bins) + 1 for f in features)
