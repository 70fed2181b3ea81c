"""Golden numbers of torchvision; tests/golden/ops.md describes the files."""

from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for name in ("ops_boxes", "ops_roi_align", "ops_pyramid_pool", "ops_targets"):
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
            arrays.update(file)
    return arrays


def compile_once(function, *inputs: tuple[str, int | tuple]):
    """`function` as one graph for all sizes on TensorFlow, or jitted on JAX: loops are slow outside a graph.

    `inputs` are (dtype, rank or shape with None).
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        signature = [tf.TensorSpec([None] * s if isinstance(s, int) else s, dtype) for dtype, s in inputs]
        return tf.function(function, input_signature=signature)
    import jax

    return jax.jit(function)


@pytest.fixture(scope="session")
def compiled():
    """A cache of compiled functions, by any key: `compiled(key, make, *inputs)`."""
    cache: dict[object, object] = {}

    def get(key, make, *inputs):
        if key not in cache:
            cache[key] = compile_once(make(), *inputs)
        return cache[key]

    return get
