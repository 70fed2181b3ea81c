"""Architectures recognised from names and shapes of published detectors, in new and old spelling."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from maskrcnn.errors import UserError
from maskrcnn.weights.recognise import Architecture, recognise_source, recognise_torchvision
from maskrcnn.weights.torchvision import is_ignored, modern_name

GOLDEN = json.loads((Path(__file__).resolve().parents[1] / "golden/torchvision_names.json").read_text())
MODELS: dict[str, dict[str, list[int]]] = GOLDEN["models"]
FASTER = Architecture(
    backbone="resnet50",
    num_classes=90,
    channels=256,
    levels=4,
    anchors_per_cell=3,
    rpn_convolutions=1,
    box_convolutions=0,
    box_dense=(1024, 1024),
    mask_convolutions=0,
    mask_channels=0,
    keypoint_convolutions=0,
    keypoint_channels=0,
    num_keypoints=0,
    normed=False,
)
EXPECTED = {
    "fasterrcnn_resnet50_fpn": {},
    "maskrcnn_resnet50_fpn": {"mask_convolutions": 4, "mask_channels": 256},
    "maskrcnn_resnet50_fpn_v2": {
        "mask_convolutions": 4,
        "mask_channels": 256,
        "rpn_convolutions": 2,
        "box_convolutions": 4,
        "box_dense": (1024,),
        "normed": True,
    },
    "keypointrcnn_resnet50_fpn": {
        "num_classes": 1,
        "keypoint_convolutions": 8,
        "keypoint_channels": 512,
        "num_keypoints": 17,
    },
}


def shapes(model: str, **changed: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    found = {name: tuple(shape) for name, shape in MODELS[model].items() if not is_ignored(name)}
    return found | {name.replace("__", "."): shape for name, shape in changed.items()}


def old_spelling(name: str) -> str:
    """The inverse of the golden table of old names."""
    name = re.sub(r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.0\.", r"\1.", name)
    name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
    match = re.fullmatch(r"roi_heads\.mask_head\.(\d)\.0\.(.*)", name)
    return f"roi_heads.mask_head.mask_fcn{int(match[1]) + 1}.{match[2]}" if match else name


@pytest.mark.parametrize("model", list(EXPECTED))
def test_published_detectors_are_recognised(model: str) -> None:
    expected = Architecture(**{**FASTER.__dict__, **EXPECTED[model]})
    assert recognise_torchvision(shapes(model)) == expected
    assert recognise_source(MODELS[model]) == "torchvision"


@pytest.mark.parametrize("model", ["fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn"])
def test_old_spellings_become_todays_names(model: str) -> None:
    old = [old_spelling(name) for name in MODELS[model]]
    assert len(set(old) - set(MODELS[model])) > 16
    assert [modern_name(name) for name in old] == list(MODELS[model])


def test_todays_names_stay() -> None:
    for names in MODELS.values():
        assert [modern_name(name) for name in names] == list(names)


def test_a_missing_deciding_tensor_and_a_wrong_rank_are_named() -> None:
    state = shapes("maskrcnn_resnet50_fpn")
    del state["rpn.head.cls_logits.weight"]
    with pytest.raises(UserError, match=r"rpn\.head\.cls_logits\.weight: missing"):
        recognise_torchvision(state)
    state = shapes("maskrcnn_resnet50_fpn") | {"roi_heads.box_predictor.cls_score.weight": (91,)}
    with pytest.raises(UserError, match=r"cls_score\.weight: has shape \(91,\), expected 2 axes"):
        recognise_torchvision(state)


def test_an_unknown_resnet_is_refused_with_the_known_ones() -> None:
    state = shapes("maskrcnn_resnet50_fpn") | {"backbone.body.layer1.3.conv1.weight": (64, 256, 1, 1)}
    with pytest.raises(UserError, match=r"unknown ResNet of \(4, 4, 6, 3\) blocks.*resnet18"):
        recognise_torchvision(state)


def test_other_names_are_no_known_source() -> None:
    with pytest.raises(UserError, match="first names: conv1/kernel"):
        recognise_source({"conv1/kernel": None})
    with pytest.raises(UserError, match="first names: nothing"):
        recognise_source({})
