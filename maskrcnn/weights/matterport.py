"""Matterport's `mask_rcnn_coco.h5` (Keras 2) → a detector of ours, as far as its conventions allow (PAPER §1.4, §5.5).

Exact: all weights (batch norms of the heads and biases of the backbone are folded into their neighbours, which changes
no output), anchors, deltas and their order, level rule, thresholds, classes. Approximate, so that detections are near
the original's and not equal to them:

- RoIs are read in the middle of each cell (RoIAlign, one sample) and not from corner to corner (crop_and_resize);
- the 3x3 pooling of the stem pads both sides; the original pads right and below alone, a shift of two pixels;
- images keep their shape and are padded right and below, not centred in a square of 1024, and the padding is zero
  after the mean is taken off; images whose short side is above IMAGE_MIN_DIM are made smaller;
- proposals are limited and thinned within each level, not over all levels together, and boxes are not rounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.models.backbones import RESNETS
from maskrcnn.models.detector import Detector
from maskrcnn.structures import (
    AnchorSettings,
    BackboneSettings,
    BoxHeadSettings,
    Conventions,
    DetectorSettings,
    MaskHeadSettings,
    ProposalSettings,
    PyramidSettings,
    RoISettings,
)
from maskrcnn.weights.layout import Layout, same
from maskrcnn.weights.options import overlay
from maskrcnn.weights.recognise import MATTERPORT
from maskrcnn.weights.rules import Rule

MARK = MATTERPORT
"""A layer that no other program has."""
EPSILON = 1e-3
"""Of Keras' batch norms."""
DEPTHS = {6: "resnet50", 23: "resnet101"}
"""Blocks of res4 tell the network."""
DEFAULTS: dict[str, Any] = {
    "IMAGE_MIN_DIM": 800,
    "IMAGE_MAX_DIM": 1024,
    "MEAN_PIXEL": (123.7, 116.8, 103.9),
    "RPN_NMS_THRESHOLD": 0.7,
    "PRE_NMS_LIMIT": 6000,
    "POST_NMS_ROIS_INFERENCE": 1000,
    "DETECTION_MIN_CONFIDENCE": 0.7,
    "DETECTION_NMS_THRESHOLD": 0.3,
    "DETECTION_MAX_INSTANCES": 100,
}
"""The attributes of its Config that have a counterpart here."""
NORM_PARTS = ("gamma", "beta", "moving_mean", "moving_variance")
FOLDED = {
    "mrcnn_class_conv1": "mrcnn_class_bn1",
    "mrcnn_class_conv2": "mrcnn_class_bn2",
    **{f"mrcnn_mask_conv{k}": f"mrcnn_mask_bn{k}" for k in range(1, 5)},
}
"""Convolutions of the heads and the batch norm behind each."""


@dataclass(frozen=True)
class MatterportArchitecture:
    """What decides the shape: network, classes without background, width of pyramid, RPN and box head."""

    backbone: str
    num_classes: int
    channels: int
    rpn_channels: int
    box_channels: int


