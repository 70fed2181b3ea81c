"""Muon's matrices: against the singular value decomposition, and against Keras' own Newton-Schulz steps."""

import keras
import numpy as np
import pytest

from maskrcnn.training.orthogonal import orthogonalize

SHAPES = [(64, 16), (16, 64), (32, 32), (576, 64)]


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_vectors_stay_and_singular_values_come_near_one(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    result = np.asarray(orthogonalize(keras.ops.convert_to_tensor(matrix)))
    singular = np.linalg.svd(result, compute_uv=False)
    # A square Gaussian matrix has a singular value near 0, which five steps do not lift all the way.
    assert np.median(singular) > 0.65
    assert singular.max() < 1.25
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    aligned = np.diag(left.T @ result @ right.T)
    np.testing.assert_allclose(left @ np.diag(aligned) @ right, result, atol=2e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_keras_iteration_with_less_arithmetic(shape):
    matrix = keras.ops.convert_to_tensor(np.random.default_rng(1).normal(size=shape).astype(np.float32))
    theirs = keras.optimizers.Muon(0.1).zeropower_via_newtonschulz5(matrix, 5)
    np.testing.assert_allclose(np.asarray(orthogonalize(matrix)), np.asarray(theirs), atol=2e-3)


def test_a_zero_gradient_moves_nothing():
    assert np.all(np.asarray(orthogonalize(keras.ops.zeros((8, 4)))) == 0.0)
