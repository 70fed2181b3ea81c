"""Whole imports of a small detector with torchvision's names: what goes in comes out, and faults are named."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.models.backbones import blocks
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.weights import import_model
from maskrcnn.weights.coco_names import COCO_NAMES
from maskrcnn.weights.importer import import_with_report

PUBLISHED = runpy.run_path(str(Path(__file__).with_name("published.py")))
CLASSES, CHANNELS, HIDDEN = PUBLISHED["CLASSES"], PUBLISHED["CHANNELS"], PUBLISHED["HIDDEN"]
state: Callable[..., dict[str, np.ndarray]] = PUBLISHED["state"]


@pytest.fixture(autouse=True)
def _cheap_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is overwritten need not be random first."""
    monkeypatch.setattr(blocks, "HE", "zeros")


def imported(values: dict[str, Any], **settings: Any) -> Predictor:
    return import_model(values, **settings)


def test_every_tensor_arrives_in_its_place() -> None:
    values = state()
    detector = imported(values).detector
    norm = detector.backbone.get_layer("res3_1_shortcut_norm")
    np.testing.assert_array_equal(norm.moving_mean, values["backbone.body.layer2.0.downsample.1.running_mean"])
    np.testing.assert_array_equal(norm.gamma, values["backbone.body.layer2.0.downsample.1.weight"])
    scores = values["roi_heads.box_predictor.cls_score.weight"]
    np.testing.assert_array_equal(detector.box_head.class_logits.kernel, scores.T)
    deltas = values["roi_heads.box_predictor.bbox_pred.weight"]
    np.testing.assert_array_equal(detector.box_head.box_deltas.kernel, deltas[4:].T)
    masks = values["roi_heads.mask_predictor.mask_fcn_logits.bias"]
    np.testing.assert_array_equal(detector.mask_head.logits.bias, masks[1:])
    background = 4 * (HIDDEN + 1) + CHANNELS + 1  # rows of boxes and masks that have no use
    assert sum(v.size for v in values.values()) == detector.count_params() + background


def test_predictions_have_labels_of_the_foreground_and_the_image_s_size() -> None:
    found = imported(state(), min_size=64, max_size=96, box_score_thresh=0.0).predict_images(
        [np.zeros((50, 70, 3), np.uint8)]
    )[0]
    assert (found.height, found.width) == (50, 70)
    assert set(found.labels) <= {1, 2, 3}


def test_settings_of_torchvision_reach_their_places() -> None:
    detector = imported(
        state(),
        min_size=(200, 300),
        max_size=500,
        rpn_pre_nms_top_n_test=11,
        rpn_post_nms_top_n_test=12,
        rpn_nms_thresh=0.6,
        box_score_thresh=0.2,
        box_nms_thresh=0.4,
        box_detections_per_img=7,
        image_mean=[0.5, 0.4, 0.3],
        bn_eps=0.25,
    ).detector
    settings, conventions = detector.settings, detector.conventions
    assert detector.metadata["image"] == {"short_side": 300, "long_side": 500}  # tests use the last of several
    assert (settings.rpn.pre_nms_test, settings.rpn.post_nms_test, settings.rpn.nms_iou) == (11, 12, 0.6)
    assert (settings.roi.score_threshold, settings.roi.nms_iou, settings.roi.detections_per_image) == (0.2, 0.4, 7)
    np.testing.assert_allclose(conventions.pixel_mean, [127.5, 102.0, 76.5])
    assert detector.backbone.get_layer("stem_norm").epsilon == conventions.bn_epsilon == 0.25


def test_backbone_is_frozen_as_torchvision_freezes_it() -> None:
    detector = imported(state()).detector
    assert detector.conventions.bn_epsilon == 1e-5
    assert {v.path.split("/")[-2].split("_")[0] for v in detector.backbone.trainable_variables} == {
        "res3",
        "res4",
        "res5",
    }


