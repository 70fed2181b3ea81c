"""torchvision's detectors: its settings, its conventions, and which of its tensors goes into which of our variables.

Source: PAPER §1.4 and §5.2; every rule is judged by the sets in `golden/parity`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from maskrcnn.errors import UserError
from maskrcnn.models.backbones import RESNETS
from maskrcnn.models.detector import Detector
from maskrcnn.structures import (
    AnchorSettings,
    BackboneSettings,
    BoxHeadSettings,
    Conventions,
    DetectorSettings,
    KeypointHeadSettings,
    MaskHeadSettings,
    ProposalSettings,
    PyramidSettings,
    RoISettings,
)
from maskrcnn.weights.layout import (
    convolution,
    dense,
    dense_after_map,
    same,
    transposed_convolution,
    without_background,
)
from maskrcnn.weights.options import overlay
from maskrcnn.weights.recognise import BODY, HEADS, Architecture, box_dense_names
from maskrcnn.weights.rules import Rule, convolution_rules, layer_rules, norm_rules

OLD_SPELLINGS = (
    (r"backbone\.fpn\.(inner|layer)_blocks\.(\d+)\.(weight|bias)", r"backbone.fpn.\1_blocks.\2.0.\3"),
    (r"rpn\.head\.conv\.(weight|bias)", r"rpn.head.conv.0.0.\1"),
)
"""Names in files of 2019, that is in all published v1 detectors; mask_fcn1… is counted from 1 and has its own rule."""
MASK_OLD = r"roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)"

DEFAULTS: dict[str, Any] = {
    "min_size": 800,
    "max_size": 1333,
    "image_mean": (0.485, 0.456, 0.406),
    "image_std": (0.229, 0.224, 0.225),
    "rpn_pre_nms_top_n_train": 2000,
    "rpn_pre_nms_top_n_test": 1000,
    "rpn_post_nms_top_n_train": 2000,
    "rpn_post_nms_top_n_test": 1000,
    "rpn_nms_thresh": 0.7,
    "rpn_fg_iou_thresh": 0.7,
    "rpn_bg_iou_thresh": 0.3,
    "rpn_batch_size_per_image": 256,
    "rpn_positive_fraction": 0.5,
    "box_score_thresh": 0.05,
    "box_nms_thresh": 0.5,
    "box_detections_per_img": 100,
    "box_fg_iou_thresh": 0.5,
    "box_batch_size_per_image": 512,
    "box_positive_fraction": 0.25,
    "bbox_reg_weights": (10.0, 10.0, 5.0, 5.0),
    "bn_eps": None,
}
"""The keyword arguments of torchvision's detectors that have a counterpart here, and bn_eps, its `overwrite_eps`."""
ANCHORS_PER_CELL = 3
SMOOTH_L1_BETA = 1 / 9
"""Of both stages."""


def modern_name(name: str) -> str:
    """Today's spelling of a tensor's name."""
    for old, new in OLD_SPELLINGS:
        if re.fullmatch(old, name):
            return re.sub(old, new, name)
    match = re.fullmatch(MASK_OLD, name)
    return f"{HEADS}mask_head.{int(match[1]) - 1}.0.{match[2]}" if match else name


def is_ignored(name: str) -> bool:
    """Counters of batch norms in training: they have no effect on outputs."""
    return name.endswith(".num_batches_tracked")


def read_options(given: Mapping[str, Any], architecture: Architecture) -> dict[str, Any]:
    """All options: torchvision's defaults, overlaid with those given.

    Raises:
        UserError: for a name that torchvision's detectors do not have, or that has no counterpart here.
    """
    given = dict(given)
    if isinstance(given.get("min_size"), tuple | list) and given["min_size"]:
        given["min_size"] = given["min_size"][-1]  # torchvision tests with the last of several
    options = overlay(given, DEFAULTS, "torchvision")
    if options["bn_eps"] is None:
        options["bn_eps"] = default_epsilon(architecture)
    return options


def default_epsilon(architecture: Architecture) -> float:
    """0 for what looks like one of the published v1 files, which torchvision loads so; else 1e-5 (PAPER §1.4)."""
    published = architecture.backbone == "resnet50" and architecture.num_classes in (1, 90)
    return 0.0 if published and not architecture.normed else 1e-5


