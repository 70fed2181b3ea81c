"""ImageNet backbones under the names of torchvision, Detectron2 and Caffe2 fill the same variables."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.models.backbones import blocks
from maskrcnn.models.detector import Detector
from maskrcnn.structures import (
    AnchorSettings,
    BackboneSettings,
    BoxHeadSettings,
    Conventions,
    DetectorSettings,
    ProposalSettings,
    PyramidSettings,
)
from maskrcnn.weights.backbones import backbone_conventions, detectron2_names, fill_backbone, recognise_backbone

CAFFE2_SUFFIXES = {"weight": "gamma", "bias": "beta", "running_mean": "running_mean", "running_var": "running_var"}
FOLDED_SUFFIXES = {"weight": "s", "bias": "b"}


@pytest.fixture(autouse=True)
def _cheap_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "HE", "zeros")


def detector(name: str = "resnet50", neck: str = "fpn", norm: str = "frozen") -> Detector:
    one_map = AnchorSettings([[32.0]])
    settings = DetectorSettings(
        backbone=BackboneSettings(name, norm=norm, neck=neck),
        pyramid=PyramidSettings(channels=8),
        anchors=AnchorSettings() if neck == "fpn" else one_map,
        rpn=ProposalSettings(channels=8),
        box_head=BoxHeadSettings(fully_connected=0, pool_size=2),
        mask_head=None,
    )
    return Detector(settings, num_classes=2)


def state(name: str = "resnet50") -> dict[str, np.ndarray]:
    return dict(_state(name))


@functools.cache
def _state(name: str) -> dict[str, np.ndarray]:
    """A whole network under Detectron2's names, from the layers of ours; values tell the tensor."""
    rng = np.random.default_rng(0)
    found = {}
    for layer in detector(name).backbone.layers:
        match = re.fullmatch(r"(?:stem|res(\d)_(\d+)(_shortcut)?)_(conv|norm)(\d?)", layer.name)
        if match is None:
            continue
        stage, block, shortcut, kind, number = match.groups()
        place = (
            "stem.conv1"
            if stage is None
            else f"res{stage}.{int(block) - 1}.{'shortcut' if shortcut else f'conv{number}'}"
        )
        if kind == "conv":
            found[f"{place}.weight"] = rng.normal(size=np.transpose(layer.kernel, (3, 2, 0, 1)).shape)
        else:
            for part in CAFFE2_SUFFIXES:
                found[f"{place}.norm.{part}"] = rng.uniform(0.5, 1.5, layer.gamma.shape)
    return {key: values.astype("float32") for key, values in found.items()}


def to_torchvision(name: str) -> str:
    name = re.sub(r"^stem\.conv1\.norm", "bn1", name)
    name = re.sub(r"^stem\.", "", name)
    name = re.sub(r"^res(\d)", lambda m: f"layer{int(m[1]) - 1}", name)
    name = name.replace("shortcut.norm", "downsample.1").replace("shortcut", "downsample.0")
    return re.sub(r"conv(\d)\.norm", r"bn\1", name)


def to_caffe2(name: str, suffixes: dict[str, str]) -> str | None:
    name = name.replace("stem.conv1.norm", "res_conv1_bn").replace("stem.conv1.weight", "conv1_w")
    for ours, theirs in (("shortcut", "branch1"), ("conv1", "branch2a"), ("conv2", "branch2b"), ("conv3", "branch2c")):
        name = re.sub(rf"^res(\d)\.(\d+)\.{ours}\.norm", rf"res\1_\2_{theirs}_bn", name)
        name = re.sub(rf"^res(\d)\.(\d+)\.{ours}\.weight", rf"res\1_\2_{theirs}_w", name)
    norm, dot, part = name.partition("bn.")
    if not dot:
        return name
    return f"{norm}bn_{suffixes[part]}" if part in suffixes else None


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
def test_torchvisions_names_are_those_of_detectron2_in_other_words(name: str) -> None:
    wanted = state(name)
    theirs = {to_torchvision(key): values for key, values in wanted.items()}
    theirs |= {"fc.weight": np.zeros((3, 2)), "fc.bias": np.zeros(3), "bn1.num_batches_tracked": np.array(5)}
    assert recognise_backbone(theirs) == "torchvision"
    found = detectron2_names(theirs)
    assert set(found) == set(wanted)
    assert all(found[key] is theirs[to_torchvision(key)] for key in wanted)