def test_ninety_one_classes_are_coco_s_ids_by_name() -> None:
    predictor = imported(state(classes=91))
    assert predictor.category_names == list(COCO_NAMES)
    names = {category["id"]: category["name"] for category in predictor.categories}
    assert (names[1], names[13], names[90]) == ("person", "stop sign", "toothbrush")
    assert [k for k, name in names.items() if name == "N/A"] == [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]


def test_counters_of_batch_norms_are_ignored() -> None:
    imported(state() | {"backbone.body.bn1.num_batches_tracked": np.array(7)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"box_detections": 3}, "box_detections: .*did you mean box_detections_per_img"),
        ({"rpn_score_thresh": 0.5}, "rpn_score_thresh: not a setting"),
        ({"source": "tensorpack"}, "unknown source 'tensorpack'; choose auto or one of torchvision"),
    ],
)
def test_unknown_settings_and_sources_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        imported(state(), **settings)


def test_faults_of_tensors_are_named() -> None:
    values = state()
    del values["roi_heads.box_head.fc7.bias"]
    values["backbone.body.layer2.0.bn1.weight"] = np.ones(3, "float32")
    values["extra.weight"] = np.ones(3, "float32")
    with pytest.raises(UserError) as caught:
        imported(values)
    lines = str(caught.value).splitlines()
    assert [line.split(": ", 1)[1] for line in lines] == [
        "1 tensors missing: roi_heads.box_head.fc7.bias",
        "1 tensors that the architecture does not have: extra.weight",
        "1 tensors of the wrong shape: backbone.body.layer2.0.bn1.weight (3,) for (128,)",
    ]


def test_other_anchors_than_torchvisions_are_refused() -> None:
    values = state()
    values["rpn.head.cls_logits.weight"] = np.zeros((5, CHANNELS, 1, 1), "float32")
    with pytest.raises(UserError, match="5 anchors per cell, expected 3"):
        imported(values)


def test_a_file_gives_the_same_model_as_its_tensors(tmp_path: Path) -> None:
    values = state()
    np.savez(tmp_path / "model.npz", **values)
    from_file, from_state = import_model(tmp_path / "model.npz"), imported(values)
    for ours, theirs in zip(from_file.detector.weights, from_state.detector.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_missing_file_is_told_by_name() -> None:
    with pytest.raises(UserError, match=r"model\.pth: there is no such file"):
        import_model("model.pth")


def test_lenient_import_says_what_it_left_random() -> None:
    values = state()
    del values["roi_heads.box_head.fc7.bias"]
    values["extra.weight"] = np.zeros(3, np.float32)
    values["roi_heads.mask_predictor.mask_fcn_logits.bias"] = np.zeros(7, np.float32)
    _, report = import_with_report(values, strict=False)
    assert report.assignment.missing == ("roi_heads.box_head.fc7.bias",)
    assert report.assignment.unused == ("extra.weight",)
    assert report.assignment.mismatched[0].startswith("roi_heads.mask_predictor.mask_fcn_logits.bias (7,)")
    text = report.to_text()
    assert "missing: stay random (1)" in text
    assert "extra.weight" in text


def test_lenient_import_refuses_numbers_that_are_not_finite() -> None:
    values = state()
    values["rpn.head.cls_logits.bias"][0] = np.nan
    with pytest.raises(UserError, match="not finite"):
        import_model(values, strict=False)


def test_a_model_file_of_ours_is_taken_as_it_is(tmp_path: Path) -> None:
    imported(state()).save(tmp_path / "ours.keras")
    predictor, report = import_with_report(tmp_path / "ours.keras")
    assert (report.source, predictor.detector.num_classes) == ("maskrcnn", CLASSES - 1)
    lines = [line.split() for line in report.to_text().splitlines()]
    assert [line[0] for line in lines] == ["part", *(layer.name for layer in predictor.detector.layers), "loaded"]
    assert lines[-1][1:] == [str(len(predictor.detector.weights)), f"{predictor.detector.count_params():,}"]
    with pytest.raises(UserError, match="min_size: a model file of this program has its settings inside"):
        import_model(tmp_path / "ours.keras", min_size=300)
