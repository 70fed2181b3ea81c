"""Weight decay and gradient norm by hand."""

import keras
import numpy as np
import pytest

from maskrcnn.training.optimizers import build_optimizer


def variable(value, name):
    return keras.Variable(np.array(value, np.float32), name=name)


def test_sgd_adds_l2_to_the_gradient_of_kernels_alone():
    kernel, bias = variable([2.0], "kernel"), variable([2.0], "bias")
    optimizer = build_optimizer("sgd", 0.1, weight_decay=0.5, momentum=0.0)
    optimizer.build([kernel, bias])
    optimizer.apply([keras.ops.ones(1), keras.ops.ones(1)], [kernel, bias])
    assert float(kernel[0]) == pytest.approx(2.0 - 0.1 * (1.0 + 0.5 * 2.0))
    assert float(bias[0]) == pytest.approx(2.0 - 0.1 * 1.0)


def test_adamw_decays_kernels_but_no_bias_or_norm():
    kernel, gamma = variable([2.0], "kernel"), variable([2.0], "gamma")
    optimizer = build_optimizer("adamw", 0.1, weight_decay=0.5)
    optimizer.build([kernel, gamma])
    optimizer.apply([keras.ops.zeros(1), keras.ops.zeros(1)], [kernel, gamma])
    assert float(kernel[0]) == pytest.approx(2.0 * (1 - 0.1 * 0.5), rel=1e-5)
    assert float(gamma[0]) == 2.0


def test_the_gradient_norm_is_taken_over_all_variables_before_clipping():
    kernel, bias = variable([0.0], "kernel"), variable([0.0], "bias")
    optimizer = build_optimizer("sgd", 1.0, momentum=0.0, global_clipnorm=1.0)
    optimizer.build([kernel, bias])
    optimizer.apply([3.0 * keras.ops.ones(1), 4.0 * keras.ops.ones(1)], [kernel, bias])
    assert float(optimizer.gradient_norm) == pytest.approx(5.0)
    assert float(kernel[0]) == pytest.approx(-0.6, rel=1e-5)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="unknown optimizer 'lamb'"):
        build_optimizer("lamb", 0.1)
