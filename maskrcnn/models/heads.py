"""What the second stage computes on RoI features: box, mask and keypoint heads (PAPER §1.2). They know
only features.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from maskrcnn.models.normalization import normalization
from maskrcnn.structures import BoxHeadSettings, Conventions, KeypointHeadSettings, MaskHeadSettings

Tensor = Any


class _ConvolutionStack(keras.layers.Layer):
    """3x3 convolutions with ReLU, optionally normalised in between."""

    def _make_stack(
        self, in_channels: int, channels: int, convolutions: int, norm: str, conventions: Conventions
    ) -> None:
        self.convs, self.norms = [], []
        for i in range(convolutions):
            conv = keras.layers.Conv2D(
                channels,
                3,
                padding="same",
                use_bias=norm == "none",
                kernel_initializer=msra_fan_out(),
                name=f"conv{i}",
            )
            conv.build((None, None, None, in_channels if i == 0 else channels))
            self.convs.append(conv)
            layer = normalization(norm, channels, epsilon=conventions.bn_epsilon, name=f"norm{i}")
            if layer is not None:
                layer.build((None, None, None, channels))
                self.norms.append(layer)

    def _run_stack(self, hidden: Tensor, training: bool) -> Tensor:
        for i, conv in enumerate(self.convs):
            hidden = conv(hidden)
            if self.norms:
                hidden = self.norms[i](hidden, training=training)
            hidden = ops.relu(hidden)
        return hidden


def msra_fan_out() -> keras.initializers.Initializer:
    """Kaiming normal over the fan out, as Detectron2 fills its head convolutions."""
    return keras.initializers.VarianceScaling(scale=2.0, mode="fan_out", distribution="untruncated_normal")


@keras.saving.register_keras_serializable("maskrcnn")
class BoxHead(_ConvolutionStack):
    """Class logits and box deltas of each RoI.

    Call: [R, pool, pool, channels] -> (logits [R, C + 1], deltas [R, C, 4] or [R, 1, 4] if class-agnostic).
    """

    def __init__(
        self, settings: BoxHeadSettings, conventions: Conventions, *, in_channels: int, num_classes: int, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.settings, self.num_classes = settings, num_classes
        width = settings.convolution_channels if settings.convolutions else in_channels
        self._make_stack(in_channels, settings.convolution_channels, settings.convolutions, settings.norm, conventions)
        self.dense = []
        features = width * settings.pool_size**2
        for i in range(settings.fully_connected):
            layer = keras.layers.Dense(settings.channels, activation="relu", name=f"dense{i}")
            layer.build((None, features))
            features = settings.channels
            self.dense.append(layer)
        self.class_logits = keras.layers.Dense(num_classes + 1, kernel_initializer=_normal(0.01), name="class_logits")
        self.class_logits.build((None, features))
        boxes = 1 if settings.class_agnostic else num_classes
        self.box_deltas = keras.layers.Dense(4 * boxes, kernel_initializer=_normal(0.001), name="box_deltas")
        self.box_deltas.build((None, features))
        self.built = True

    def hidden(self, pooled: Tensor, training: bool = False) -> Tensor:
        """[R, features] before the two output layers."""
        hidden = self._run_stack(pooled, training)
        hidden = ops.reshape(hidden, (ops.shape(hidden)[0], hidden.shape[1] * hidden.shape[2] * hidden.shape[3]))
        for layer in self.dense:
            hidden = layer(hidden)
        return hidden

    def call(self, pooled: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        hidden = self.hidden(pooled, training)
        deltas = ops.cast(self.box_deltas(hidden), "float32")
        return ops.cast(self.class_logits(hidden), "float32"), ops.reshape(deltas, (-1, deltas.shape[-1] // 4, 4))


@keras.saving.register_keras_serializable("maskrcnn")
class MaskHead(_ConvolutionStack):
    """One mask logit map for each class (or one in all): [R, pool, pool, channels] -> [R, 2 pool, 2 pool, C or 1]."""

    def __init__(
        self, settings: MaskHeadSettings, conventions: Conventions, *, in_channels: int, num_classes: int, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.settings = settings
        self._make_stack(in_channels, settings.channels, settings.convolutions, settings.norm, conventions)
        width = settings.channels if settings.convolutions else in_channels
        self.deconv = keras.layers.Conv2DTranspose(
            settings.channels, 2, strides=2, activation="relu", kernel_initializer=msra_fan_out(), name="deconv"
        )
        self.deconv.build((None, None, None, width))
        last = _normal(settings.predictor_std) if settings.predictor_std > 0 else msra_fan_out()
        outputs = 1 if settings.class_agnostic else num_classes
        self.logits = keras.layers.Conv2D(outputs, 1, kernel_initializer=last, name="logits")
        self.logits.build((None, None, None, settings.channels))
        self.built = True

    def call(self, pooled: Tensor, training: bool = False) -> Tensor:
        hidden = self._run_stack(pooled, training)
        return ops.cast(self.logits(self.deconv(hidden)), "float32")

    def own_logits(self, pooled: Tensor, labels: Tensor, training: bool = False) -> Tensor:
        """Logits [R, 2 pool, 2 pool] of the class of each row alone (labels [R] from 1; the first map below 1).

        What `call` gives at that class. Neither the maps of the other classes, 80 times as many numbers, nor their
        gradient is computed; the deconvolution, whose patches do not overlap, is a matrix product.
        """
        hidden = self._run_stack(pooled, training)
        side, width = hidden.shape[1], self.settings.channels
        kernel = ops.cast(ops.transpose(self.deconv.kernel, (3, 0, 1, 2)), hidden.dtype)  # [in, 2, 2, out]
        bias = ops.cast(ops.tile(self.deconv.bias, 4), hidden.dtype)
        patches = ops.matmul(ops.reshape(hidden, (-1, hidden.shape[3])), ops.reshape(kernel, (-1, 4 * width)))
        cells = ops.reshape(ops.relu(patches + bias), (-1, side * side * 4, width))
        rows = ops.zeros_like(labels) if self.settings.class_agnostic else ops.maximum(labels - 1, 0)
        weights = ops.take(ops.transpose(self.logits.kernel[0, 0]), rows, axis=0)
        values = ops.matmul(cells, ops.cast(weights, hidden.dtype)[:, :, None])[..., 0]
        values = ops.cast(values, "float32") + ops.cast(ops.take(self.logits.bias, rows), "float32")[:, None]
        patches = ops.transpose(ops.reshape(values, (-1, side, side, 2, 2)), (0, 1, 3, 2, 4))
        return ops.reshape(patches, (-1, 2 * side, 2 * side))


@keras.saving.register_keras_serializable("maskrcnn")
class KeypointHead(_ConvolutionStack):
    """One map of logits for each joint: [R, pool, pool, channels] -> [R, m, m, K], m = 2 · pool · upsample."""

    def __init__(
        self,
        settings: KeypointHeadSettings,
        conventions: Conventions,
        *,
        in_channels: int,
        num_keypoints: int,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.settings = settings
        self._make_stack(in_channels, settings.channels, settings.convolutions, "none", conventions)
        self.deconv = keras.layers.Conv2DTranspose(
            num_keypoints, 4, strides=2, padding="same", kernel_initializer=msra_fan_out(), name="keypoint_logits"
        )
        self.deconv.build((None, None, None, settings.channels if settings.convolutions else in_channels))
        self.built = True

    def call(self, pooled: Tensor, training: bool = False) -> Tensor:
        maps = ops.cast(self.deconv(self._run_stack(pooled, training)), "float32")
        if self.settings.upsample == 1:
            return maps
        side = maps.shape[1] * self.settings.upsample
        return ops.image.resize(maps, (side, side), interpolation="bilinear", data_format="channels_last")


def _normal(std: float) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=std)
