"""Detectron2's dotted configuration keys → the settings of our detector that is the same function.

Defaults are the model zoo's for each architecture (PAPER §1.4; `golden/parity_d2/detectron2_keys.json`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from maskrcnn.errors import UserError
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
from maskrcnn.weights.detectron2_architecture import Detectron2Architecture

Options = Mapping[str, Any]
SIZES = [32.0, 64.0, 128.0, 256.0, 512.0]
PIXEL_STD_WITH_GROUPS = [57.375, 57.12, 58.395]
"""Of the zoo's ResNeXt; its ResNets have 1."""
POOLERS = {"ROIAlignV2": True, "ROIAlign": False}
"""Whether half a cell is subtracted."""
BN_EPSILON = 1e-5
"""Of FrozenBatchNorm2d."""
FREE_LENGTH = ("MODEL.ANCHOR_GENERATOR.SIZES", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS")
POOLED_HEADS = ("BOX", "MASK", "KEYPOINT")

ZOO: dict[str, Any] = {
    "INPUT.FORMAT": "BGR",
    "INPUT.MIN_SIZE_TEST": 800,
    "INPUT.MAX_SIZE_TEST": 1333,
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
    "MODEL.BACKBONE.FREEZE_AT": 2,
    "MODEL.RESNETS.STRIDE_IN_1X1": True,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[size] for size in SIZES],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.0,
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 0.0,
    "MODEL.RPN.IOU_THRESHOLDS": [0.3, 0.7],
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 256,
    "MODEL.RPN.POSITIVE_FRACTION": 0.5,
    "MODEL.RPN.BBOX_REG_WEIGHTS": [1.0, 1.0, 1.0, 1.0],
    "MODEL.RPN.SMOOTH_L1_BETA": 0.0,
    "MODEL.RPN.NMS_THRESH": 0.7,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 2000,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.5],
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 512,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.25,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.05,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.5,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": 0.0,
    **{f"MODEL.ROI_{head}_HEAD.POOLER_RESOLUTION": 14 for head in POOLED_HEADS},
    **{f"MODEL.ROI_{head}_HEAD.POOLER_SAMPLING_RATIO": 0 for head in POOLED_HEADS},
    **{f"MODEL.ROI_{head}_HEAD.POOLER_TYPE": "ROIAlignV2" for head in POOLED_HEADS},
    "TEST.DETECTIONS_PER_IMAGE": 100,
}
"""The keys that have a counterpart here, with the values of an R-50-FPN of the zoo."""
ONE_MAP: dict[str, Any] = {
    "MODEL.ANCHOR_GENERATOR.SIZES": [SIZES],
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 12000,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000,
}
"""What C4 and DC5 have instead."""
KEYPOINTS: dict[str, Any] = {"MODEL.RPN.POST_NMS_TOPK_TRAIN": 1500, "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": 0.5}
GROUPS: dict[str, Any] = {"MODEL.PIXEL_STD": PIXEL_STD_WITH_GROUPS, "MODEL.RESNETS.STRIDE_IN_1X1": False}
"""The ResNeXt of the zoo is FAIR's: standard deviations, and the stride in the 3x3."""


def zoo_options(architecture: Detectron2Architecture) -> dict[str, Any]:
    """The model zoo's values for an architecture, and what its tensors decide."""
    options = dict(ZOO)
    if architecture.neck != "fpn":
        options |= ONE_MAP
    if architecture.num_keypoints:
        options |= KEYPOINTS
    if architecture.backbone.startswith("resnext"):
        options |= GROUPS
    if architecture.box_cells:
        options["MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION"] = architecture.box_cells
    return options | decided(architecture)


def decided(architecture: Detectron2Architecture) -> dict[str, Any]:
    """Keys whose values the tensors decide; a user may give them, but not others."""
    return {
        "MODEL.MASK_ON": architecture.mask_channels > 0,
        "MODEL.KEYPOINT_ON": architecture.num_keypoints > 0,
        "MODEL.ROI_HEADS.NUM_CLASSES": architecture.num_classes,
        "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": architecture.num_keypoints,
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": architecture.agnostic_boxes,
        "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": architecture.agnostic_masks,
        "MODEL.RESNETS.RES5_DILATION": 2 if architecture.neck == "dc5" else 1,
    }


