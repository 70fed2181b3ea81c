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


def compile_once(function, *dtypes_and_ranks: tuple[str, int]):
    """`function` as one graph for all sizes on TensorFlow, or jitted on JAX: loops are slow outside a graph."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        signature = [tf.TensorSpec([None] * rank, dtype) for dtype, rank in dtypes_and_ranks]
        return tf.function(function, input_signature=signature)
    import jax

    return jax.jit(function)


@pytest.fixture(scope="session")
def compiled():
    """A cache of compiled functions, by any key: `compiled(key, make, *dtypes_and_ranks)`."""
    cache: dict[object, object] = {}

    def get(key, make, *dtypes_and_ranks):
        if key not in cache:
            cache[key] = compile_once(make(), *dtypes_and_ranks)
        return cache[key]

    return get
