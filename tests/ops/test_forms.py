from __future__ import annotations

import keras
import numpy as np
import pytest

from maskrcnn.ops.forms import kernels_allowed, portable, portable_forms
from maskrcnn.ops.nms import non_max_suppression

on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="kernels are TensorFlow's")


@on_tensorflow
def test_kernels_are_used_again_after_the_portable_part_even_if_it_fails():
    def fail():
        with portable_forms():
            assert portable()
            assert not kernels_allowed()
            raise KeyError

    assert kernels_allowed()
    with pytest.raises(KeyError):
        fail()
    assert kernels_allowed()


@on_tensorflow
def test_suppression_is_traced_without_its_kernel_in_the_portable_part():
    import tensorflow as tf

    def kept(boxes, scores):
        groups = tf.zeros(tf.shape(scores), tf.int32)
        return non_max_suppression(boxes, scores, groups, iou_threshold=0.5, max_outputs=4)[0]

    def operators():
        boxes, scores = tf.TensorSpec([2, 6, 4]), tf.TensorSpec([2, 6])
        graph = tf.function(kept).get_concrete_function(boxes, scores).graph.as_graph_def()
        return {node.op for function in graph.library.function for node in function.node_def}

    assert "NonMaxSuppressionV3" in operators()
    with portable_forms():
        assert not any("NonMaxSuppression" in name for name in operators())


@on_tensorflow
def test_both_forms_keep_the_same_boxes():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (2, 30, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 30, (2, 30, 2))], -1).astype("float32")
    scores, groups = rng.uniform(size=(2, 30)).astype("float32"), rng.integers(0, 3, (2, 30)).astype("int32")
    options = {"iou_threshold": 0.4, "max_outputs": 12}
    fast = non_max_suppression(boxes, scores, groups, **options)
    with portable_forms():
        slow = non_max_suppression(boxes, scores, groups, **options)
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(a, b)
