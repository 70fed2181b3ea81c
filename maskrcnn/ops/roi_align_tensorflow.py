"""The TensorFlow form of `roi_align`: all levels in one padded atlas, one `crop_and_resize` for each sample of a bin.

The kernel interpolates inside, so no list of taps is written to memory (PERFORMANCE §3 B). It equals the reference
form for every RoI: each map gets a rim of repeated border cells, which is how far samples in range can reach, and
samples beyond are multiplied by 0.

A fixed number of samples is added crop by crop, each of the output's size: a single crop of all samples would be four
times as large and so would its gradient, 0.2 GB for the 1000 RoIs of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from maskrcnn.ops.roi_align import Places, Rois, in_range, samples_per_bin
from maskrcnn.ops.tensors import Tensor

_CODE_BASE = 1 << 15
"""Two counts of samples below this share one int32 code."""


class PackedMaps(list[Tensor]):
    """The maps of a pyramid with their atlas, so that several calls of `roi_align` build it, and unpack its gradient,
    once. Without an atlas (a copy that `tf.nest` made) each call builds one."""

    def __init__(self, maps: Iterable[Tensor], atlas: Tensor | None = None) -> None:
        super().__init__(maps)
        self.atlas = atlas


class Atlas(NamedTuple):
    """A pyramid packed into one map, and where each RoI's level lies in it."""

    image: Tensor
    """`[B, H, W, C]` float32."""
    origin_y: Tensor
    """`[R]` row of the first cell of the RoI's level."""
    origin_x: Tensor
    height: Tensor
    """`[R]` cells of the RoI's level."""
    width: Tensor


def align_by_crops(
    features: Sequence[Tensor], rois: Rois, places: Places, size: tuple[int, int], sampling_ratio: int
) -> Tensor:
    """See `roi_align.roi_align`; `rois` are in cells of their level."""
    packed = features if isinstance(features, PackedMaps) and features.atlas is not None else pack(features)
    atlas = Atlas(packed.atlas, *_origins(packed, places.level))
    if sampling_ratio > 0:
        out = _pool(atlas, rois, places.image, size, sampling_ratio)
    else:
        out = _pool_adaptive(atlas, rois, places.image, size)
    return tf.cast(out, features[0].dtype)


