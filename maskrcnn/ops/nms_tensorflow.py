"""The TensorFlow form of `nms.non_max_suppression`: one call of the C++ kernel for each group of each image."""

from __future__ import annotations

import tensorflow as tf

from maskrcnn.ops.nms import ABSENT_SCORE
from maskrcnn.ops.tensors import Tensor

PARALLEL_GROUPS = 8
_NOTHING = -1


def suppress_by_kernels(
    boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, max_outputs: int
) -> tuple[Tensor, Tensor]:
    """See `nms.non_max_suppression`; `threshold` is already the float32 one."""
    shape = tf.shape(scores)
    flat_scores = tf.reshape(scores, [-1])
    rows, starts, counts = _rows_by_group(flat_scores > ABSENT_SCORE, _groups_of_all_images(groups, shape))
    row_boxes, row_scores = tf.gather(tf.reshape(boxes, [-1, 4]), rows), tf.gather(flat_scores, rows)

    def kept_of(part: tuple[Tensor, Tensor]) -> Tensor:
        start, count = part
        here = slice(start, start + count)
        # The kernel's order of axes (y first) does not matter for overlaps; ties go to the lower row.
        chosen = tf.image.non_max_suppression(row_boxes[here], row_scores[here], max_outputs, iou_threshold=threshold)
        padding = [[0, max_outputs - tf.size(chosen)]]
        return tf.ensure_shape(tf.pad(chosen + start, padding, constant_values=_NOTHING), [max_outputs])

    # Only places are stacked, [groups, max_outputs]: a mark for each row would take groups x rows, 32 GB with a
    # thousand classes and no score threshold.
    kept = tf.map_fn(kept_of, (starts, counts), fn_output_signature=tf.int32, parallel_iterations=PARALLEL_GROUPS)
    kept = tf.gather(rows, tf.boolean_mask(kept, kept > _NOTHING))
    marks = tf.scatter_nd(kept[:, None], tf.ones_like(kept), tf.shape(flat_scores))
    return _best_kept(scores, tf.reshape(marks > 0, shape), max_outputs)


def _rows_by_group(present: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The present rows group by group, each group's in their order, and where each group starts and how many it has."""
    rows = tf.cast(tf.where(present)[:, 0], tf.int32)
    groups = tf.gather(groups, rows)
    order = tf.argsort(groups, stable=True)
    _, _, counts = tf.unique_with_counts(tf.gather(groups, order))
    # An empty group at the end: map_fn over no groups at all would not know the shape of its result.
    counts = tf.concat([counts, [0]], axis=0)
    return tf.gather(rows, order), tf.cumsum(counts, exclusive=True), counts


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
