"""Matterport's names and layouts: every tensor finds its place, and the heads compute what the original's do."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.models.backbones import blocks
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.weights.importer import import_with_report
from maskrcnn.weights.matterport import EPSILON

CLASSES, CHANNELS, RPN, HIDDEN = 81, 8, 12, 16
"""With background; narrow, since widths are read from the file."""


@pytest.fixture(autouse=True)
def _cheap_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is overwritten need not be random first."""
    monkeypatch.setattr(blocks, "HE", "zeros")


def shapes() -> dict[str, tuple[int, ...]]:
    """ResNet-50 under Matterport's names (PAPER §5.5), with narrow pyramid and heads."""
    found: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *kernel: int, inside: str = "") -> None:
        path = f"{inside or name}/{name}"
        found[f"{path}/kernel:0"] = kernel
        found[f"{path}/bias:0"] = (kernel[2] if name == "mrcnn_mask_deconv" else kernel[-1],)

    def norm(name: str, width: int) -> None:
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            found[f"{name}/{name}/{part}:0"] = (width,)

    layer("conv1", 7, 7, 3, 64)
    norm("bn_conv1", 64)
    inputs = 64
    for stage, letters in ((2, "abc"), (3, "abcd"), (4, "abcdef"), (5, "abc")):
        width = 16 * 2**stage
        for letter in letters:
            sizes = {"2a": (1, 1, inputs, width), "2b": (3, 3, width, width), "2c": (1, 1, width, 4 * width)}
            if letter == "a":
                sizes["1"] = (1, 1, inputs, 4 * width)
            for branch, kernel in sizes.items():
                layer(f"res{stage}{letter}_branch{branch}", *kernel)
                norm(f"bn{stage}{letter}_branch{branch}", kernel[-1])
            inputs = 4 * width
        layer(f"fpn_c{stage}p{stage}", 1, 1, inputs, CHANNELS)
        layer(f"fpn_p{stage}", 3, 3, CHANNELS, CHANNELS)
    layer("rpn_conv_shared", 3, 3, CHANNELS, RPN, inside="rpn_model")
    layer("rpn_class_raw", 1, 1, RPN, 6, inside="rpn_model")
    layer("rpn_bbox_pred", 1, 1, RPN, 12, inside="rpn_model")
    for k, kernel in ((1, (7, 7, CHANNELS, HIDDEN)), (2, (1, 1, HIDDEN, HIDDEN))):
        layer(f"mrcnn_class_conv{k}", *kernel)
        norm(f"mrcnn_class_bn{k}", HIDDEN)
    layer("mrcnn_class_logits", HIDDEN, CLASSES)
    layer("mrcnn_bbox_fc", HIDDEN, 4 * CLASSES)
    for k in range(1, 5):
        layer(f"mrcnn_mask_conv{k}", 3, 3, CHANNELS, CHANNELS)
        norm(f"mrcnn_mask_bn{k}", CHANNELS)
    layer("mrcnn_mask_deconv", 2, 2, CHANNELS, CHANNELS)
    layer("mrcnn_mask", 1, 1, CHANNELS, CLASSES)
    return found


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(0.5, 1.5, shape).astype("float32")
        if "variance" in name or "gamma" in name
        else rng.normal(0, 0.1, shape).astype("float32")
        for name, shape in shapes().items()
    }


@pytest.fixture(scope="module")
def imported(state: dict[str, np.ndarray]) -> Predictor:
    predictor, report = import_with_report(state, "auto", {"DETECTION_MIN_CONFIDENCE": 0.0, "IMAGE_MIN_DIM": 64})
    assert report.source == "matterport"
    return predictor