def pack(features: Sequence[Tensor]) -> PackedMaps:
    """The finest level on top, the others side by side beneath it, float32; a zero column and row behind each."""
    rimmed = [tf.pad(tf.cast(f, tf.float32), [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC") for f in features]
    heights = [tf.shape(f)[1] + 1 for f in rimmed]
    widths = [tf.shape(f)[2] + 1 for f in rimmed]
    if len(rimmed) == 1:
        return PackedMaps(features, _band(rimmed, widths, heights[0], widths[0]))
    width = tf.maximum(widths[0], sum(widths[1:]))
    upper = _band(rimmed[:1], widths[:1], heights[0], width)
    lower = _band(rimmed[1:], widths[1:], tf.reduce_max(tf.stack(heights[1:])), width)
    return PackedMaps(features, tf.concat([upper, lower], axis=1))


def _origins(features: Sequence[Tensor], level: Tensor) -> list[Tensor]:
    """Row and column `[R]` of the first cell of each RoI's level in the atlas, and the level's height and width."""
    heights, widths = ([tf.shape(f)[axis] for f in features] for axis in (1, 2))
    rows = [1] + [heights[0] + 4] * (len(features) - 1)  # two rim cells and a zero row, then the rim of the lower band
    columns, end = [tf.constant(1)], tf.constant(1)
    for width in widths[1:]:
        columns.append(end)
        end = end + width + 3
    return [tf.cast(tf.gather(tf.stack(v), level), tf.float32) for v in (rows, columns, heights, widths)]


def _band(maps: Sequence[Tensor], widths: Sequence[Tensor], height: Tensor, width: Tensor) -> Tensor:
    """Maps side by side, padded with zeros to `height` and, together, to `width`."""
    used = sum(widths)
    padded = []
    for i, (values, column_end) in enumerate(zip(maps, widths, strict=True)):
        right = column_end - tf.shape(values)[2] + (width - used if i == len(maps) - 1 else 0)
        padded.append(tf.pad(values, [[0, 0], [0, height - tf.shape(values)[1]], [0, right], [0, 0]]))
    return padded[0] if len(padded) == 1 else tf.concat(padded, axis=2)


def _pool(atlas: Atlas, rois: Rois, image: Tensor, size: tuple[int, int], samples: int) -> Tensor:
    """Means over `samples` points of each bin and axis, alike for all RoIs: `[R, out, out, C]`."""
    y, x = _points(rois.y, rois.height, size[0], samples), _points(rois.x, rois.width, size[1], samples)
    inside_y, inside_x = in_range(y, atlas.height[:, None]), in_range(x, atlas.width[:, None])
    all_inside = tf.logical_and(tf.reduce_all(inside_y), tf.reduce_all(inside_x))
    steps = [(slice(a, None, samples), slice(b, None, samples)) for a in range(samples) for b in range(samples)]
    boxes = [_crop_boxes(atlas, y[:, rows], x[:, columns]) for rows, columns in steps]

    def counted(values: Tensor, step: int) -> Tensor:
        """`values` where the bins' sample number `step` is in range, else 0."""
        rows, columns = steps[step]
        return tf.cond(
            all_inside, lambda: values, lambda: _where_inside(values, inside_y[:, rows], inside_x[:, columns])
        )

    def crop(map_: Tensor, step: int) -> Tensor:
        return counted(tf.image.crop_and_resize(map_, boxes[step], image, size), step)

    def spread(upstream: Tensor, shape: Tensor, step: int) -> Tensor:
        return tf.raw_ops.CropAndResizeGradImage(
            grads=counted(upstream, step), boxes=boxes[step], box_ind=image, image_size=shape, T=tf.float32
        )

    @tf.custom_gradient
    def mean(map_: Tensor) -> Any:
        def gradient(upstream: Tensor) -> Tensor:
            share, shape = upstream / len(steps), tf.shape(map_)
            return _sum_in_turn(lambda step: spread(share, shape, step), len(steps))

        return _sum_in_turn(lambda step: crop(map_, step), len(steps)) / len(steps), gradient

    return mean(atlas.image)


def _sum_in_turn(part: Callable[[int], Tensor], count: int) -> Tensor:
    """The sum of part(0) … part(count - 1); each begins when the sum of the former is there, so two are alive."""
    total = part(0)
    for step in range(1, count):
        with tf.control_dependencies([total]):
            following = part(step)
        total = total + following
    return total


def _where_inside(values: Tensor, inside_y: Tensor, inside_x: Tensor) -> Tensor:
    """`values [R, h, w, C]` where both axes `[R, h]` and `[R, w]` are in range, else 0."""
    return values * tf.cast(inside_y[:, :, None, None] & inside_x[:, None, :, None], tf.float32)


def _pool_counted(
    atlas: Atlas, rois: Rois, image: Tensor, size: tuple[int, int], samples: tuple[Tensor, Tensor]
) -> Tensor:
    """As `_pool`, for numbers of samples (y, x) that only the graph knows."""
    y, x = _points(rois.y, rois.height, size[0], samples[0]), _points(rois.x, rois.width, size[1], samples[1])
    crops = tf.image.crop_and_resize(atlas.image, _crop_boxes(atlas, y, x), image, [tf.shape(y)[1], tf.shape(x)[1]])
    inside_y, inside_x = in_range(y, atlas.height[:, None]), in_range(x, atlas.width[:, None])
    return _means(_where_inside(crops, inside_y, inside_x), size, samples)


def _means(crops: Tensor, size: tuple[int, int], samples: tuple[Tensor, Tensor]) -> Tensor:
    """Means `[R, out, out, C]` of `samples` (y, x) neighbours in `crops [R, out * y, out * x, C]`."""
    channels = crops.shape[-1]
    rows = tf.reshape(crops, [-1, samples[0], size[1] * samples[1] * channels])
    columns = tf.reshape(tf.reduce_mean(rows, axis=1), [-1, samples[1], channels])
    return tf.reshape(tf.reduce_mean(columns, axis=1), [-1, *size, channels])


def _points(start: Tensor, extent: Tensor, bins: int, samples: Tensor) -> Tensor:
    """Positions `[R, bins * samples]` along one axis, by the reference form's arithmetic, rounding included."""
    bin_extent = (extent / bins)[:, None, None]
    steps = tf.range(bins, dtype=tf.float32)[:, None]
    within = (tf.cast(tf.range(samples), tf.float32) + 0.5) * bin_extent / tf.cast(samples, tf.float32)
    positions = start[:, None, None] + steps * bin_extent + within
    return tf.reshape(positions, [-1, bins * samples])


def _crop_boxes(atlas: Atlas, y: Tensor, x: Tensor) -> Tensor:
    """Crops `[R, 4]` of the atlas, as the kernel wants them, that read the evenly spaced `y [R, h]` and `x [R, w]`."""
    shape = tf.cast(tf.shape(atlas.image), tf.float32)
    return tf.stack(
        [
            (y[:, 0] + atlas.origin_y) / (shape[1] - 1.0),
            (x[:, 0] + atlas.origin_x) / (shape[2] - 1.0),
            (y[:, -1] + atlas.origin_y) / (shape[1] - 1.0),
            (x[:, -1] + atlas.origin_x) / (shape[2] - 1.0),
        ],
        axis=-1,
    )


def _pool_adaptive(atlas: Atlas, rois: Rois, image: Tensor, size: tuple[int, int]) -> Tensor:
    """Means over ceil(bin size) points of each axis: the RoIs of one pair of counts at a time."""
    count_y, count_x = (samples_per_bin(e, n, 0) for e, n in ((rois.height, size[0]), (rois.width, size[1])))
    codes = count_y * _CODE_BASE + count_x
    pairs, _ = tf.unique(tf.boolean_mask(codes, (count_y > 0) & (count_x > 0)))
    channels = atlas.image.shape[-1]

    def add(step: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        rows = tf.where(tf.equal(codes, pairs[step]))[:, 0]
        part = Atlas(atlas.image, *(tf.gather(v, rows) for v in atlas[1:]))
        some = Rois(*(tf.gather(v, rows) for v in rois))
        samples = (pairs[step] // _CODE_BASE, pairs[step] % _CODE_BASE)
        pooled = _pool_counted(part, some, tf.gather(image, rows), size, samples)
        return step + 1, tf.tensor_scatter_nd_update(out, rows[:, None], pooled)

    start = (tf.constant(0), tf.zeros([tf.shape(codes)[0], *size, channels]))
    invariants = (tf.TensorShape([]), tf.TensorShape([None, *size, channels]))
    _, out = tf.while_loop(lambda step, _: step < tf.size(pairs), add, start, shape_invariants=invariants)
    return out
