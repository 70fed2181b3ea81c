"""The TensorFlow form of `nms.non_max_suppression`: one call of the C++ kernel for each group of each image."""

from __future__ import annotations

import tensorflow as tf

from maskrcnn.ops.nms import ABSENT_SCORE
from maskrcnn.ops.tensors import Tensor

PARALLEL_GROUPS = 8
_NO_GROUP = -1


def suppress_by_kernels(
    boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, max_outputs: int
) -> tuple[Tensor, Tensor]:
    """See `nms.non_max_suppression`; `threshold` is already the float32 one."""
    shape = tf.shape(scores)
    flat_boxes, flat_scores = tf.reshape(boxes, [-1, 4]), tf.reshape(scores, [-1])
    flat_groups = _groups_of_all_images(groups, shape)
    present = flat_scores > ABSENT_SCORE

    def kept_of(group: Tensor) -> Tensor:
        rows = tf.where(tf.logical_and(present, tf.equal(flat_groups, group)))[:, 0]
        # The kernel's order of axes (y first) does not matter for overlaps; ties go to the lower row.
        chosen = tf.image.non_max_suppression(
            tf.gather(flat_boxes, rows), tf.gather(flat_scores, rows), max_outputs, iou_threshold=threshold
        )
        kept = tf.gather(rows, chosen)
        return tf.scatter_nd(kept[:, None], tf.ones_like(kept, tf.int32), tf.cast(tf.shape(flat_scores), tf.int64))

    names, _ = tf.unique(tf.boolean_mask(flat_groups, present))
    # A group that nothing belongs to: map_fn over no groups at all would not know the shape of its result.
    names = tf.concat([names, [_NO_GROUP]], axis=0)
    kept = tf.map_fn(kept_of, names, fn_output_signature=tf.int32, parallel_iterations=PARALLEL_GROUPS)
    kept = tf.reshape(tf.reduce_sum(kept, axis=0) > 0, shape)
    return _best_kept(scores, kept, max_outputs)


def _groups_of_all_images(groups: Tensor, shape: Tensor) -> Tensor:
    """Groups `[B * N]` int32 from 0 on, made different for different images."""
    groups = tf.cast(groups, tf.int32)
    lowest = tf.reduce_min(groups)
    span = tf.reduce_max(groups) - lowest + 1
    return tf.reshape(groups - lowest + span * tf.range(shape[0])[:, None], [-1])


def _best_kept(scores: Tensor, kept: Tensor, max_outputs: int) -> tuple[Tensor, Tensor]:
    """The kept rows by falling score, lower rows first among equals, padded to `max_outputs`."""
    ranked = tf.where(kept, scores, tf.fill(tf.shape(scores), scores.dtype.min))
    ranked = tf.pad(ranked, [[0, 0], [0, max_outputs]], constant_values=scores.dtype.min)
    best, rows = tf.math.top_k(ranked, max_outputs)
    valid = best > ABSENT_SCORE
    return tf.where(valid, rows, tf.zeros_like(rows)), valid