def read_options(given: Options, architecture: Detectron2Architecture) -> dict[str, Any]:
    """All options: the zoo's values, overlaid with those given.

    Raises:
        UserError: for a key that Detectron2 does not have or that has no counterpart here, a value of another kind,
            one that the tensors contradict, and poolers that are not alike.
    """
    options, fixed = zoo_options(architecture), decided(architecture)
    fixed |= {"MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": architecture.box_cells} if architecture.box_cells else {}
    for name, value in given.items():
        if name not in options:
            near = difflib.get_close_matches(name, options, n=1, cutoff=0.0)[0]
            raise UserError("not a setting that an imported Detectron2 model has", name, f"did you mean {near}?")
        options[name] = _like(name, value, options[name])
        if name in fixed and options[name] != fixed[name]:
            raise UserError(f"is {value}, the weights have {fixed[name]}", name)
    for key in ("POOLER_SAMPLING_RATIO", "POOLER_TYPE"):
        _spread(options, given, key)
    return options


def _spread(options: dict[str, Any], given: Options, key: str) -> None:
    """One value of all heads, as the one that was given: RoIAlign is the same function everywhere here."""
    names = [f"MODEL.ROI_{head}_HEAD.{key}" for head in POOLED_HEADS]
    values = [options[name] for name in names if name in given]
    if any(value != values[0] for value in values):
        raise UserError(f"heads with different {key}", names[0], "give one value for all heads")
    options.update(dict.fromkeys(names, values[0] if values else options[names[0]]))


def _like(name: str, value: Any, default: Any) -> Any:
    """The value in the kind of the default: a number, a word, a list of numbers or of lists of numbers."""
    if isinstance(default, list):
        if not isinstance(value, list | tuple) or not value:
            raise UserError(f"{value!r} is no list", name, f"such as {default}")
        if name not in FREE_LENGTH and len(value) != len(default):
            raise UserError(f"needs {len(default)} numbers, found {len(value)}", name, f"such as {default}")
        return [_like(name, part, default[0]) for part in value]
    if isinstance(default, str | bool):
        good = isinstance(value, type(default))
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        good = number and value >= 0 and (isinstance(default, float) or float(value).is_integer())
    if not good:
        raise UserError(f"{value!r} is no value of this kind", name, f"such as {default!r}")
    return type(default)(value)


def detector_settings(architecture: Detectron2Architecture, options: Options) -> DetectorSettings:
    """The settings of our detector that is the same function as Detectron2's.

    Raises:
        UserError: for anchors that the tensors contradict, and box heads of layers of different widths.
    """
    return DetectorSettings(
        backbone=BackboneSettings(
            name=architecture.backbone,
            norm="frozen",
            frozen_stages=options["MODEL.BACKBONE.FREEZE_AT"],
            neck=architecture.neck,
        ),
        pyramid=PyramidSettings(channels=architecture.channels if architecture.neck == "fpn" else 256),
        anchors=_anchors(architecture, options),
        rpn=_proposal_settings(architecture, options),
        roi=_roi_settings(options),
        box_head=_box_settings(architecture, options),
        mask_head=_mask_settings(architecture, options),
        keypoint_head=_keypoint_settings(architecture, options),
        conventions=conventions(options),
    )


def conventions(options: Options) -> Conventions:
    """How Detectron2 counts pixels, boxes and classes (PAPER §1.4)."""
    size_divisibility = 32 if len(options["MODEL.ANCHOR_GENERATOR.SIZES"]) > 1 else 0
    return Conventions(
        roi_aligned=_word("MODEL.ROI_BOX_HEAD.POOLER_TYPE", options, POOLERS),
        roi_sampling_ratio=options["MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO"],
        anchor_offset=options["MODEL.ANCHOR_GENERATOR.OFFSET"],
        rpn_box_weights=options["MODEL.RPN.BBOX_REG_WEIGHTS"],
        box_weights=options["MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS"],
        proposal_min_side=options["MODEL.PROPOSAL_GENERATOR.MIN_SIZE"],
        background_index=-1,
        channel_order=_word("INPUT.FORMAT", options, {"BGR": "bgr", "RGB": "rgb"}),
        pixel_mean=options["MODEL.PIXEL_MEAN"],
        pixel_std=options["MODEL.PIXEL_STD"],
        bn_epsilon=BN_EPSILON,
        stride_in_1x1=options["MODEL.RESNETS.STRIDE_IN_1X1"],
        pad_multiple=size_divisibility,
        resize="detectron2",
        mask_paste="bilinear",
        keypoint_score="softmax",
    )


