"""ResNet-18 … -152 and ResNeXt, with the stride in the 1x1 or the 3x3 by convention (PAPER §1.1).

Layers are called `res{stage}_{block}_conv{k}`, stages counted from 2 as in the paper, blocks from 1;
`maskrcnn.weights` maps foreign names to these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from maskrcnn.models.backbones.blocks import (
    BlockStyle,
    basic_block,
    bottleneck_block,
    conv_norm,
    freeze_stages,
    relu,
    stem_pool,
)
from maskrcnn.structures import BackboneSettings, Conventions

STEM_CHANNELS = 64


@dataclass(frozen=True)
class ResNetVariant:
    """Blocks of each stage, and the width of the bottlenecks: `groups` of `group_width` channels in res2."""

    blocks: tuple[int, int, int, int]
    bottleneck: bool = True
    groups: int = 1
    group_width: int = 64

    def width(self, stage: int) -> int:
        """Channels of the 3x3 convolutions of a stage (2…5)."""
        return self.groups * self.group_width * 2 ** (stage - 2)

    def channels(self, stage: int) -> int:
        """Channels of the output of a stage (2…5): 256, 512, 1024, 2048, or 64 … 512 for basic blocks."""
        return (256 if self.bottleneck else 64) * 2 ** (stage - 2)


RESNETS: dict[str, ResNetVariant] = {
    "resnet18": ResNetVariant((2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNetVariant((3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNetVariant((3, 4, 6, 3)),
    "resnet101": ResNetVariant((3, 4, 23, 3)),
    "resnet152": ResNetVariant((3, 8, 36, 3)),
    "resnext50_32x4d": ResNetVariant((3, 4, 6, 3), groups=32, group_width=4),
    "resnext101_32x8d": ResNetVariant((3, 4, 23, 3), groups=32, group_width=8),
    "resnext101_64x4d": ResNetVariant((3, 4, 23, 3), groups=64, group_width=4),
}


LAST_STAGE = {"fpn": 5, "c4": 4, "dc5": 5}
"""The last stage of the backbone under each neck."""
RES5_CHANNELS = 1024
"""Of the map that res5 reads, in all ResNets of bottlenecks."""


def build_resnet(settings: BackboneSettings, conventions: Conventions, name: str) -> keras.Model:
    """The network of `settings.name` without its classifier: [B, H, W, 3] → {"c2", "c3", "c4", "c5"}.

    Under the neck c4 the maps end with c4; under dc5 c5 has the stride of c4.
    """
    variant = RESNETS[settings.name]
    style = BlockStyle.of(settings, conventions)
    inputs = keras.Input((None, None, 3), name="images")
    x = conv_norm(inputs, STEM_CHANNELS, 7, stride=2, style=style, name="stem")
    x = stem_pool(relu(x, "stem_relu"), style=style, name="stem_pool")
    outputs = {}
    for stage in range(2, LAST_STAGE[settings.neck] + 1):
        dilation = 2 if stage == 5 and settings.neck == "dc5" else 1
        x = outputs[f"c{stage}"] = _stage(x, variant, stage, style, dilation)
    model = keras.Model(inputs, outputs, name=name)
    freeze_stages(model, settings.frozen_stages)
    return model


def build_res5(settings: BackboneSettings, conventions: Conventions, name: str = "res5_head") -> keras.Model:
    """res5 of `settings.name` as the head of each RoI (neck c4): [R, s, s, 1024] → [R, ceil(s/2), ceil(s/2), 2048].

    Layers are called as in a whole backbone. Source: PAPER §1.2, `C4`; Detectron2's Res5ROIHeads.
    """
    inputs = keras.Input((None, None, RES5_CHANNELS), name="pooled")
    outputs = _stage(inputs, RESNETS[settings.name], 5, BlockStyle.of(settings, conventions))
    return keras.Model(inputs, outputs, name=name)


def _stage(x: Any, variant: ResNetVariant, stage: int, style: BlockStyle, dilation: int = 1) -> Any:
    """The blocks of a stage; the first halves the map, unless the stage is res2 or is dilated instead."""
    for block in range(1, variant.blocks[stage - 2] + 1):
        stride = 2 if block == 1 and stage > 2 and dilation == 1 else 1
        name = f"res{stage}_{block}"
        if variant.bottleneck:
            x = bottleneck_block(
                x,
                variant.width(stage),
                variant.channels(stage),
                groups=variant.groups,
                stride=stride,
                dilation=dilation,
                style=style,
                name=name,
            )
        else:
            x = basic_block(x, variant.channels(stage), stride=stride, style=style, name=name)
    return x