def norm_of(values: np.ndarray, state: dict[str, np.ndarray], name: str) -> np.ndarray:
    gamma, beta, mean, variance = (
        state[f"{name}/{name}/{part}:0"] for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return (values - mean) / np.sqrt(variance + EPSILON) * gamma + beta


def test_the_box_head_computes_what_convolutions_and_norms_did(
    imported: Predictor, state: dict[str, np.ndarray]
) -> None:
    pooled = np.random.default_rng(1).normal(size=(3, 7, 7, CHANNELS)).astype("float32")
    x = np.einsum("nhwc,hwco->no", pooled, state["mrcnn_class_conv1/mrcnn_class_conv1/kernel:0"])
    x = np.maximum(norm_of(x + state["mrcnn_class_conv1/mrcnn_class_conv1/bias:0"], state, "mrcnn_class_bn1"), 0)
    x = x @ state["mrcnn_class_conv2/mrcnn_class_conv2/kernel:0"][0, 0]
    x = np.maximum(norm_of(x + state["mrcnn_class_conv2/mrcnn_class_conv2/bias:0"], state, "mrcnn_class_bn2"), 0)
    logits, deltas = imported.detector.box_head(pooled)
    fc = x @ state["mrcnn_bbox_fc/mrcnn_bbox_fc/kernel:0"] + state["mrcnn_bbox_fc/mrcnn_bbox_fc/bias:0"]
    wanted = x @ state["mrcnn_class_logits/mrcnn_class_logits/kernel:0"]
    np.testing.assert_allclose(logits, wanted + state["mrcnn_class_logits/mrcnn_class_logits/bias:0"], atol=1e-4)
    dy, dx, dh, dw = np.moveaxis(fc.reshape(3, CLASSES, 4)[:, 1:], -1, 0)
    np.testing.assert_allclose(deltas, np.stack([dx, dy, dw, dh], -1), atol=1e-4)


def test_objectness_is_the_difference_of_the_two_logits(imported: Predictor, state: dict[str, np.ndarray]) -> None:
    kernel = state["rpn_model/rpn_class_raw/kernel:0"]
    np.testing.assert_allclose(imported.detector.rpn_head.objectness.kernel[..., 1], kernel[..., 3] - kernel[..., 2])
    deltas = state["rpn_model/rpn_bbox_pred/bias:0"]
    np.testing.assert_array_equal(imported.detector.rpn_head.deltas.bias[4:8], deltas[[5, 4, 7, 6]])


def test_biases_of_the_backbone_move_into_the_norms(imported: Predictor, state: dict[str, np.ndarray]) -> None:
    norm = imported.detector.backbone.get_layer("res4_6_norm3")
    mean = state["bn4f_branch2c/bn4f_branch2c/moving_mean:0"] - state["res4f_branch2c/res4f_branch2c/bias:0"]
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-6)
    assert norm.epsilon == EPSILON


def test_anchors_are_as_wide_as_matterport_s(imported: Predictor) -> None:
    anchors = imported.detector.settings.anchors
    heights = [32 * ratio**0.5 for ratio in anchors.ratios]
    np.testing.assert_allclose(heights, [32 / r**0.5 for r in (0.5, 1, 2)])  # its ratios are width / height


def test_categories_are_coco_s_eighty_and_images_give_detections(imported: Predictor) -> None:
    assert [(c["id"], c["name"]) for c in imported.categories][:12:11] == [(1, "person"), (13, "stop sign")]
    assert len(imported.categories) == 80
    found = imported.predict_images([np.zeros((40, 60, 3), np.uint8)])[0]
    assert (found.height, found.width) == (40, 60)


def test_a_file_of_keras_2_is_read(tmp_path: Path, state: dict[str, np.ndarray]) -> None:
    with h5py.File(tmp_path / "mask_rcnn.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv1"]
        for name, values in state.items():
            file.create_dataset(name, data=values)
    _, report = import_with_report(tmp_path / "mask_rcnn.h5")
    assert not report.assignment.unused
    assert len(report.assignment.loaded) < len(state)  # norms of the heads and biases are folded


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ("mrcnn_mask/mrcnn_mask/bias:0", "1 tensors missing: mrcnn_mask/bias"),
        ("mrcnn_class_bn1/mrcnn_class_bn1/gamma:0", "mrcnn_class_bn1/gamma: missing"),
        ("res3a_branch2b/res3a_branch2b/kernel:0", "missing: res3a_branch2b/kernel"),
    ],
)
def test_a_missing_tensor_is_told_by_name(state: dict[str, np.ndarray], change: str, answer: str) -> None:
    with pytest.raises(UserError, match=answer):
        import_with_report({name: values for name, values in state.items() if name != change})


def test_unknown_settings_are_refused_with_the_nearest(state: dict[str, np.ndarray]) -> None:
    with pytest.raises(UserError, match="did you mean DETECTION_NMS_THRESHOLD"):
        import_with_report(state, "matterport", {"DETECTION_NMS_TRESHOLD": 0.5})
