"""ImageNet ResNets and ResNeXts of torchvision, Detectron2 and Caffe2 → the backbone of a detector (PAPER §5.3, §5.4).

All names become Detectron2's first. What the pixels of a file were is told by its names alone, since no file says it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping

import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.models.backbones import RESNETS
from maskrcnn.models.detector import Detector
from maskrcnn.structures import Conventions
from maskrcnn.weights.assign import Assignment, assign, check_finite
from maskrcnn.weights.detectron2 import stage_rules, stem_rules
from maskrcnn.weights.rules import Rule

State = Mapping[str, np.ndarray]
TORCHVISION_NAMES = (
    (r"conv1\.weight", r"stem.conv1.weight"),
    (r"bn1\.(\w+)", r"stem.conv1.norm.\1"),
    (r"layer(\d)\.(\d+)\.conv(\d)\.weight", r"res{next:\1}.\2.conv\3.weight"),
    (r"layer(\d)\.(\d+)\.bn(\d)\.(\w+)", r"res{next:\1}.\2.conv\3.norm.\4"),
    (r"layer(\d)\.(\d+)\.downsample\.0\.weight", r"res{next:\1}.\2.shortcut.weight"),
    (r"layer(\d)\.(\d+)\.downsample\.1\.(\w+)", r"res{next:\1}.\2.shortcut.norm.\3"),
)
CAFFE2_NAMES = (
    (r"conv1_w", r"stem.conv1.weight"),
    (r"res_conv1_bn_(\w+)", r"stem.conv1.norm.{norm:\1}"),
    (r"res(\d)_(\d+)_(branch\w+?)_w", r"res\1.\2.{conv:\3}.weight"),
    (r"res(\d)_(\d+)_(branch\w+?)_bn_(\w+)", r"res\1.\2.{conv:\3}.norm.{norm:\4}"),
)
WORDS = {
    "next": {str(k): str(k + 1) for k in range(1, 5)},
    "conv": {"branch1": "shortcut", "branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3"},
    "norm": {
        "s": "weight",
        "gamma": "weight",
        "b": "bias",
        "beta": "bias",
        "rm": "running_mean",
        "running_mean": "running_mean",
        "riv": "running_var",
        "running_var": "running_var",
    },
}
"""Caffe2's running_inv_var holds the variance itself: Detectron2 copies it as it is."""
IGNORED = r"fc\..*|stem\.fc\..*|fc1000_[wb]|pred_[wb]|conv1_b|.*\.num_batches_tracked|.*_momentum"
"""The classifier, counters of batch norms, and the optimizer's state."""
SOURCES = {
    "torchvision": r"layer1\.0\.conv1\.weight",
    "detectron2": r"res2\.0\.conv1\.weight",
    "caffe2": r"res2_0_branch2a_w",
}
MEAN_RGB, STD_RGB = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
BN_EPSILON = 1e-5


def recognise_backbone(names: Mapping[str, object]) -> str | None:
    """torchvision, detectron2 (torchvision's weights under its names) or caffe2 (MSRA's and FAIR's); None: none."""
    for source, pattern in SOURCES.items():
        if any(re.fullmatch(pattern, name) for name in names):
            return source
    return None


def backbone_conventions(state: State, conventions: Conventions) -> Conventions:
    """The conventions with the pixels, the stride and the epsilon that the weights were trained with.

    Caffe2's files are BGR. MSRA's ResNets have no standard deviation and stride in the first 1x1, FAIR's ResNeXts not.

    Raises:
        UserError: names of no backbone that is known.
    """
    caffe2 = _source_of(state) == "caffe2"
    msra = caffe2 and not _has_groups(state)
    step = -1 if caffe2 else 1
    return dataclasses.replace(
        conventions,
        channel_order="bgr" if caffe2 else "rgb",
        pixel_mean=list(MEAN_RGB[::step]),
        pixel_std=[1.0, 1.0, 1.0] if msra else list(STD_RGB[::step]),
        stride_in_1x1=msra,
        bn_epsilon=BN_EPSILON,
    )


def fill_backbone(detector: Detector, state: State) -> Assignment:
    """Fill the backbone of a detector, and under the neck c4 the head that its last stage is.

    Raises:
        UserError: names of no backbone that is known, another network, values that are not finite, or a detector
            without batch norms.
    """
    settings = detector.settings.backbone
    if settings.name not in RESNETS:
        raise UserError(f"{settings.name} is no ResNet", "weights.backbone", f"known: {', '.join(RESNETS)}")
    if settings.norm == "group":
        raise UserError("these weights need batch norms", "backbone.norm", "choose frozen or batch")
    translated = detectron2_names(state)
    check_finite(translated)
    return assign(list(_rules(detector)), translated)


def detectron2_names(state: State) -> dict[str, np.ndarray]:
    """The backbone's tensors under Detectron2's names (stem.…, res2.0.…), without classifier.

    Folded batch norms get mean 0 and variance 1, as Detectron2's loader does.
    """
    tables = {"torchvision": TORCHVISION_NAMES, "caffe2": CAFFE2_NAMES, "detectron2": ()}
    table = tables[_source_of(state)]
    kept = {name: values for name, values in state.items() if not re.fullmatch(IGNORED, name)}
    found = {_translate(name, table): values for name, values in kept.items()}
    if table is CAFFE2_NAMES:
        for name in [name for name in found if name.endswith(".norm.weight")]:
            norm = name.removesuffix("weight")
            found.setdefault(norm + "running_mean", np.zeros_like(found[name]))
            found.setdefault(norm + "running_var", np.ones_like(found[name]))
    return found


def _rules(detector: Detector) -> Iterator[Rule]:
    name, head = detector.settings.backbone.name, detector.res5_head
    yield from stem_rules(detector.backbone.get_layer, "")
    for stage in range(2, 6):
        owner = head if stage == 5 and head is not None else detector.backbone
        yield from stage_rules(owner.get_layer, name, stage, "")


def _translate(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for old, new in table:
        match = re.fullmatch(old, name)
        if match:
            return re.sub(r"\{(\w+):(\w+)\}", lambda word: WORDS[word[1]].get(word[2], word[2]), match.expand(new))
    return name


def _source_of(state: State) -> str:
    source = recognise_backbone(state)
    if source is None:
        first = ", ".join(sorted(state)[:3]) or "nothing"
        raise UserError(
            f"not the names of a ResNet (first names: {first})",
            where="weights.backbone",
            hint="known: torchvision (layer1.0.conv1.…), Detectron2 (res2.0.conv1.…), Caffe2 (res2_0_branch2a_…)",
        )
    return source


def _has_groups(state: State) -> bool:
    first, second = state["res2_0_branch2a_w"], state.get("res2_0_branch2b_w")
    return second is not None and second.ndim == first.ndim == 4 and second.shape[1] != first.shape[0]