def detector_settings(architecture: Architecture, options: Mapping[str, Any]) -> DetectorSettings:
    """The settings of our detector that is the same function as torchvision's.

    Raises:
        UserError: for anchors that are not torchvision's three ratios.
    """
    if architecture.anchors_per_cell != ANCHORS_PER_CELL:
        raise UserError(
            f"{architecture.anchors_per_cell} anchors per cell, expected {ANCHORS_PER_CELL}",
            where="rpn.head.cls_logits.weight",
            hint="only torchvision's own anchors can be imported: sizes 32 to 512, ratios 0.5, 1, 2",
        )
    norm = "batch" if architecture.normed else "none"
    return DetectorSettings(
        backbone=BackboneSettings(
            name=architecture.backbone, norm="batch" if architecture.normed else "frozen", frozen_stages=2
        ),
        pyramid=PyramidSettings(channels=architecture.channels, levels=architecture.levels, norm=norm),
        anchors=AnchorSettings(sizes=[[32.0 * 2**k] for k in range(architecture.levels + 1)]),
        rpn=_proposal_settings(architecture, options),
        roi=_roi_settings(options),
        box_head=BoxHeadSettings(
            convolutions=architecture.box_convolutions,
            convolution_channels=architecture.channels,
            fully_connected=len(architecture.box_dense),
            channels=architecture.box_dense[0],
            norm=norm,
            smooth_l1_beta=SMOOTH_L1_BETA,
        ),
        mask_head=_mask_settings(architecture, norm),
        keypoint_head=_keypoint_settings(architecture),
        conventions=conventions(options),
    )


def conventions(options: Mapping[str, Any]) -> Conventions:
    """How torchvision counts pixels, boxes and classes (PAPER §1.4)."""
    return Conventions(
        roi_aligned=False,
        roi_sampling_ratio=2,
        anchor_rounding="corners",
        anchor_stride="from_grid",
        anchor_order="ratio_major",
        box_weights=[float(w) for w in options["bbox_reg_weights"]],
        level_epsilon="outside",
        proposal_min_side=1e-3,
        detection_min_side=1e-2,
        proposal_score="sigmoid",
        background_index=0,
        channel_order="rgb",
        pixel_mean=[255.0 * m for m in options["image_mean"]],
        pixel_std=[255.0 * s for s in options["image_std"]],
        bn_epsilon=options["bn_eps"],
        stride_in_1x1=False,
        symmetric_padding=True,
        pad_multiple=32,
        resize="torchvision",
        mask_paste="legacy",
        mask_target="soft",
        keypoint_score="logit",
        keypoint_offset=0.0,
    )


def _proposal_settings(architecture: Architecture, options: Mapping[str, Any]) -> ProposalSettings:
    return ProposalSettings(
        convolutions=architecture.rpn_convolutions,
        positive_iou=options["rpn_fg_iou_thresh"],
        negative_iou=options["rpn_bg_iou_thresh"],
        batch_per_image=options["rpn_batch_size_per_image"],
        positive_fraction=options["rpn_positive_fraction"],
        smooth_l1_beta=SMOOTH_L1_BETA,
        pre_nms_train=options["rpn_pre_nms_top_n_train"],
        pre_nms_test=options["rpn_pre_nms_top_n_test"],
        post_nms_train=options["rpn_post_nms_top_n_train"],
        post_nms_test=options["rpn_post_nms_top_n_test"],
        nms_iou=options["rpn_nms_thresh"],
    )


def _roi_settings(options: Mapping[str, Any]) -> RoISettings:
    return RoISettings(
        batch_per_image=options["box_batch_size_per_image"],
        positive_fraction=options["box_positive_fraction"],
        positive_iou=options["box_fg_iou_thresh"],
        score_threshold=options["box_score_thresh"],
        nms_iou=options["box_nms_thresh"],
        detections_per_image=options["box_detections_per_img"],
    )


def _mask_settings(architecture: Architecture, norm: str) -> MaskHeadSettings | None:
    if not architecture.mask_channels:
        return None
    return MaskHeadSettings(convolutions=architecture.mask_convolutions, channels=architecture.mask_channels, norm=norm)


def _keypoint_settings(architecture: Architecture) -> KeypointHeadSettings | None:
    if not architecture.keypoint_channels:
        return None
    return KeypointHeadSettings(
        convolutions=architecture.keypoint_convolutions, channels=architecture.keypoint_channels
    )


def rules(detector: Detector, architecture: Architecture) -> Iterator[Rule]:
    """Which tensor, under today's names, fills which variable of the detector, and how it is laid out."""
    yield from resnet_rules(detector.backbone, architecture.backbone, BODY)
    yield from _pyramid_rules(detector.pyramid, architecture)
    yield from _rpn_rules(detector.rpn_head)
    yield from _box_rules(detector.box_head, architecture)
    if detector.mask_head is not None:
        yield from _mask_rules(detector.mask_head, architecture)
    if detector.keypoint_head is not None:
        yield from _keypoint_rules(detector.keypoint_head)


