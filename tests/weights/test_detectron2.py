"""Detectron2's model zoo: every detector is recognised, built, and each of its tensors has a place of its shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.models import heads
from maskrcnn.models.backbones import blocks
from maskrcnn.models.detector import Detector
from maskrcnn.weights.assign import check_covered
from maskrcnn.weights.detectron2 import rules
from maskrcnn.weights.detectron2_architecture import is_ignored, recognise_detectron2
from maskrcnn.weights.detectron2_settings import detector_settings, read_options
from maskrcnn.weights.recognise import recognise_source

GOLDEN = json.loads((Path(__file__).resolve().parents[1] / "golden/detectron2_names.json").read_text())
MODELS: dict[str, dict[str, Any]] = GOLDEN["models"]
BACKBONES = {"R_50": "resnet50", "R_101": "resnet101", "X_101": "resnext101_32x8d"}
LARGE = ("R_101", "X_101", "DC5")
"""Those whose models take long to build: the slow tests do it."""


def shapes(model: str) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in MODELS[model]["keys"].items():
        found[name] = tuple(shape)
        if name.endswith(".norm.weight"):
            for part in ("bias", "running_mean", "running_var"):
                found[name.replace("norm.weight", f"norm.{part}")] = tuple(shape)
    return found


@pytest.fixture
def empty_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detectors are built for their shapes alone: random numbers would take the time."""
    zeros = keras.initializers.Zeros()
    monkeypatch.setattr(blocks, "HE", "zeros")
    monkeypatch.setattr(heads, "msra_fan_out", lambda: zeros)
    for kind in (keras.initializers.GlorotUniform, keras.initializers.LecunUniform, keras.initializers.RandomNormal):
        monkeypatch.setattr(kind, "__call__", lambda self, shape, dtype=None: zeros(shape, dtype))


@pytest.mark.parametrize("model", list(MODELS))
def test_every_detector_of_the_zoo_is_recognised(model: str) -> None:
    kind, _, rest = model.partition("_rcnn_")
    found = recognise_detectron2(shapes(model))
    assert recognise_source(dict.fromkeys(shapes(model))) == "detectron2"
    assert found.neck == rest.rpartition("_")[2].lower()
    assert found.backbone == next(ours for theirs, ours in BACKBONES.items() if rest.startswith(theirs))
    assert found.num_classes == (1 if kind == "keypoint" else 80)
    assert (found.mask_channels > 0, found.num_keypoints) == (kind == "mask", 17 if kind == "keypoint" else 0)
    assert found.anchors_per_cell == (3 if found.neck == "fpn" else 15)


@pytest.mark.parametrize("model", list(MODELS))
def test_defaults_are_those_of_the_model_zoo(model: str) -> None:
    architecture, wanted = recognise_detectron2(shapes(model)), MODELS[model]["settings"]
    found = detector_settings(architecture, read_options({}, architecture))
    rpn = found.rpn
    assert found.conventions.pixel_std == wanted["pixel_std"]
    assert found.conventions.stride_in_1x1 == wanted["stride_in_1x1"]
    assert found.conventions.pad_multiple == wanted["size_divisibility"]
    assert found.anchors.sizes == wanted["anchor_sizes"]
    assert wanted["rpn"] == {
        "pre_nms_topk_test": rpn.pre_nms_test,
        "post_nms_topk_test": rpn.post_nms_test,
        "pre_nms_topk_train": rpn.pre_nms_train,
        "post_nms_topk_train": rpn.post_nms_train,
    }
    assert found.box_head.smooth_l1_beta == wanted["box_smooth_l1_beta"]


@pytest.mark.parametrize(
    "model",
    [pytest.param(m, marks=pytest.mark.slow) if any(part in m for part in LARGE) else m for m in MODELS],
)
def test_every_tensor_has_a_place_of_its_shape_and_the_counts_are_the_published(
    model: str, empty_kernels: None
) -> None:
    wanted = shapes(model)
    architecture = recognise_detectron2(wanted)
    settings = detector_settings(architecture, read_options({}, architecture))
    detector = Detector(settings, architecture.num_classes, architecture.num_keypoints)
    found = list(rules(detector, architecture))
    check_covered(found, detector.weights)
    assert sorted(rule.source for rule in found) == sorted(wanted)
    for rule in found:
        stand_in = np.broadcast_to(np.float32(0), wanted[rule.source])
        assert rule.layout(stand_in).shape == tuple(rule.variable.shape), rule.source
    assert detector.count_params() == MODELS[model]["numbers"]
    frozen = [v for v in detector.weights if v.path.split("/")[-2].rpartition("_")[2].startswith("norm")]
    assert detector.count_params() - sum(int(np.prod(v.shape)) for v in frozen) == MODELS[model]["parameters"]


