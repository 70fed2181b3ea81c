"""The rows that the mask and keypoint heads run on: real positives only, never padding (PERFORMANCE §3 A).

On TensorFlow the rows are gathered, so their number is dynamic. Other backends take the fixed number of slots that
positives can fill, with weight 0 for the empty ones: the same losses, more arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import ops

from maskrcnn.models.roi_sampling import SampledRoIs
from maskrcnn.ops.forms import kernels_allowed
from maskrcnn.structures import RoISettings

Tensor = Any


@dataclass(frozen=True)
class RoIRows:
    """R rows out of B images.

    boxes [R, 4], images [R], labels [R], weights [R] (0 for padding), matched [R] (row of the ground truth),
    slots [R] (place in the image's list).
    """

    boxes: Tensor
    images: Tensor
    slots: Tensor
    labels: Tensor
    weights: Tensor
    matched: Tensor

    def of_truth(self, values: Tensor) -> Tensor:
        """[R, ...] of ground-truth values [B, M, ...], at each row's match."""
        per_image = ops.shape(values)[1]
        flat = ops.reshape(values, (-1, *values.shape[2:]))
        return ops.take(flat, self.images * per_image + self.matched, axis=0)


def rows_of_positives(rois: SampledRoIs, settings: RoISettings, annotated: Tensor) -> RoIRows:
    """The positive rows of a sample, which come first in each image, whose ground truth is `annotated` [B, M].

    Positives are in random order, so the first `settings.dense_positives` of them are a random choice.
    """
    limit = max(1, int(settings.batch_per_image * settings.positive_fraction))
    taught = ops.take_along_axis(ops.cast(annotated, "bool"), rois.matched[:, :limit], axis=1)
    positive = ops.logical_and(rois.states[:, :limit] == 1, taught)
    if settings.dense_positives:
        place = ops.cumsum(ops.cast(positive, "int32"), axis=1)
        positive = ops.logical_and(positive, place <= settings.dense_positives)
    return _rows(rois.boxes[:, :limit], positive, rois.labels[:, :limit], rois.matched[:, :limit])


def rows_of_detections(boxes: Tensor, labels: Tensor) -> RoIRows:
    """The rows of real detections: boxes [B, D, 4], labels [B, D] with 0 = padding."""
    return _rows(boxes, labels > 0, labels, ops.zeros_like(labels))


def scatter_rows(values: Tensor, rows: RoIRows, shape: tuple[Any, Any]) -> Tensor:
    """[B, D, ...] from rows [R, ...]; zero where no row is."""
    flat = rows.images * shape[1] + rows.slots
    values = values * ops.reshape(rows.weights, (-1,) + (1,) * (len(values.shape) - 1))
    target = (shape[0] * shape[1], *values.shape[1:])
    return ops.reshape(ops.scatter(flat[:, None], values, target), (-1, shape[1], *values.shape[1:]))


def _rows(boxes: Tensor, chosen: Tensor, labels: Tensor, matched: Tensor) -> RoIRows:
    places = _places(chosen)
    images, slots = places[:, 0], places[:, 1]
    flat = images * ops.shape(chosen)[1] + slots

    def take(values: Tensor) -> Tensor:
        return ops.take(ops.reshape(values, (-1, *values.shape[2:])), flat, axis=0)

    return RoIRows(take(boxes), images, slots, take(labels), ops.cast(take(chosen), "float32"), take(matched))


def _places(chosen: Tensor) -> Tensor:
    """[R, 2] int32 (image, slot) of the rows to compute."""
    if kernels_allowed() or None in tuple(chosen.shape):
        import tensorflow as tf

        places = tf.cast(tf.where(chosen), "int32")
        # TensorFlow's convolutions fail on a batch of no rows: where nothing is chosen, the first slot stands in with
        # weight 0.
        missing = tf.maximum(1 - tf.shape(places)[0], 0)
        return tf.concat([places, tf.zeros([missing, 2], "int32")], axis=0)
    images, slots = ops.meshgrid(
        ops.arange(chosen.shape[0], dtype="int32"), ops.arange(chosen.shape[1], dtype="int32"), indexing="ij"
    )
    return ops.stack([ops.reshape(images, (-1,)), ops.reshape(slots, (-1,))], axis=1)
