"""A published detector that tests can afford: torchvision's names, its ResNet-18, narrow heads."""

from __future__ import annotations

import numpy as np

from maskrcnn.models.backbones import RESNETS

CLASSES, CHANNELS, HIDDEN = 4, 8, 16
"""With background; width of pyramid and mask head; width of the box head."""


def shapes(classes: int = CLASSES) -> dict[str, tuple[int, ...]]:
    """A Mask R-CNN with torchvision's ResNet-18 and narrow heads (names and order of axes: PAPER §5.2)."""
    found: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *weight: int, bias: int = 0) -> None:
        found[f"{name}.weight"] = weight
        if bias:
            found[f"{name}.bias"] = (bias,)

    def conv_norm(conv: str, norm: str, *weight: int) -> None:
        layer(f"backbone.body.{conv}", *weight)
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"backbone.body.{norm}.{part}"] = (weight[0],)

    conv_norm("conv1", "bn1", 64, 3, 7, 7)
    inputs = 64
    for stage in range(1, 5):
        width = 32 * 2**stage
        for block in range(RESNETS["resnet18"].blocks[stage - 1]):
            place = f"layer{stage}.{block}"
            conv_norm(f"{place}.conv1", f"{place}.bn1", width, inputs, 3, 3)
            conv_norm(f"{place}.conv2", f"{place}.bn2", width, width, 3, 3)
            if inputs != width:
                conv_norm(f"{place}.downsample.0", f"{place}.downsample.1", width, inputs, 1, 1)
            inputs = width
        layer(f"backbone.fpn.inner_blocks.{stage - 1}.0", CHANNELS, width, 1, 1, bias=CHANNELS)
        layer(f"backbone.fpn.layer_blocks.{stage - 1}.0", CHANNELS, CHANNELS, 3, 3, bias=CHANNELS)
        layer(f"roi_heads.mask_head.{stage - 1}.0", CHANNELS, CHANNELS, 3, 3, bias=CHANNELS)
    layer("rpn.head.conv.0.0", CHANNELS, CHANNELS, 3, 3, bias=CHANNELS)
    layer("rpn.head.cls_logits", 3, CHANNELS, 1, 1, bias=3)
    layer("rpn.head.bbox_pred", 12, CHANNELS, 1, 1, bias=12)
    layer("roi_heads.box_head.fc6", HIDDEN, CHANNELS * 49, bias=HIDDEN)
    layer("roi_heads.box_head.fc7", HIDDEN, HIDDEN, bias=HIDDEN)
    layer("roi_heads.box_predictor.cls_score", classes, HIDDEN, bias=classes)
    layer("roi_heads.box_predictor.bbox_pred", 4 * classes, HIDDEN, bias=4 * classes)
    layer("roi_heads.mask_predictor.conv5_mask", CHANNELS, CHANNELS, 2, 2, bias=CHANNELS)
    layer("roi_heads.mask_predictor.mask_fcn_logits", classes, CHANNELS, 1, 1, bias=classes)
    return found


def state(classes: int = CLASSES) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.uniform(0.01, 0.02, shape).astype("float32") for name, shape in shapes(classes).items()}