def test_what_old_files_hold_beside_weights_is_ignored() -> None:
    assert is_ignored("pixel_mean")
    assert is_ignored("proposal_generator.anchor_generator.cell_anchors.4")
    assert is_ignored("backbone.stem.conv1.norm.num_batches_tracked")
    assert not any(is_ignored(name) for model in MODELS for name in shapes(model))


def options(model: str = "mask_rcnn_R_50_FPN", **given: Any) -> dict[str, Any]:
    return read_options({name.replace("__", "."): v for name, v in given.items()}, recognise_detectron2(shapes(model)))


def test_dotted_keys_reach_their_places() -> None:
    given = {
        "INPUT.FORMAT": "RGB",
        "INPUT.MIN_SIZE_TEST": 0,
        "MODEL.PIXEL_STD": (57, 57, 58),
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.RPN.NMS_THRESH": 0.6,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": 11,
        "MODEL.RPN.POST_NMS_TOPK_TEST": 12,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.2,
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.4,
        "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2,
        "MODEL.ROI_HEADS.NUM_CLASSES": 80,
        "TEST.DETECTIONS_PER_IMAGE": 7,
    }
    architecture = recognise_detectron2(shapes("mask_rcnn_R_50_FPN"))
    read = read_options(given, architecture)
    found = detector_settings(architecture, read)
    conventions, rpn, roi = found.conventions, found.rpn, found.roi
    assert read["INPUT.MIN_SIZE_TEST"] == 0
    assert (conventions.channel_order, conventions.pixel_std) == ("rgb", [57.0, 57.0, 58.0])
    assert (conventions.stride_in_1x1, conventions.roi_sampling_ratio) == (False, 2)
    assert (rpn.nms_iou, rpn.pre_nms_test, rpn.post_nms_test) == (0.6, 11, 12)
    assert (roi.score_threshold, roi.nms_iou, roi.detections_per_image) == (0.2, 0.4, 7)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"MODEL.RPN.NMS_TRESH": 0.5}, "MODEL.RPN.NMS_TRESH: not a setting .*did you mean MODEL.RPN.NMS_THRESH"),
        ({"min_size": 800}, "min_size: not a setting"),
        ({"INPUT.MIN_SIZE_TEST": "800"}, "INPUT.MIN_SIZE_TEST: '800' is no value of this kind"),
        ({"INPUT.MIN_SIZE_TEST": -1}, "is no value of this kind"),
        ({"INPUT.FORMAT": "YUV"}, "INPUT.FORMAT: 'YUV' is not known"),
        ({"TEST.DETECTIONS_PER_IMAGE": 2.5}, "is no value of this kind"),
        ({"MODEL.RPN.NMS_THRESH": float("nan")}, "is no value of this kind"),
        ({"MODEL.PIXEL_MEAN": 3.0}, "is no list"),
        ({"MODEL.PIXEL_MEAN": [3.0]}, "needs 3 numbers"),
        ({"MODEL.ROI_HEADS.NUM_CLASSES": 20}, "MODEL.ROI_HEADS.NUM_CLASSES: is 20, the weights have 80"),
        ({"MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 14}, "is 14, the weights have 7"),
        ({"MODEL.ANCHOR_GENERATOR.SIZES": [[32, 64]]}, "6 anchors per cell, the weights have 3"),
        ({"MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64]]}, "2 lists for 5 levels"),
        (
            {"MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2, "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": 0},
            "heads with different POOLER_SAMPLING_RATIO",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    architecture = recognise_detectron2(shapes("mask_rcnn_R_50_FPN"))
    with pytest.raises(UserError, match=message):
        detector_settings(architecture, read_options(given, architecture))


def test_a_missing_deciding_tensor_and_an_unknown_backbone_are_named() -> None:
    state = shapes("mask_rcnn_R_50_C4")
    del state["proposal_generator.rpn_head.objectness_logits.weight"]
    with pytest.raises(UserError, match=r"objectness_logits\.weight: missing"):
        recognise_detectron2(state)
    state = shapes("mask_rcnn_R_50_C4") | {"backbone.res2.3.conv1.weight": (64, 256, 1, 1)}
    with pytest.raises(UserError, match=r"unknown ResNet of \(4, 4, 6\) blocks.*resnet50"):
        recognise_detectron2(state)
