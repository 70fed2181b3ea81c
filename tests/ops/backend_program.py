"""Runs the operators on the backend of KERAS_BACKEND, in compiled form, and stores what they give.

Usage: python backend_program.py OUTPUT.npz. Run as a child by `test_backends.py`: a backend cannot be changed within
a process, and TensorFlow's determinism (needed for right gradients of RoIAlign) is a setting of the whole process.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from keras import ops

from maskrcnn.ops import masks, matching, nms, sampling
from maskrcnn.ops.anchors import cell_anchors, pyramid_anchors
from maskrcnn.ops.roi_align import (
    Places,
    _align_rois,
    _boxes_in_cells,
    align_by_gathers,
    roi_align,
    roi_levels,
    roi_pool,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "ops_roi_align.npz"
HEIGHT, WIDTH, STRIDES = 64, 96, (4, 8, 16)


def random_boxes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    corner = rng.uniform(0, 0.8, (*shape, 2)) * [WIDTH, HEIGHT]
    side = rng.uniform(0.02, 0.6, (*shape, 2)) * [WIDTH, HEIGHT]
    boxes = np.concatenate([corner, corner + side], axis=-1)
    return np.clip(boxes, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype("float32")


def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    boxes, candidates = random_boxes(rng, 2, 6), random_boxes(rng, 2, 60)
    candidates[:, :6] = boxes + 0.25
    return {
        **{f"p{k}": rng.normal(size=(2, HEIGHT // s, WIDTH // s, 4)).astype("float32") for k, s in enumerate(STRIDES)},
        "boxes": boxes,
        "labels": np.int32([[1, 2, 3, -1, 0, 0], [2, 0, 0, 0, 0, 0]]),
        "masks": rng.integers(0, 2, (2, 6, 16, 16)).astype("uint8"),
        "seeds": np.int32([7, -123456789]),
        "candidates": candidates,
        "scores": rng.normal(size=(2, 60)).astype("float32"),
        "groups": rng.integers(0, 3, (2, 60)).astype("int32"),
        "rois": random_boxes(rng, 200),
        "images": rng.integers(0, 2, 200).astype("int32"),
        "matched": rng.integers(0, 6, 200).astype("int32"),
        "weights": rng.normal(size=(200, 7, 7, 4)).astype("float32"),
    }


def forward(given: dict) -> dict:
    """What a training step asks of the operators, except RoIAlign."""
    cells = [cell_anchors([3.0 * s], (0.5, 1.0, 2.0), rounding="none", order="size_major") for s in STRIDES]
    grids = [ops.shape(given[f"p{k}"])[1:3] for k in range(3)]
    anchors = ops.concatenate(pyramid_anchors(grids, [(s, s) for s in STRIDES], cells, 0.0), axis=0)
    rule = {"positive_iou": 0.5, "negative_iou": 0.3, "low_quality": True}
    states, matched = matching.match_anchors(anchors, given["boxes"], given["labels"], **rule)
    draw = {"count": 64, "positive_fraction": 0.5, "stream": 1}
    indices, sampled = sampling.sample_balanced(states, given["seeds"], **draw)
    valid = given["scores"] > -1.0
    proposal_states, proposal_matched = matching.match_proposals(
        given["candidates"], valid, given["boxes"], given["labels"], positive_iou=0.5
    )
    kept, kept_valid = nms.non_max_suppression(
        given["candidates"], given["scores"], given["groups"], iou_threshold=0.3, max_outputs=60
    )
    targets = masks.mask_targets(
        given["masks"], given["boxes"], given["rois"], given["images"], given["matched"], size=8, binary=True
    )
    return {
        "uniform": sampling.hash_uniform(given["seeds"], 5000, 3),
        "states": states,
        "matched": matched,
        "indices": indices,
        "sampled": sampled,
        "proposal_states": proposal_states,
        "proposal_matched": proposal_matched,
        "kept": kept,
        "kept_valid": kept_valid,
        "targets": targets,
    }


def pooled(given: dict, features: list, ratio: int, aligned: bool, *, reference: bool):
    limits = {"min_level": 2, "max_level": 4, "canonical_size": 16.0, "canonical_level": 3, "epsilon": "inside"}
    levels = roi_levels(given["rois"], **limits)
    if reference:
        places = Places(given["images"], levels - 2)
        rois = _align_rois(_boxes_in_cells(given["rois"], places.level, STRIDES), aligned)
        return align_by_gathers(features, rois, places, (7, 7), ratio)
    options = {"min_level": 2, "output_size": 7, "sampling_ratio": ratio, "aligned": aligned, "strides": STRIDES}
    return roi_align(features, given["rois"], given["images"], levels, **options)


def pooled_max(given: dict, features: list):
    levels = ops.full_like(given["images"], 2)
    options = {"min_level": 2, "output_size": 7, "strides": STRIDES}
    return roi_pool(features, given["rois"], given["images"], levels, **options)


def value_and_gradient(function, features: list):
    """`function(features)` and the gradient of its weighted sum to each level, compiled."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function
        def run(*features):
            with tf.GradientTape() as tape:
                tape.watch(features)
                out, total = function(list(features))
            return out, tape.gradient(total, features)
    else:
        import jax

        def run(*features):
            def total(*features):
                out, value = function(list(features))
                return value, out

            (_, out), gradients = jax.jit(jax.value_and_grad(total, argnums=tuple(range(len(features))), has_aux=True))(
                *features
            )
            return out, gradients

    return run(*features)


def golden_gradient() -> np.ndarray:
    with np.load(GOLDEN) as file:
        golden = {name: ops.convert_to_tensor(values) for name, values in file.items()}
    rois = golden["roi_align.rois_cells"]
    images = ops.cast(rois[:, 0], "int32")

    def function(features):
        options = {"min_level": 0, "output_size": 7, "sampling_ratio": 2, "aligned": False, "strides": [1]}
        out = roi_align(features, rois[:, 1:], images, ops.zeros_like(images), **options)
        return out, ops.sum(out * golden["roi_align.grad.weights"])

    _, (gradient,) = value_and_gradient(function, [golden["roi_align.features"]])
    return np.asarray(gradient)


def compiled(function):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    import jax

    return jax.jit(function)


def main(path: str) -> None:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    given = {name: ops.convert_to_tensor(values) for name, values in inputs().items()}
    results = {name: np.asarray(value) for name, value in compiled(forward)(given).items()}
    features = [given[f"p{k}"] for k in range(3)]
    for ratio, aligned in ((2, True), (2, False), (0, True)):
        for reference in (False, True):

            def function(features, ratio=ratio, aligned=aligned, reference=reference):
                out = pooled(given, features, ratio, aligned, reference=reference)
                return out, ops.sum(out * given["weights"])

            out, gradients = value_and_gradient(function, features)
            name = f"{'reference' if reference else 'form'}.ratio{ratio}.aligned{int(aligned)}"
            results[f"roi_align.{name}"] = np.asarray(out)
            results |= {f"gradient{k}.{name}": np.asarray(g) for k, g in enumerate(gradients)}
    results["roi_pool"] = np.asarray(compiled(lambda f: pooled_max(given, f))(features))
    results["golden_gradient"] = golden_gradient()
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
