"""The TensorFlow form of `roi_align`: all levels in one padded atlas, one `crop_and_resize`, then means.

The kernel interpolates inside, so no list of taps is written to memory (PERFORMANCE §3 B). It equals the reference
form for every RoI: each map gets a rim of repeated border cells, which is how far samples in range can reach, and
samples beyond are multiplied by 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from maskrcnn.ops.roi_align import Places, Rois, in_range, samples_per_bin
from maskrcnn.ops.tensors import Tensor

_CODE_BASE = 1 << 15
"""Two counts of samples below this share one int32 code."""


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
    dtype = features[0].dtype
    atlas = _pack([tf.cast(f, tf.float32) for f in features], places.level)
    if sampling_ratio > 0:
        out = _pool(atlas, rois, places.image, size, (sampling_ratio, sampling_ratio))
    else:
        out = _pool_adaptive(atlas, rois, places.image, size)
    return tf.cast(out, dtype)


def _pack(features: Sequence[Tensor], level: Tensor) -> Atlas:
    """The finest level on top, the others side by side beneath it; a zero column and row behind each."""
    rimmed = [tf.pad(f, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC") for f in features]
    heights = [tf.shape(f)[1] + 1 for f in rimmed]
    widths = [tf.shape(f)[2] + 1 for f in rimmed]
    rows = [rimmed[:1], rimmed[1:]] if len(rimmed) > 1 else [rimmed]
    lower_height = tf.reduce_max(tf.stack(heights[1:])) if len(rimmed) > 1 else 0
    lower_width = sum(widths[1:]) if len(rimmed) > 1 else 0
    width = tf.maximum(widths[0], lower_width)
    bands = [_band(rows[0], [widths[0]], heights[0], width)]
    if len(rimmed) > 1:
        bands.append(_band(rows[1], widths[1:], lower_height, width))
    origins_y = [1] + [heights[0] + 1] * (len(features) - 1)
    origins_x = [tf.constant(1), *(1 + tf.cumsum(tf.stack([0, *widths[1:]]))[i] for i in range(len(features) - 1))]
    of_roi = [
        tf.cast(tf.gather(tf.stack(values), level), tf.float32)
        for values in (origins_y, origins_x, [tf.shape(f)[1] for f in features], [tf.shape(f)[2] for f in features])
    ]
    return Atlas(bands[0] if len(bands) == 1 else tf.concat(bands, axis=1), *of_roi)


def _band(maps: Sequence[Tensor], widths: Sequence[Tensor], height: Tensor, width: Tensor) -> Tensor:
    """Maps side by side, padded with zeros to `height` and, together, to `width`."""
    used = sum(widths)
    padded = []
    for i, (values, column_end) in enumerate(zip(maps, widths, strict=True)):
        right = column_end - tf.shape(values)[2] + (width - used if i == len(maps) - 1 else 0)
        padded.append(tf.pad(values, [[0, 0], [0, height - tf.shape(values)[1]], [0, right], [0, 0]]))
    return padded[0] if len(padded) == 1 else tf.concat(padded, axis=2)


def _pool(atlas: Atlas, rois: Rois, image: Tensor, size: tuple[int, int], samples: tuple[Tensor, Tensor]) -> Tensor:
    """Means over `samples` (y, x) points of each bin, alike for all RoIs: `[R, out, out, C]`."""
    y = _points(rois.y, rois.height, size[0], samples[0])
    x = _points(rois.x, rois.width, size[1], samples[1])
    crops = _crop(atlas, y, x, image)
    counts_y, counts_x = in_range(y, atlas.height[:, None]), in_range(x, atlas.width[:, None])
    crops = tf.cond(
        tf.logical_and(tf.reduce_all(counts_y), tf.reduce_all(counts_x)),
        lambda: crops,
        lambda: crops * tf.cast(counts_y[:, :, None, None] & counts_x[:, None, :, None], tf.float32),
    )
    return _means(crops, size, samples)


def _means(crops: Tensor, size: tuple[int, int], samples: tuple[Tensor, Tensor]) -> Tensor:
    """Means `[R, out, out, C]` of `samples` (y, x) neighbours in `crops [R, out * y, out * x, C]`."""
    if isinstance(samples[0], int):
        # A mean over two axes of the six-dimensional view takes 20 times as long.
        return tf.nn.avg_pool2d(crops, samples, samples, "VALID")
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


def _crop(atlas: Atlas, y: Tensor, x: Tensor, image: Tensor) -> Tensor:
    """Values `[R, h, w, C]` at the positions `y [R, h]` and `x [R, w]`, evenly spaced."""
    shape = tf.cast(tf.shape(atlas.image), tf.float32)
    crops = tf.stack(
        [
            (y[:, 0] + atlas.origin_y) / (shape[1] - 1.0),
            (x[:, 0] + atlas.origin_x) / (shape[2] - 1.0),
            (y[:, -1] + atlas.origin_y) / (shape[1] - 1.0),
            (x[:, -1] + atlas.origin_x) / (shape[2] - 1.0),
        ],
        axis=-1,
    )
    return tf.image.crop_and_resize(atlas.image, crops, image, [tf.shape(y)[1], tf.shape(x)[1]])


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
        pooled = _pool(part, some, tf.gather(image, rows), size, samples)
        return step + 1, tf.tensor_scatter_nd_update(out, rows[:, None], pooled)

    start = (tf.constant(0), tf.zeros([tf.shape(codes)[0], *size, channels]))
    invariants = (tf.TensorShape([]), tf.TensorShape([None, *size, channels]))
    _, out = tf.while_loop(lambda step, _: step < tf.size(pairs), add, start, shape_invariants=invariants)
    return out