def simple_names(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`layer/kernel` from paths such as `rpn_model/rpn_conv_shared/kernel:0`, wherever nested models put the layer.

    Raises:
        UserError: two tensors have the same simple name.
    """
    found: dict[str, np.ndarray] = {}
    for name, values in state.items():
        simple = re.sub(r"(_\d+)?:\d+$", "", "/".join(name.split("/")[-2:]))
        if simple in found:
            raise UserError("two tensors have this name", simple, "give a file of one model")
        found[simple] = values
    return found


def recognise_matterport(state: Mapping[str, np.ndarray]) -> MatterportArchitecture:
    """The architecture of tensors with simple names.

    Raises:
        UserError: a tensor that decides it is missing, or the network is neither ResNet-50 nor -101.
    """
    blocks = sum(re.fullmatch(r"res4[a-z]_branch2a/kernel", name) is not None for name in state)
    if blocks not in DEPTHS:
        raise UserError(f"{blocks} blocks in res4, expected {' or '.join(map(str, DEPTHS))}", "weights")
    return MatterportArchitecture(
        backbone=DEPTHS[blocks],
        num_classes=_width(state, f"{MARK}/kernel", 2) - 1,
        channels=_width(state, "fpn_p2/kernel", 4),
        rpn_channels=_width(state, "rpn_conv_shared/kernel", 4),
        box_channels=_width(state, "mrcnn_class_conv1/kernel", 4),
    )


def _width(state: Mapping[str, np.ndarray], name: str, axes: int) -> int:
    if name not in state or state[name].ndim != axes:
        raise UserError(f"missing, or not of {axes} axes: it decides the architecture", name, "give the whole file")
    return int(state[name].shape[-1])


def read_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """All options: Matterport's defaults, overlaid with those given.

    Raises:
        UserError: for a name that its Config does not have or that has no counterpart here, and for no number.
    """
    return overlay(given, DEFAULTS, "Matterport")


def detector_settings(architecture: MatterportArchitecture, options: Mapping[str, Any]) -> DetectorSettings:
    """The settings of our detector that come nearest to Matterport's."""
    return DetectorSettings(
        backbone=BackboneSettings(architecture.backbone, norm="frozen", frozen_stages=2),
        pyramid=PyramidSettings(architecture.channels),
        # Its ratios 0.5, 1, 2 are width / height, so ours fall.
        anchors=AnchorSettings([[32.0 * 2**k] for k in range(5)], ratios=[2.0, 1.0, 0.5]),
        rpn=ProposalSettings(
            channels=architecture.rpn_channels,
            smooth_l1_beta=1.0,
            pre_nms_test=options["PRE_NMS_LIMIT"],
            post_nms_test=options["POST_NMS_ROIS_INFERENCE"],
            nms_iou=options["RPN_NMS_THRESHOLD"],
        ),
        roi=RoISettings(
            batch_per_image=200,
            positive_fraction=0.33,
            score_threshold=options["DETECTION_MIN_CONFIDENCE"],
            nms_iou=options["DETECTION_NMS_THRESHOLD"],
            detections_per_image=options["DETECTION_MAX_INSTANCES"],
            # Its level is rounded, ours is floored: half a level is a factor of the square root of two.
            canonical_size=224.0 / 2**0.5,
        ),
        box_head=BoxHeadSettings(channels=architecture.box_channels, smooth_l1_beta=1.0),
        mask_head=MaskHeadSettings(channels=architecture.channels),
        conventions=_conventions(options),
    )


def _conventions(options: Mapping[str, Any]) -> Conventions:
    deviations = [10.0, 10.0, 5.0, 5.0]  # 1 / (0.1, 0.1, 0.2, 0.2), in the RPN too
    return Conventions(
        roi_aligned=False,
        roi_sampling_ratio=1,
        rpn_box_weights=deviations,
        box_weights=list(deviations),
        proposal_score="sigmoid",
        channel_order="rgb",
        pixel_mean=[float(value) for value in options["MEAN_PIXEL"]],
        pixel_std=[1.0, 1.0, 1.0],
        bn_epsilon=EPSILON,
        stride_in_1x1=True,
        pad_multiple=64,
        mask_paste="legacy",
    )


def fold(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors without the backbone's biases and the heads' batch norms, computing the same.

    norm(x + b) is the norm with the mean m − b; norm(Wx + b) is a convolution with s·W and s·(b − m) + beta, where
    s = gamma / sqrt(v + epsilon).

    Raises:
        UserError: a part of a norm or its convolution is missing; shapes that do not belong together.
    """
    found = dict(state)
    for conv, norm in FOLDED.items():
        names = [f"{conv}/kernel", f"{conv}/bias", *(f"{norm}/{part}" for part in NORM_PARTS)]
        missing = [name for name in names if name not in found]
        if missing:
            raise UserError("missing", missing[0], "give the whole file")
        kernel, bias, gamma, beta, mean, variance = (np.asarray(found.pop(name), np.float64) for name in names)
        scale = gamma / np.sqrt(variance + EPSILON)
        if any(part.shape != kernel.shape[-1:] for part in (bias, gamma, beta, mean, variance)):
            raise UserError("has another width than the norm behind it", f"{conv}/kernel")
        found[f"{conv}/kernel"] = (kernel * scale).astype(np.float32)
        found[f"{conv}/bias"] = ((bias - mean) * scale + beta).astype(np.float32)
    for name in [name for name in found if re.fullmatch(r"(conv1|res\d\w+)/bias", name)]:
        norm = "bn_conv1" if name.startswith("conv1/") else name.replace("res", "bn", 1).removesuffix("/bias")
        mean_name = f"{norm}/moving_mean"
        if mean_name in found and found[mean_name].shape == found[name].shape:
            found[mean_name] = found[mean_name] - found.pop(name)
    return found


def rules(detector: Detector, architecture: MatterportArchitecture) -> Iterator[Rule]:
    """Which tensor, under its simple name and folded, fills which variable; the layout is Keras' already."""
    yield from _backbone_rules(detector.backbone, architecture.backbone)
    pyramid: Any = detector.pyramid
    for k, (lateral, output) in enumerate(zip(pyramid.laterals, pyramid.outputs_, strict=True), start=2):
        yield from _layer(lateral, f"fpn_c{k}p{k}")
        yield from _layer(output, f"fpn_p{k}")
    yield from _layer(detector.rpn_head.convs[0], "rpn_conv_shared")
    yield from _layer(detector.rpn_head.objectness, "rpn_class_raw", objectness)
    yield from _layer(detector.rpn_head.deltas, "rpn_bbox_pred", x_before_y)
    head = detector.box_head
    for k, dense in enumerate(head.dense, start=1):
        yield Rule(f"mrcnn_class_conv{k}/kernel", dense.kernel, as_dense)
        yield Rule(f"mrcnn_class_conv{k}/bias", dense.bias)
    yield from _layer(head.class_logits, MARK)
    yield from _layer(head.box_deltas, "mrcnn_bbox_fc", lambda values: x_before_y(values[..., 4:]))
    mask: Any = detector.mask_head
    for k, conv in enumerate(mask.convs, start=1):
        yield from _layer(conv, f"mrcnn_mask_conv{k}")
    yield from _layer(mask.deconv, "mrcnn_mask_deconv")
    yield from _layer(mask.logits, "mrcnn_mask", lambda values: values[..., 1:])


def _backbone_rules(backbone: Any, name: str) -> Iterator[Rule]:
    yield Rule("conv1/kernel", backbone.get_layer("stem_conv").kernel)
    yield from _norm(backbone.get_layer("stem_norm"), "bn_conv1")
    for stage, blocks in enumerate(RESNETS[name].blocks, start=2):
        for block in range(1, blocks + 1):
            ours, theirs = f"res{stage}_{block}", f"{stage}{chr(ord('a') + block - 1)}_branch"
            places = {f"{theirs}2{letter}": (f"{ours}_conv{k}", f"{ours}_norm{k}") for k, letter in _LETTERS}
            if block == 1:
                places[f"{theirs}1"] = (f"{ours}_shortcut_conv", f"{ours}_shortcut_norm")
            for source, (conv, norm) in places.items():
                yield Rule(f"res{source}/kernel", backbone.get_layer(conv).kernel)
                yield from _norm(backbone.get_layer(norm), f"bn{source}")


_LETTERS = ((1, "a"), (2, "b"), (3, "c"))


def _layer(layer: Any, name: str, layout: Layout = same) -> Iterator[Rule]:
    yield Rule(f"{name}/kernel", layer.kernel, layout)
    yield Rule(f"{name}/bias", layer.bias, layout)


def _norm(layer: Any, name: str) -> Iterator[Rule]:
    for part in NORM_PARTS:
        yield Rule(f"{name}/{part}", getattr(layer, part))


def objectness(values: np.ndarray) -> np.ndarray:
    """[…, A · 2] logits of (background, object) → [… , A]: their difference, whose sigmoid is the softmax."""
    pairs = values.reshape(*values.shape[:-1], -1, 2)
    return pairs[..., 1] - pairs[..., 0]


def x_before_y(values: np.ndarray) -> np.ndarray:
    """[…, n · 4] of (dy, dx, dh, dw) → (dx, dy, dw, dh)."""
    rows = values.reshape(*values.shape[:-1], -1, 4)[..., [1, 0, 3, 2]]
    return rows.reshape(values.shape)


def as_dense(values: np.ndarray) -> np.ndarray:
    """A convolution over the whole map, [h, w, C, O] → [h · w · C, O]: Keras flattens in this order."""
    return values.reshape(-1, values.shape[-1])