def resnet_rules(backbone: Any, name: str, prefix: str) -> Iterator[Rule]:
    """The tensors of a torchvision ResNet without its classifier, in the network that is called `name` here."""
    variant = RESNETS[name]
    yield from convolution_rules(backbone.get_layer("stem_conv"), f"{prefix}conv1")
    yield from norm_rules(backbone.get_layer("stem_norm"), f"{prefix}bn1")
    for stage, blocks in enumerate(variant.blocks, start=2):
        for block in range(1, blocks + 1):
            ours, theirs = f"res{stage}_{block}", f"{prefix}layer{stage - 1}.{block - 1}"
            for k in range(1, 4 if variant.bottleneck else 3):
                yield from convolution_rules(backbone.get_layer(f"{ours}_conv{k}"), f"{theirs}.conv{k}")
                yield from norm_rules(backbone.get_layer(f"{ours}_norm{k}"), f"{theirs}.bn{k}")
            if block == 1 and (stage > 2 or variant.bottleneck):
                yield from convolution_rules(backbone.get_layer(f"{ours}_shortcut_conv"), f"{theirs}.downsample.0")
                yield from norm_rules(backbone.get_layer(f"{ours}_shortcut_norm"), f"{theirs}.downsample.1")


def _pyramid_rules(pyramid: Any, architecture: Architecture) -> Iterator[Rule]:
    for kind, convs, norms in (
        ("inner", pyramid.laterals, pyramid.lateral_norms),
        ("layer", pyramid.outputs_, pyramid.output_norms),
    ):
        for k, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
            yield from convolution_rules(conv, f"backbone.fpn.{kind}_blocks.{k}.0")
            if architecture.normed:
                yield from norm_rules(norm, f"backbone.fpn.{kind}_blocks.{k}.1")


def _rpn_rules(head: Any) -> Iterator[Rule]:
    for k, conv in enumerate(head.convs):
        yield from convolution_rules(conv, f"rpn.head.conv.{k}.0")
    yield from convolution_rules(head.objectness, "rpn.head.cls_logits")
    yield from convolution_rules(head.deltas, "rpn.head.bbox_pred")


def _box_rules(head: Any, architecture: Architecture) -> Iterator[Rule]:
    yield from _stack(head, f"{HEADS}box_head.{{}}", architecture.normed)
    names = [name.removesuffix(".weight") for name in box_dense_names(architecture.box_convolutions)]
    for k, (layer, name) in enumerate(zip(head.dense, names, strict=True)):
        yield from layer_rules(layer, name, dense_after_map(architecture.channels) if k == 0 else dense)
    yield from layer_rules(head.class_logits, HEADS + "box_predictor.cls_score", dense)
    deltas = HEADS + "box_predictor.bbox_pred"
    yield Rule(deltas + ".weight", head.box_deltas.kernel, without_background(dense, rows_per_class=4))
    yield Rule(deltas + ".bias", head.box_deltas.bias, without_background(same, rows_per_class=4))


def _mask_rules(head: Any, architecture: Architecture) -> Iterator[Rule]:
    yield from _stack(head, f"{HEADS}mask_head.{{}}", architecture.normed)
    yield from layer_rules(head.deconv, HEADS + "mask_predictor.conv5_mask", transposed_convolution)
    logits = HEADS + "mask_predictor.mask_fcn_logits"
    yield Rule(logits + ".weight", head.logits.kernel, without_background(convolution))
    yield Rule(logits + ".bias", head.logits.bias, without_background(same))


def _keypoint_rules(head: Any) -> Iterator[Rule]:
    for k, conv in enumerate(head.convs):
        yield from convolution_rules(conv, f"{HEADS}keypoint_head.{2 * k}")
    yield from layer_rules(head.deconv, HEADS + "keypoint_predictor.kps_score_lowres", transposed_convolution)


def _stack(head: Any, name: str, normed: bool) -> Iterator[Rule]:
    """The 3x3 convolutions of a head, each a sequence (convolution, norm, ReLU) in the source."""
    for k, conv in enumerate(head.convs):
        yield from convolution_rules(conv, name.format(k) + ".0")
        if normed:
            yield from norm_rules(head.norms[k], name.format(k) + ".1")
