"""The detector's inference as one compiled function of NumPy arrays, on TensorFlow and JAX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from maskrcnn.data.collate import round_up

Outputs = dict[str, np.ndarray]
Network = Callable[[np.ndarray, np.ndarray], Outputs]
JAX_SIDE_MULTIPLE = 128
"""JAX compiles one program per shape: sides are padded to few values."""


def compile_network(detector: Any) -> Network:
    """A function of images `[B, H, W, 3]` (0..255) and sizes `[B, 2]` to the detector's detections as NumPy arrays.

    It reads the detector's weights at each call, so that it can be kept while they are trained. TensorFlow traces it
    once for all shapes; JAX compiles each shape.
    """
    if keras.backend.backend() == "jax":
        return _jax_network(detector)
    return _tensorflow_network(detector)


@dataclass(frozen=True)
class Stages:
    """Inference in two steps, so that masks and joints can be read at boxes from elsewhere.

    `find`: images and sizes as for `Network` -> feature maps (the backend's own) and boxes, scores, labels.
    `read`: feature maps, boxes `[B, D, 4]`, labels `[B, D]` (0 = padding) -> masks and keypoint logits.
    """

    find: Callable[[np.ndarray, np.ndarray], tuple[Any, Outputs]]
    read: Callable[[Any, np.ndarray, np.ndarray], Outputs]


def compile_stages(detector: Any) -> Stages:
    """The detector's inference in two steps; compiled as in `compile_network`."""
    if keras.backend.backend() == "jax":
        find, read = _jax_method(detector, detector.find_boxes), _jax_method(detector, detector.instance_outputs)
    else:
        find, read = _tensorflow_stages(detector)

    def find_arrays(images: np.ndarray, sizes: np.ndarray) -> tuple[Any, Outputs]:
        features, found = find({"images": images.astype(np.float32, copy=False), "sizes": sizes.astype(np.int32)})
        return features, _to_numpy(found)

    def read_arrays(features: Any, boxes: np.ndarray, labels: np.ndarray) -> Outputs:
        return _to_numpy(read(features, boxes.astype(np.float32), labels.astype(np.int32)))

    return Stages(find_arrays, read_arrays)


def padding_multiple(conventions: Any) -> int:
    """What the sides of a batch are padded to a multiple of: the source's rule, or coarser for JAX.

    Not coarser where anchors depend on the padded size (torchvision), since detections then do too.
    """
    multiple = conventions.pad_multiple
    if keras.backend.backend() != "jax" or conventions.anchor_stride == "from_grid":
        return multiple
    return round_up(JAX_SIDE_MULTIPLE, multiple)


def pads_batches() -> bool:
    """True where a smaller last batch should be filled up, so that it needs no program of its own."""
    return keras.backend.backend() == "jax"


def _to_numpy(outputs: Any) -> Outputs:
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


def _tensorflow_stages(detector: Any) -> tuple[Any, Any]:
    """`find_boxes` and `instance_outputs`, each traced once for all shapes; the first one's maps tell the second's."""
    import tensorflow as tf

    batch = {"images": tf.TensorSpec([None, None, None, 3], tf.float32), "sizes": tf.TensorSpec([None, 2], tf.int32)}
    find = tf.function(detector.find_boxes, input_signature=[batch], autograph=False)
    features = [tf.TensorSpec(t.shape, t.dtype) for t in find.get_concrete_function().structured_outputs[0]]
    signature = [features, tf.TensorSpec([None, None, 4], tf.float32), tf.TensorSpec([None, None], tf.int32)]
    return find, tf.function(detector.instance_outputs, input_signature=signature, autograph=False)


def _jax_method(detector: Any, method: Callable[..., Any]) -> Callable[..., Any]:
    import jax

    @jax.jit
    def run(values: Any, *arguments: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(detector.weights, values, strict=True))):
            return method(*arguments)

    return lambda *arguments: run([variable.value for variable in detector.weights], *arguments)


def _tensorflow_network(detector: Any) -> Network:
    import tensorflow as tf

    signature = [tf.TensorSpec([None, None, None, 3], tf.float32), tf.TensorSpec([None, 2], tf.int32)]

    @tf.function(input_signature=signature, autograph=False)
    def detect(images: Any, sizes: Any) -> Any:
        return detector({"images": images, "sizes": sizes}, training=False)

    def run(images: np.ndarray, sizes: np.ndarray) -> Outputs:
        outputs = detect(images.astype(np.float32, copy=False), sizes.astype(np.int32, copy=False))
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def _jax_network(detector: Any) -> Network:
    import jax

    @jax.jit
    def detect(trainable: Any, other: Any, images: Any, sizes: Any) -> Any:
        batch = {"images": images, "sizes": sizes}
        return detector.stateless_call(trainable, other, batch, training=False)[0]

    def run(images: np.ndarray, sizes: np.ndarray) -> Outputs:
        trainable = [v.value for v in detector.trainable_variables]
        other = [v.value for v in detector.non_trainable_variables]
        outputs = detect(trainable, other, images.astype(np.float32), sizes.astype(np.int32))
        return {name: np.asarray(value) for name, value in outputs.items()}

    return run
