"""Convolution, normalisation and residual blocks that the ResNet family and the small network share.

Strided convolutions pad both sides alike and explicitly: TensorFlow's SAME pads (0, 1) at even sizes and shifts the
features of weights trained elsewhere by up to a pixel (PAPER §5.1, §6 row 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from maskrcnn.models.normalization import normalization
from maskrcnn.structures import BackboneSettings, Conventions

HE = "he_normal"


@dataclass(frozen=True)
class BlockStyle:
    """What all blocks of one backbone have in common."""

    norm: str
    epsilon: float
    symmetric_padding: bool
    stride_in_1x1: bool

    @classmethod
    def of(cls, settings: BackboneSettings, conventions: Conventions) -> BlockStyle:
        return cls(settings.norm, conventions.bn_epsilon, conventions.symmetric_padding, conventions.stride_in_1x1)


def conv_norm(
    x: Any,
    channels: int,
    size: int,
    *,
    style: BlockStyle,
    name: str,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    tag: str = "",
) -> Any:
    """[B, H, W, C] → [B, ceil(H/stride), ceil(W/stride), channels]: convolution without bias, then the norm.

    The layers are called `{name}_conv{tag}` and `{name}_norm{tag}`. One of stride and dilation is 1.
    """
    conv = f"{name}_conv{tag}"
    explicit = stride > 1 and size > 1 and style.symmetric_padding
    if explicit:
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{conv}_pad")(x)
    x = keras.layers.Conv2D(
        channels,
        size,
        strides=stride,
        padding="valid" if explicit else "same",
        groups=groups,
        dilation_rate=dilation,
        use_bias=False,
        kernel_initializer=HE,
        name=conv,
    )(x)
    norm = normalization(style.norm, channels, epsilon=style.epsilon, name=f"{name}_norm{tag}")
    return x if norm is None else norm(x)


def relu(x: Any, name: str) -> Any:
    return keras.layers.ReLU(name=name)(x)


def stem_pool(x: Any, *, style: BlockStyle, name: str) -> Any:
    """3x3 max-pool of stride 2: [B, H, W, C] → [B, ceil(H/2), ceil(W/2), C].

    Zeros around the map are as good as minus infinity, since a ReLU comes before.
    """
    if style.symmetric_padding:
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    padding = "valid" if style.symmetric_padding else "same"
    return keras.layers.MaxPooling2D(3, strides=2, padding=padding, name=name)(x)


def basic_block(x: Any, channels: int, *, stride: int, style: BlockStyle, name: str) -> Any:
    """Two 3x3 convolutions beside a shortcut (ResNet-18 and -34, and the small network)."""
    shortcut = _shortcut(x, channels, stride=stride, style=style, name=name)
    y = conv_norm(x, channels, 3, stride=stride, style=style, name=name, tag="1")
    y = relu(y, f"{name}_relu1")
    y = conv_norm(y, channels, 3, style=style, name=name, tag="2")
    return relu(keras.layers.Add(name=f"{name}_add")([shortcut, y]), f"{name}_out")


def bottleneck_block(
    x: Any, width: int, channels: int, *, groups: int, stride: int, style: BlockStyle, name: str, dilation: int = 1
) -> Any:
    """1x1 to `width`, 3x3 in `groups`, 1x1 to `channels`, beside a shortcut; the stride is in one of the first two.

    `dilation` is that of the 3x3.
    """
    first, second = (stride, 1) if style.stride_in_1x1 else (1, stride)
    shortcut = _shortcut(x, channels, stride=stride, style=style, name=name)
    y = conv_norm(x, width, 1, stride=first, style=style, name=name, tag="1")
    y = relu(y, f"{name}_relu1")
    y = conv_norm(y, width, 3, stride=second, groups=groups, dilation=dilation, style=style, name=name, tag="2")
    y = relu(y, f"{name}_relu2")
    y = conv_norm(y, channels, 1, style=style, name=name, tag="3")
    return relu(keras.layers.Add(name=f"{name}_add")([shortcut, y]), f"{name}_out")


def _shortcut(x: Any, channels: int, *, stride: int, style: BlockStyle, name: str) -> Any:
    """The input itself, or a 1x1 projection where its shape is not the block's."""
    if stride == 1 and x.shape[-1] == channels:
        return x
    return conv_norm(x, channels, 1, stride=stride, style=style, name=f"{name}_shortcut")


def freeze_stages(model: keras.Model, frozen_stages: int) -> None:
    """Set the layers of the first stages not trainable: 1 the stem, 2 stem and res2, …

    A frozen Keras `BatchNormalization` then also keeps its statistics.
    """
    prefixes = ("stem_", *(f"res{stage}_" for stage in range(2, 6)))[:frozen_stages]
    for layer in model.layers:
        if layer.name.startswith(prefixes):
            layer.trainable = False
