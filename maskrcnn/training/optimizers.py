"""Keras' optimizers, with the norm of each step's gradient kept so that a broken one is seen (FACTS 4.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
from keras import ops

from maskrcnn.ops.replicas import total
from maskrcnn.training.orthogonal import orthogonalize

UNDECAYED = ("bias", "gamma", "beta")
"""Names of variables without weight decay: biases and norms (PAPER §1.3)."""


class GradientNorm:
    """Mixed into an optimizer: keeps the global norm of the last gradients, before clipping, in `gradient_norm`."""

    def build(self, variables: list[keras.Variable]) -> None:
        super().build(variables)  # type: ignore[misc]
        if not hasattr(self, "gradient_norm"):
            self.gradient_norm = self.add_variable(  # type: ignore[attr-defined]
                (), "zeros", dtype="float32", aggregation="only_first_replica", name="gradient_norm"
            )

    def apply(self, grads: list[Any], trainable_variables: list[keras.Variable] | None = None) -> None:
        # Keras sums over replicas after clipping, and would clip each one's part by itself.
        summed = iter(total([g for g in grads if g is not None]))
        grads = [None if g is None else next(summed) for g in grads]
        variables = trainable_variables if trainable_variables is not None else self._trainable_variables  # type: ignore[attr-defined]
        if trainable_variables is not None and not self.built:  # type: ignore[has-type]
            self.build(trainable_variables)
            self.built = True
        with _once_known(grads):
            grads = self.regularized(grads, variables)
            squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g in grads if g is not None]
            self.gradient_norm.assign(ops.sqrt(sum(squares)))
            super().apply(grads, trainable_variables)  # type: ignore[misc]

    def regularized(self, grads: list[Any], variables: list[keras.Variable]) -> list[Any]:
        """The gradients of the whole batch with what an optimizer adds to them."""
        return grads

    def _all_reduce_sum_gradients(self, grads_and_vars: list[Any]) -> list[Any]:
        """Nothing: `apply` has summed over the replicas."""
        return list(grads_and_vars)

    def finalize_variable_values(self, var_list: list[keras.Variable]) -> None:
        """Nothing: Keras would put the moving average in place of the weights after every `fit`, of which one
        training has several (`checkpoints.averaged_weights` does it for evaluations)."""


def _once_known(grads: list[Any]) -> AbstractContextManager[Any]:
    """A context whose operations wait for all gradients.

    TensorFlow starts at once what needs no gradient: products of the weights (their decay) and of an optimizer's
    moments would lie in memory beside all activations, two or more times the size of the weights.
    """
    if keras.backend.backend() != "tensorflow":
        return nullcontext()
    import tensorflow as tf

    return tf.control_dependencies([g for g in grads if g is not None])


class RateFactors:
    """Mixed into an optimizer: `rate_factors` multiplies the learning rate of the variables whose paths it names.

    Decoupled weight decay keeps the full rate.
    """

    def __init__(self, *args: Any, rate_factors: Mapping[str, float] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rate_factors = dict(rate_factors or {})

    def build(self, variables: list[keras.Variable]) -> None:
        super().build(variables)  # type: ignore[misc]
        self._factors = [self.rate_factors.get(variable.path, 1.0) for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        factor = self._factors[self._get_variable_index(variable)]  # type: ignore[attr-defined]
        super().update_step(gradient, variable, learning_rate if factor == 1 else learning_rate * factor)  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate_factors": dict(self.rate_factors)}  # type: ignore[misc]


@keras.saving.register_keras_serializable("maskrcnn")
class AdamW(GradientNorm, RateFactors, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with the gradient's norm."""


OUTPUT_LAYERS = r"(^|/)(class_logits|box_deltas|objectness|deltas|logits|keypoint_logits)/"
"""Variables that Muon leaves to AdamW: a network's last layers (as K. Jordan's description of Muon asks)."""


@keras.saving.register_keras_serializable("maskrcnn")
class Muon(GradientNorm, RateFactors, keras.optimizers.Muon):
    """`keras.optimizers.Muon`, which takes matrices alone, for convolutions too: a kernel [h, w, in, out] is the matrix
    [h·w·in, out]. Biases, norms, depthwise kernels and output layers are updated as by AdamW.

    Source: K. Jordan et al., «Muon: An optimizer for hidden layers in neural networks», 2024; the update's scale, which
    lets AdamW's learning rate stand: J. Liu et al., «Muon is Scalable for LLM Training», 2025 (arXiv:2502.16982).
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        is_matrix = len(variable.shape) in (2, 4) and min(variable.shape[-2:]) > 1
        return not is_matrix or any(re.search(pattern, variable.path) for pattern in self.exclude_layers)

    def _muon_update_step(self, gradient: Any, variable: keras.Variable, lr: Any, m: keras.Variable) -> None:
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        ahead = ops.add(gradient, self.momentum * m) if self.nesterov else m
        matrix = ops.reshape(ahead, (-1, variable.shape[-1]))
        update = self.lr_adjust(lr * orthogonalize(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(update, variable.shape))


@keras.saving.register_keras_serializable("maskrcnn")
class SGD(GradientNorm, RateFactors, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with the gradient's norm, and L2 in the gradient as the paper's SGD has it.

    Keras' own `weight_decay` acts on the weights beside the gradient: with a momentum of 0.9 that is a tenth of the
    paper's decay.
    """

    def __init__(self, *args: Any, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.l2 = l2

    def regularized(self, grads: list[Any], variables: list[keras.Variable]) -> list[Any]:
        return [_with_decay(g, v, self.l2) for g, v in zip(grads, variables)] if self.l2 else grads

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l2": self.l2}


def _with_decay(gradient: Any, variable: keras.Variable, l2: float) -> Any:
    if gradient is None or any(name in variable.name for name in UNDECAYED):
        return gradient
    return gradient + l2 * ops.cast(variable, gradient.dtype)


def build_optimizer(
    name: str,
    learning_rate: Any,
    *,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    global_clipnorm: float | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    rate_factors: Mapping[str, float] | None = None,
) -> keras.optimizers.Optimizer:
    """The optimizer `name` (adamw | muon | sgd); biases and norms do not decay.

    Args:
        learning_rate: a number or a schedule.
        accumulate: steps whose gradients are averaged into one update.
        ema: momentum of the moving average of the weights; None: none.
        rate_factors: by path of a variable, what multiplies its learning rate; the others keep the full one.

    SGD's weight decay is L2 in the gradient (the paper's), that of AdamW and Muon is decoupled.
    """
    options: dict[str, Any] = {
        "global_clipnorm": global_clipnorm,
        "gradient_accumulation_steps": accumulate if accumulate > 1 else None,
        "use_ema": ema is not None,
        "ema_momentum": ema if ema is not None else 0.99,
        "rate_factors": rate_factors,
    }
    if name == "adamw":
        optimizer = AdamW(learning_rate, weight_decay=weight_decay, **options)
        optimizer.exclude_from_weight_decay(var_names=list(UNDECAYED))
        return optimizer
    if name == "muon":
        optimizer = Muon(
            learning_rate,
            weight_decay=weight_decay,
            adam_weight_decay=weight_decay,
            exclude_layers=[OUTPUT_LAYERS],
            **options,
        )
        optimizer.exclude_from_weight_decay(var_names=list(UNDECAYED))
        return optimizer
    if name == "sgd":
        return SGD(learning_rate, momentum=momentum, l2=weight_decay, **options)
    raise ValueError(f"unknown optimizer {name!r}")
