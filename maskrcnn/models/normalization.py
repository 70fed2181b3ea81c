"""Normalisation layers by name: group, batch, or frozen (fixed statistics and affine terms, PAPER §1.1).

Every part of the detector chooses its norm through `normalization`, so that the choice means the same everywhere.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from maskrcnn.errors import UserError
from maskrcnn.ops.replicas import replica_count

NORMS = ("none", "group", "batch", "frozen")
BATCH_MOMENTUM = 0.97
"""Short trainings see few batches: the running statistics must follow faster than Keras' 0.99 (PERFORMANCE §4.3)."""
MAX_GROUPS = 32
"""The group-normalisation paper's number; Detectron2's GN backbones have it at 64 channels and more."""
MIN_GROUPS = 8


@keras.saving.register_keras_serializable("maskrcnn")
class FrozenBatchNorm(keras.layers.Layer):
    """Batch normalisation whose statistics and affine terms never change: x · scale + shift for each channel.

    Call: [..., C] → [..., C], in training and inference alike. The four variables have the names and the order of
    Keras' `BatchNormalization` (gamma, beta, moving_mean, moving_variance), are float32 under every policy, and are
    not trainable even when the layer is.

    Args:
        epsilon: Added to the variance; 0 for torchvision's published v1 detectors (PAPER §1.4).
    """

    def __init__(self, *, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.gamma = self._vector("gamma", "ones", input_shape[-1])
        self.beta = self._vector("beta", "zeros", input_shape[-1])
        self.moving_mean = self._vector("moving_mean", "zeros", input_shape[-1])
        self.moving_variance = self._vector("moving_variance", "ones", input_shape[-1])

    def _vector(self, name: str, initializer: str, size: int | None) -> keras.Variable:
        return self.add_weight(
            shape=(size,), initializer=initializer, dtype="float32", trainable=False, autocast=False, name=name
        )

    def call(self, inputs: Any) -> Any:
        scale = self.gamma * ops.rsqrt(self.moving_variance + self.epsilon)
        shift = self.beta - self.moving_mean * scale
        return inputs * ops.cast(scale, inputs.dtype) + ops.cast(shift, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}


def normalization(
    norm: str, channels: int, *, epsilon: float = 1e-5, name: str, dtype: Any = None
) -> keras.layers.Layer | None:
    """The layer for `norm` over the last axis of `channels` entries; None for "none".

    `dtype` is its policy; None: Keras' global one.

    Raises:
        UserError: for a name that is not in `NORMS`, or channels that no group size divides.
    """
    if norm == "none":
        return None
    if norm == "group":
        return keras.layers.GroupNormalization(groups=group_count(channels), epsilon=epsilon, name=name, dtype=dtype)
    if norm == "batch":
        # On several devices the statistics are those of the whole batch.
        shared = replica_count() > 1
        return keras.layers.BatchNormalization(
            momentum=BATCH_MOMENTUM, epsilon=epsilon, synchronized=shared, name=name, dtype=dtype
        )
    if norm == "frozen":
        return FrozenBatchNorm(epsilon=epsilon, name=name, dtype=dtype)
    raise UserError(f"unknown norm {norm!r}", hint=f"choose one of {', '.join(NORMS)}")


def group_count(channels: int) -> int:
    """32 groups where each then has at least two channels, else 8."""
    if channels % MAX_GROUPS == 0 and channels >= 2 * MAX_GROUPS:
        return MAX_GROUPS
    if channels % MIN_GROUPS == 0:
        return MIN_GROUPS
    raise UserError(
        f"group normalisation of {channels} channels", hint=f"choose a multiple of {MIN_GROUPS} channels, or norm=batch"
    )
