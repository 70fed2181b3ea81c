"""Losses on data that do not train: the same terms, the norms in inference mode, no weight touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from maskrcnn.training.adapter import Batch, BatchSource, stream


def validation_losses(losses_of: Callable[[Batch], dict[str, float]], source: BatchSource) -> dict[str, float]:
    """Means of each term over one pass of `source` (batches of equal size count alike)."""
    sums: dict[str, float] = {}
    for batch in stream(source, 0, source.steps_per_epoch):
        for name, value in losses_of(batch).items():
            sums[name] = sums.get(name, 0.0) + value
    return {name: total / max(source.steps_per_epoch, 1) for name, total in sums.items()}


def compiled_losses(model: keras.Model) -> Callable[[Batch], dict[str, float]]:
    """`model.loss_terms` compiled once for all batches of `fit`'s shapes, as NumPy numbers."""
    compiled = _tensorflow(model) if keras.backend.backend() == "tensorflow" else _jax(model)
    return lambda batch: {name: float(np.asarray(value)) for name, value in compiled(batch).items()}


def _tensorflow(model: keras.Model) -> Callable[[Batch], Any]:
    import tensorflow as tf

    return tf.function(model.loss_terms, autograph=False, reduce_retracing=True)


def _jax(model: keras.Model) -> Callable[[Batch], Any]:
    import jax

    def terms(trainable: list[Any], other: list[Any], batch: Batch) -> Any:
        mapping = [*zip(model.trainable_variables, trainable), *zip(model.non_trainable_variables, other)]
        with keras.StatelessScope(state_mapping=mapping):
            return model.loss_terms(batch)

    compiled = jax.jit(terms)

    def run(batch: Batch) -> Any:
        trainable = [v.value for v in model.trainable_variables]
        return compiled(trainable, [v.value for v in model.non_trainable_variables], batch)

    return run
