"""The small network of the embedded data set: strides 4, 8 and 16 at half a million parameters (PERFORMANCE §4.2)."""

from __future__ import annotations

import keras

from maskrcnn.models.backbones.blocks import BlockStyle, basic_block, conv_norm, freeze_stages, relu
from maskrcnn.structures import BackboneSettings, Conventions

STEM_CHANNELS = (16, 32)
STAGE_CHANNELS = (32, 64, 128)


def build_small(settings: BackboneSettings, conventions: Conventions, name: str) -> keras.Model:
    """Two strided 3x3 convolutions, then one basic block for each of the strides 4, 8, 16: c2, c3, c4."""
    style = BlockStyle.of(settings, conventions)
    x = inputs = keras.Input((None, None, 3), name="images")
    for k, channels in enumerate(STEM_CHANNELS, start=1):
        x = conv_norm(x, channels, 3, stride=2, style=style, name="stem", tag=str(k))
        x = relu(x, f"stem_relu{k}")
    outputs = {}
    for stage, channels in enumerate(STAGE_CHANNELS, start=2):
        x = basic_block(x, channels, stride=1 if stage == 2 else 2, style=style, name=f"res{stage}_1")
        outputs[f"c{stage}"] = x
    model = keras.Model(inputs, outputs, name=name)
    freeze_stages(model, settings.frozen_stages)
    return model
