"""Which detector a state dict belongs to, from its names and shapes alone.

Recognition looks at as few tensors as it can; that all others are there, fit and are used is the importer's check.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from maskrcnn.errors import UserError
from maskrcnn.models.backbones import RESNETS

Shapes = Mapping[str, tuple[int, ...]]
BODY = "backbone.body."
HEADS = "roi_heads."
DETECTRON2 = "proposal_generator.rpn_head."
MATTERPORT = "mrcnn_class_logits"


@dataclass(frozen=True)
class Architecture:
    """What decides the shape of a torchvision detector.

    Attributes:
        backbone: a name of our ResNets.
        num_classes: C, without background.
        channels: width of the pyramid.
        levels: number of maps of the pyramid, without the RPN's extra one.
        anchors_per_cell: rows of the RPN's objectness.
        rpn_convolutions, box_convolutions, mask_convolutions, keypoint_convolutions: 3x3 convolutions of each head.
        box_dense: widths of the box head's dense layers.
        mask_channels, keypoint_channels: widths of the heads; 0: there is no such head.
        num_keypoints: K; 0: no keypoint head.
        normed: the "v2" detectors, with batch norm in pyramid and heads.
    """

    backbone: str
    num_classes: int
    channels: int
    levels: int
    anchors_per_cell: int
    rpn_convolutions: int
    box_convolutions: int
    box_dense: tuple[int, ...]
    mask_convolutions: int
    mask_channels: int
    keypoint_convolutions: int
    keypoint_channels: int
    num_keypoints: int
    normed: bool


def recognise_source(names: Mapping[str, object]) -> str:
    """The code base that the names belong to: torchvision, detectron2 or matterport.

    Raises:
        UserError: when no known code base names its tensors so.
    """
    if any(name.startswith(BODY) for name in names) and any(name.startswith(HEADS) for name in names):
        return "torchvision"
    if any(name.startswith(DETECTRON2) for name in names):
        return "detectron2"
    if any(MATTERPORT in name.split("/") for name in names):
        return "matterport"
    first = ", ".join(sorted(names)[:3]) or "nothing"
    raise UserError(
        f"not the names of a detector that can be imported (first names: {first})",
        where="weights",
        hint="known sources: torchvision (backbone.body.…, rpn.head.…, roi_heads.…), "
        "detectron2 (backbone.…, proposal_generator.rpn_head.…, roi_heads.…), matterport (…/mrcnn_class_logits/…)",
    )


def recognise_torchvision(shapes: Shapes) -> Architecture:
    """The architecture of a torchvision detector with a ResNet-FPN, from shapes under today's names.

    Raises:
        UserError: when a tensor that decides the architecture is missing, or the backbone is none that we have.
    """
    box_convolutions = count_names(shapes, HEADS + r"box_head\.(\d+)\.0\.weight")
    mask = count_names(shapes, HEADS + r"mask_head\.(\d+)\.0\.weight")
    keypoint = count_names(shapes, HEADS + r"keypoint_head\.(\d+)\.weight")
    return Architecture(
        backbone=_recognise_resnet(shapes),
        num_classes=shape_of(shapes, HEADS + "box_predictor.cls_score.weight", 2)[0] - 1,
        channels=shape_of(shapes, "backbone.fpn.inner_blocks.0.0.weight", 4)[0],
        levels=count_names(shapes, r"backbone\.fpn\.inner_blocks\.(\d+)\.0\.weight"),
        anchors_per_cell=shape_of(shapes, "rpn.head.cls_logits.weight", 4)[0],
        rpn_convolutions=count_names(shapes, r"rpn\.head\.conv\.(\d+)\.0\.weight"),
        box_convolutions=box_convolutions,
        box_dense=tuple(shape_of(shapes, name, 2)[0] for name in box_dense_names(box_convolutions)),
        mask_convolutions=mask,
        mask_channels=shape_of(shapes, HEADS + "mask_head.0.0.weight", 4)[0] if mask else 0,
        keypoint_convolutions=keypoint,
        keypoint_channels=shape_of(shapes, HEADS + "keypoint_head.0.weight", 4)[0] if keypoint else 0,
        num_keypoints=_num_keypoints(shapes) if keypoint else 0,
        normed="backbone.fpn.inner_blocks.0.1.weight" in shapes,
    )


def box_dense_names(box_convolutions: int) -> tuple[str, ...]:
    """Weights of the box head's dense layers: fc6, fc7 in v1; one behind the convolutions and a flatten in v2."""
    if box_convolutions:
        return (f"{HEADS}box_head.{box_convolutions + 1}.weight",)
    return (HEADS + "box_head.fc6.weight", HEADS + "box_head.fc7.weight")


def _num_keypoints(shapes: Shapes) -> int:
    return shape_of(shapes, HEADS + "keypoint_predictor.kps_score_lowres.weight", 4)[1]


def _recognise_resnet(shapes: Shapes) -> str:
    blocks = tuple(count_names(shapes, BODY + rf"layer{k}\.(\d+)\.conv1\.weight") for k in range(1, 5))
    bottleneck = BODY + "layer1.0.conv3.weight" in shapes
    width, per_group = shape_of(shapes, BODY + "layer1.0.conv2.weight", 4)[:2]
    for name, variant in RESNETS.items():
        groups = width // max(per_group, 1)
        same_width = groups == variant.groups and (width == variant.width(2) or not variant.bottleneck)
        if (blocks, bottleneck) == (variant.blocks, variant.bottleneck) and same_width:
            return name
    raise UserError(
        f"unknown ResNet of {blocks} blocks whose 3x3 has width {width} and {per_group} inputs per group",
        where=BODY + "layer1.0.conv2.weight",
        hint=f"known: {', '.join(RESNETS)}",
    )


def count_names(shapes: Shapes, pattern: str) -> int:
    """How many tensors have names that match."""
    return sum(re.fullmatch(pattern, name) is not None for name in shapes)


def shape_of(shapes: Shapes, name: str, rank: int) -> tuple[int, ...]:
    """The shape of a tensor that decides the architecture.

    Raises:
        UserError: where it is missing or has another number of axes.
    """
    if name not in shapes:
        raise UserError("missing: it decides the architecture", where=name, hint="give the whole state dict")
    if len(shapes[name]) != rank:
        raise UserError(f"has shape {shapes[name]}, expected {rank} axes", where=name)
    return shapes[name]