def _word(name: str, options: Options, words: Mapping[str, Any]) -> Any:
    if options[name] not in words:
        raise UserError(f"{options[name]!r} is not known", name, f"choose one of {', '.join(words)}")
    return words[options[name]]


def _anchors(architecture: Detectron2Architecture, options: Options) -> AnchorSettings:
    """The same ratios on all levels, and as many anchors of a cell as the RPN has outputs."""
    name = "MODEL.ANCHOR_GENERATOR.SIZES"
    sizes, ratios = options[name], options["MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS"]
    levels = 5 if architecture.neck == "fpn" else 1
    sizes = sizes * levels if len(sizes) == 1 else sizes
    if len(sizes) != levels:
        raise UserError(f"{len(sizes)} lists for {levels} levels", name, "give one list for each level")
    if any(row != ratios[0] for row in ratios):
        raise UserError("levels with different ratios", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "give one list")
    per_cell = {len(row) * len(ratios[0]) for row in sizes}
    if per_cell != {architecture.anchors_per_cell}:
        found = " or ".join(map(str, sorted(per_cell)))
        raise UserError(f"{found} anchors per cell, the weights have {architecture.anchors_per_cell}", name)
    return AnchorSettings(sizes=sizes, ratios=ratios[0])


def _proposal_settings(architecture: Detectron2Architecture, options: Options) -> ProposalSettings:
    negative, positive = options["MODEL.RPN.IOU_THRESHOLDS"]
    return ProposalSettings(
        channels=architecture.rpn_channels,
        positive_iou=positive,
        negative_iou=negative,
        batch_per_image=options["MODEL.RPN.BATCH_SIZE_PER_IMAGE"],
        positive_fraction=options["MODEL.RPN.POSITIVE_FRACTION"],
        smooth_l1_beta=options["MODEL.RPN.SMOOTH_L1_BETA"],
        pre_nms_train=options["MODEL.RPN.PRE_NMS_TOPK_TRAIN"],
        pre_nms_test=options["MODEL.RPN.PRE_NMS_TOPK_TEST"],
        post_nms_train=options["MODEL.RPN.POST_NMS_TOPK_TRAIN"],
        post_nms_test=options["MODEL.RPN.POST_NMS_TOPK_TEST"],
        nms_iou=options["MODEL.RPN.NMS_THRESH"],
    )


def _roi_settings(options: Options) -> RoISettings:
    return RoISettings(
        batch_per_image=options["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE"],
        positive_fraction=options["MODEL.ROI_HEADS.POSITIVE_FRACTION"],
        positive_iou=options["MODEL.ROI_HEADS.IOU_THRESHOLDS"][0],
        score_threshold=options["MODEL.ROI_HEADS.SCORE_THRESH_TEST"],
        nms_iou=options["MODEL.ROI_HEADS.NMS_THRESH_TEST"],
        detections_per_image=options["TEST.DETECTIONS_PER_IMAGE"],
    )


def _box_settings(architecture: Detectron2Architecture, options: Options) -> BoxHeadSettings:
    widths = set(architecture.box_dense)
    if len(widths) > 1:
        raise UserError(f"dense layers of different widths {architecture.box_dense}", "roi_heads.box_head")
    return BoxHeadSettings(
        fully_connected=len(architecture.box_dense),
        channels=max(widths, default=1024),
        pool_size=options["MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION"],
        class_agnostic=architecture.agnostic_boxes,
        smooth_l1_beta=options["MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA"],
    )


def _mask_settings(architecture: Detectron2Architecture, options: Options) -> MaskHeadSettings | None:
    """Under C4 masks read what the box head reads, RoIAlign's size included."""
    if not architecture.mask_channels:
        return None
    head = "BOX" if architecture.neck == "c4" else "MASK"
    return MaskHeadSettings(
        convolutions=architecture.mask_convolutions,
        channels=architecture.mask_channels,
        pool_size=options[f"MODEL.ROI_{head}_HEAD.POOLER_RESOLUTION"],
        class_agnostic=architecture.agnostic_masks,
    )


def _keypoint_settings(architecture: Detectron2Architecture, options: Options) -> KeypointHeadSettings | None:
    if not architecture.num_keypoints:
        return None
    return KeypointHeadSettings(
        convolutions=architecture.keypoint_convolutions,
        channels=architecture.keypoint_channels,
        pool_size=options["MODEL.ROI_KEYPOINT_HEAD.POOLER_RESOLUTION"],
    )
