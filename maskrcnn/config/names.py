"""The valid names of every choice in the configuration, and the nearest one to a misspelt word.

The names of parts (backbones, networks of `keras.applications`) are lists here, since this room imports no Keras;
tests compare them with `maskrcnn.models` and with Keras itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

TASKS = ("segmentation", "detection", "keypoint", "multitask")
HEADS = ("box", "mask", "keypoint", "mask_keypoint")
BACKBONES = (
    "small",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "mobilenetv2",
    "applications",
)
BACKBONE_LEVELS = {"small": 3}
"""Number of maps (C2 upward) of the backbones that have fewer than four."""
IMAGENET_BACKBONES = ("resnet50", "resnet101", "resnet152", "mobilenetv2", "applications")
"""Backbones whose ImageNet weights `keras.applications` has by name."""
NECKS = ("fpn", "c4", "dc5")
BOTTLENECK_BACKBONES = (
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
)
"""Those that can end in one map (backbone.neck=c4 and dc5)."""
NETWORKS = (
    "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtSmall", "ConvNeXtTiny", "ConvNeXtXLarge",
    "DenseNet121", "DenseNet169", "DenseNet201",
    "EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3", "EfficientNetB4", "EfficientNetB5",
    "EfficientNetB6", "EfficientNetB7",
    "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3", "EfficientNetV2L",
    "EfficientNetV2M", "EfficientNetV2S",
    "InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small",
    "NASNetLarge", "NASNetMobile",
    "ResNet101", "ResNet101V2", "ResNet152", "ResNet152V2", "ResNet50", "ResNet50V2",
    "VGG16", "VGG19", "Xception",
)  # fmt: skip
"""The networks of `keras.applications` (Keras 3.15)."""
DATASETS = ("embedded", "coco_json", "coco")
OPTIMIZERS = ("adamw", "muon", "sgd")

CHOICES: dict[str, tuple[str, ...]] = {
    "task": TASKS,
    "head.name": HEADS,
    "backbone.name": BACKBONES,
    "backbone.neck": NECKS,
    "backbone.norm": ("group", "batch", "frozen"),
    "pyramid.norm": ("none", "group", "batch"),
    "box_head.norm": ("none", "group", "batch"),
    "mask_head.norm": ("none", "group", "batch"),
    "conventions.anchor_rounding": ("none", "corners"),
    "conventions.anchor_stride": ("nominal", "from_grid"),
    "conventions.anchor_order": ("size_major", "ratio_major"),
    "conventions.level_epsilon": ("inside", "outside"),
    "conventions.proposal_score": ("logit", "sigmoid"),
    "conventions.channel_order": ("rgb", "bgr"),
    "conventions.resize": ("opencv", "torchvision", "detectron2"),
    "conventions.mask_paste": ("bilinear", "legacy"),
    "conventions.mask_target": ("binary", "soft"),
    "conventions.keypoint_score": ("softmax", "logit"),
    "dataset.name": DATASETS,
    "dataset.faults": ("fail", "drop"),
    "optimizer.name": OPTIMIZERS,
    "schedule.decay": ("cosine", "step", "constant"),
    "weights.source": ("auto", "torchvision", "detectron2", "matterport"),
    "training.precision": ("auto", "float32", "mixed_bfloat16", "mixed_float16"),
    "training.resume": ("never", "auto"),
}
"""Every key whose value is one of a few words."""


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name most like `word`, upper and lower case alike; None if none is like it."""
    by_lower = {name.lower(): name for name in names}
    if f"{word.lower()}_fpn" in by_lower:  # a network without its neck: the pyramid is the usual one
        return by_lower[f"{word.lower()}_fpn"]
    matches = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    if matches:
        return by_lower[matches[0]]
    beginnings = [name for lower, name in by_lower.items() if word and lower.startswith(word.lower())]
    return min(beginnings, key=len) if beginnings else None


def known(names: Iterable[str]) -> str:
    """The names in one piece of text, for messages."""
    return ", ".join(names)
