"""Detectron2's names: which of its tensors goes into which of our variables (PAPER §5.1, §5.3).

Classes have the foreground's rows first and the background's last, in the class layer alone; every rule is judged by
the sets in `golden/parity_d2`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from maskrcnn.models.backbones import RESNETS
from maskrcnn.models.detector import Detector
from maskrcnn.weights.detectron2_architecture import RPN, Detectron2Architecture
from maskrcnn.weights.layout import dense, dense_after_map, transposed_convolution
from maskrcnn.weights.recognise import HEADS
from maskrcnn.weights.rules import Rule, convolution_rules, layer_rules, norm_rules

GetLayer = Callable[[str], Any]


def rules(detector: Detector, architecture: Detectron2Architecture) -> Iterator[Rule]:
    """Which tensor fills which variable of the detector, and how it is laid out."""
    last = 4 if architecture.neck == "c4" else 5
    yield from stem_rules(detector.backbone.get_layer, architecture.body)
    for stage in range(2, last + 1):
        yield from stage_rules(detector.backbone.get_layer, architecture.backbone, stage, architecture.body)
    if detector.res5_head is not None:
        yield from stage_rules(detector.res5_head.get_layer, architecture.backbone, 5, HEADS)
    if detector.pyramid is not None:
        yield from _pyramid_rules(detector.pyramid)
    yield from _rpn_rules(detector.rpn_head)
    yield from _box_rules(detector.box_head, architecture)
    if detector.mask_head is not None:
        yield from _mask_rules(detector.mask_head)
    if detector.keypoint_head is not None:
        yield from _keypoint_rules(detector.keypoint_head)


def stem_rules(get_layer: GetLayer, prefix: str) -> Iterator[Rule]:
    """The first convolution and its norm, of the network whose layers `get_layer` gives by name."""
    yield from convolution_rules(get_layer("stem_conv"), f"{prefix}stem.conv1")
    yield from norm_rules(get_layer("stem_norm"), f"{prefix}stem.conv1.norm")


def stage_rules(get_layer: GetLayer, name: str, stage: int, prefix: str) -> Iterator[Rule]:
    """The blocks of a stage (2…5) of the ResNet that is called `name` here."""
    variant = RESNETS[name]
    for block in range(1, variant.blocks[stage - 2] + 1):
        ours, theirs = f"res{stage}_{block}", f"{prefix}res{stage}.{block - 1}"
        numbers = range(1, 4 if variant.bottleneck else 3)
        places = {f"{theirs}.conv{k}": (f"{ours}_conv{k}", f"{ours}_norm{k}") for k in numbers}
        if block == 1 and (stage > 2 or variant.bottleneck):
            places[f"{theirs}.shortcut"] = (f"{ours}_shortcut_conv", f"{ours}_shortcut_norm")
        for source, (conv, norm) in places.items():
            yield from convolution_rules(get_layer(conv), source)
            yield from norm_rules(get_layer(norm), f"{source}.norm")


def _pyramid_rules(pyramid: Any) -> Iterator[Rule]:
    for k, (lateral, output) in enumerate(zip(pyramid.laterals, pyramid.outputs_, strict=True), start=2):
        yield from convolution_rules(lateral, f"backbone.fpn_lateral{k}")
        yield from convolution_rules(output, f"backbone.fpn_output{k}")


def _rpn_rules(head: Any) -> Iterator[Rule]:
    yield from convolution_rules(head.convs[0], RPN + "conv")
    yield from convolution_rules(head.objectness, RPN + "objectness_logits")
    yield from convolution_rules(head.deltas, RPN + "anchor_deltas")


def _box_rules(head: Any, architecture: Detectron2Architecture) -> Iterator[Rule]:
    for k, layer in enumerate(head.dense):
        layout = dense_after_map(architecture.channels) if k == 0 else dense
        yield from layer_rules(layer, f"{HEADS}box_head.fc{k + 1}", layout)
    yield from layer_rules(head.class_logits, HEADS + "box_predictor.cls_score", dense)
    yield from layer_rules(head.box_deltas, HEADS + "box_predictor.bbox_pred", dense)


def _mask_rules(head: Any) -> Iterator[Rule]:
    for k, conv in enumerate(head.convs, start=1):
        yield from convolution_rules(conv, f"{HEADS}mask_head.mask_fcn{k}")
    yield from layer_rules(head.deconv, HEADS + "mask_head.deconv", transposed_convolution)
    yield from convolution_rules(head.logits, HEADS + "mask_head.predictor")


def _keypoint_rules(head: Any) -> Iterator[Rule]:
    for k, conv in enumerate(head.convs, start=1):
        yield from convolution_rules(conv, f"{HEADS}keypoint_head.conv_fcn{k}")
    yield from layer_rules(head.deconv, HEADS + "keypoint_head.score_lowres", transposed_convolution)