def test_caffe2s_names_are_those_of_detectron2_in_other_words() -> None:
    wanted = state()
    theirs = {to_caffe2(key, CAFFE2_SUFFIXES): values for key, values in wanted.items()}
    theirs |= {"fc1000_w": np.zeros((3, 2)), "fc1000_b": np.zeros(3), "conv1_b": np.zeros(64)}
    assert recognise_backbone(theirs) == "caffe2"
    found = detectron2_names(theirs)
    assert set(found) == set(wanted)
    np.testing.assert_array_equal(found["res3.0.shortcut.norm.running_var"], wanted["res3.0.shortcut.norm.running_var"])


def test_folded_norms_have_no_mean_and_a_variance_of_one() -> None:
    wanted = state()
    theirs = {new: v for key, v in wanted.items() if (new := to_caffe2(key, FOLDED_SUFFIXES)) is not None}
    found = detectron2_names(theirs)
    assert set(found) == set(wanted)
    assert not found["res2.1.conv2.norm.running_mean"].any()
    assert (found["stem.conv1.norm.running_var"] == 1.0).all()


def test_a_backbone_is_filled_tensor_for_tensor() -> None:
    values, ours = state("resnet18"), detector("resnet18")
    assignment = fill_backbone(ours, values)
    assert len(assignment.loaded) == len(values)
    kernel = ours.backbone.get_layer("res3_1_shortcut_conv").kernel
    np.testing.assert_array_equal(kernel, values["res3.0.shortcut.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(
        ours.backbone.get_layer("stem_norm").moving_mean, values["stem.conv1.norm.running_mean"]
    )


def test_the_last_stage_fills_the_head_of_a_c4_detector() -> None:
    values, ours = state(), detector(neck="c4")
    fill_backbone(ours, values)
    kernel = ours.res5_head.get_layer("res5_3_conv3").kernel
    np.testing.assert_array_equal(kernel, values["res5.2.conv3.weight"].transpose(2, 3, 1, 0))


def test_pixels_and_stride_are_those_that_the_weights_saw() -> None:
    values = state()
    rgb = backbone_conventions({to_torchvision(key): v for key, v in values.items()}, Conventions(stride_in_1x1=True))
    assert (rgb.channel_order, rgb.pixel_mean[0], rgb.pixel_std[0]) == ("rgb", 123.675, 58.395)
    assert rgb.stride_in_1x1 is False
    caffe2 = {to_caffe2(key, CAFFE2_SUFFIXES): v for key, v in values.items()}
    msra = backbone_conventions(caffe2, Conventions())
    assert (msra.channel_order, msra.pixel_mean[0], msra.pixel_std) == ("bgr", 103.53, [1.0] * 3)
    assert msra.stride_in_1x1 is True
    caffe2["res2_0_branch2b_w"] = np.zeros((256, 8, 3, 3), "float32")
    fair = backbone_conventions(caffe2 | {"res2_0_branch2a_w": np.zeros((256, 64, 1, 1), "float32")}, Conventions())
    assert (fair.channel_order, fair.pixel_std, fair.stride_in_1x1) == ("bgr", [57.375, 57.12, 58.395], False)


@pytest.mark.parametrize(
    ("changed", "norm", "message"),
    [
        ({"res4.5.conv3.weight": None}, "frozen", "1 tensors missing: res4.5.conv3.weight"),
        ({"res6.0.conv1.weight": np.ones(3)}, "frozen", "that the architecture does not have: res6"),
        ({"stem.conv1.weight": np.full((64, 3, 7, 7), np.nan)}, "frozen", "not finite: stem.conv1.weight"),
        ({}, "group", "these weights need batch norms"),
    ],
)
def test_faults_are_named(changed: dict[str, np.ndarray | None], norm: str, message: str) -> None:
    values = {key: v for key, v in (state() | changed).items() if v is not None}
    with pytest.raises(UserError, match=message):
        fill_backbone(detector(norm=norm), values)


def test_other_names_are_no_backbone() -> None:
    with pytest.raises(UserError, match=r"not the names of a ResNet \(first names: features\.0\.weight"):
        detectron2_names({"features.0.weight": np.ones(3)})
