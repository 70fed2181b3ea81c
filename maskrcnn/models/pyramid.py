"""Feature pyramid network (FPN): lateral 1x1, nearest upsampling and sum, 3x3 on each merged map (PAPER §1.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from maskrcnn.errors import UserError
from maskrcnn.models.normalization import normalization
from maskrcnn.ops.forms import portable
from maskrcnn.structures import PyramidSettings


@keras.saving.register_keras_serializable("maskrcnn")
class FeaturePyramid(keras.layers.Layer):
    """Maps of one width from the backbone's maps.

    Call: {"c2": [B, H/4, W/4, C2], …} (or their list, finest first) → [P2, P3, …], each [B, H/s, W/s, channels].
    Where the backbone has more maps than `levels`, the finest are used. The top-down path carries the merged map
    before its 3x3, and upsampling is to the exact size of the lateral map.

    Sublayers, finest first: `laterals[i]`, `outputs_[i]` (Conv2D), `lateral_norms[i]`, `output_norms[i]` (identities
    for norm "none"). With a norm the convolutions have no bias.

    Raises:
        UserError: at building, where the backbone has fewer maps than `levels`.

    Source: FPN paper §3; initial weights as Detectron2 and torchvision (`kaiming_uniform a=1`, bias 0).
    """

    def __init__(self, settings: PyramidSettings, *, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.epsilon = epsilon
        levels = range(2, 2 + settings.levels)
        self.laterals = [self._conv(1, f"lateral{k}") for k in levels]
        self.outputs_ = [self._conv(3, f"output{k}") for k in levels]
        self.lateral_norms = [self._norm(f"lateral_norm{k}") for k in levels]
        self.output_norms = [self._norm(f"output_norm{k}") for k in levels]

    def _conv(self, size: int, name: str) -> keras.layers.Conv2D:
        return keras.layers.Conv2D(
            self.settings.channels,
            size,
            padding="same",
            use_bias=self.settings.norm == "none",
            kernel_initializer="lecun_uniform",  # Keras' name for Xavier-uniform over the inputs alone, as the sources
            name=name,
            dtype=self.dtype_policy,
        )

    def _norm(self, name: str) -> keras.layers.Layer:
        settings, policy = self.settings, self.dtype_policy
        norm = normalization(settings.norm, settings.channels, epsilon=self.epsilon, name=name, dtype=policy)
        return keras.layers.Identity(name=name, dtype=policy) if norm is None else norm

    def build(self, input_shape: Any) -> None:
        merged = (None, None, None, self.settings.channels)
        for k, shape in enumerate(_in_order(input_shape, self.settings.levels)):
            self.laterals[k].build(shape)
            self.lateral_norms[k].build(merged)
            self.outputs_[k].build(merged)
            self.output_norms[k].build(merged)

    def call(self, features: Mapping[str, Any] | Sequence[Any], training: bool = False) -> list[Any]:
        maps = _in_order(features, self.settings.levels)
        merged = [self._lateral(k, x, training) for k, x in enumerate(maps)]
        for k in reversed(range(len(merged) - 1)):
            merged[k] = merged[k] + upsample_to(merged[k + 1], merged[k])
        return [self._output(k, x, training) for k, x in enumerate(merged)]

    def _lateral(self, level: int, x: Any, training: bool) -> Any:
        return self.lateral_norms[level](self.laterals[level](x), training=training)

    def _output(self, level: int, x: Any, training: bool) -> Any:
        return self.output_norms[level](self.outputs_[level](x), training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "settings": dataclasses.asdict(self.settings), "epsilon": self.epsilon}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FeaturePyramid:
        return cls(PyramidSettings(**config.pop("settings")), **config)


def extra_level(last: Any) -> Any:
    """P6 for the RPN: every second pixel of the last map, [B, H, W, C] → [B, ceil(H/2), ceil(W/2), C]."""
    if portable():
        # OpenVINO takes the size of a strided slice for that of what it was cut from.
        return ops.max_pool(last, 1, strides=2, padding="valid", data_format="channels_last")
    return last[:, ::2, ::2]


def upsample_to(coarse: Any, fine: Any) -> Any:
    """[B, h, w, C] to the height and width of `fine`, 2h or 2h - 1: nearest neighbour, i → i // 2.

    For odd sizes that is torchvision's rule floor(i · h / H) too.
    """
    height, width = ops.shape(coarse)[1], ops.shape(coarse)[2]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # keras.ops.image.resize asks for sizes that are known before the graph runs.
        doubled = tf.image.resize(coarse, (2 * height, 2 * width), method="nearest")
    else:
        doubled = ops.image.resize(coarse, (2 * height, 2 * width), interpolation="nearest")
    return doubled[:, : ops.shape(fine)[1], : ops.shape(fine)[2]]


def _in_order(features: Any, levels: int) -> list[Any]:
    """The finest `levels` maps (or shapes), finest first, from {"c2": …} or a list."""
    maps = [features[key] for key in sorted(features)] if isinstance(features, Mapping) else list(features)
    if len(maps) < levels:
        raise UserError(
            f"a pyramid of {levels} levels needs as many maps, the backbone has {len(maps)}",
            where="pyramid.levels",
            hint=f"set pyramid.levels={len(maps)}",
        )
    return maps[:levels]
