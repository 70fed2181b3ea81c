"""Detectors that read one map: res4 with res5 as the head of each RoI (C4), or a dilated res5 (DC5)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.models.backbones import RESNETS, backbone_strides, build_backbone
from maskrcnn.models.backbones import resnet as resnets
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
    RoISettings,
)

NECKS = ("c4", "dc5")


@pytest.fixture(autouse=True)
def _few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block a stage but two in res5: the second of those has no stride and no projection."""
    monkeypatch.setitem(RESNETS, "resnet50", resnets.ResNetVariant((1, 1, 1, 2)))


def settings(neck: str) -> DetectorSettings:
    c4 = neck == "c4"
    return DetectorSettings(
        backbone=BackboneSettings("resnet50", norm="batch", neck=neck),
        anchors=AnchorSettings([[16.0, 32.0]]),
        rpn=ProposalSettings(
            batch_per_image=16, channels=16, pre_nms_train=20, pre_nms_test=20, post_nms_train=16, post_nms_test=16
        ),
        roi=RoISettings(batch_per_image=8, detections_per_image=6, score_threshold=0.0),
        box_head=BoxHeadSettings(fully_connected=0 if c4 else 2, channels=16, pool_size=14 if c4 else 7),
        mask_head=MaskHeadSettings(0 if c4 else 1, 16, pool_size=14),
        keypoint_head=KeypointHeadSettings(1, 16, pool_size=14, upsample=1),
        conventions=Conventions(roi_sampling_ratio=0, background_index=-1, pad_multiple=0),
    )


@pytest.fixture(params=NECKS)
def detector(request: pytest.FixtureRequest) -> Detector:
    keras.utils.set_random_seed(3)
    return Detector(settings(request.param), num_classes=4, num_keypoints=5)


def small_batch(batch_of: Any) -> dict[str, np.ndarray]:
    return batch_of(seed=1, height=64, width=72)


def test_one_map_of_stride_16_is_read(detector: Detector, batch_of: Any) -> None:
    batch = small_batch(batch_of)
    features = detector.features(detector.normalize(batch["images"], batch["sizes"]))
    assert [tuple(level.shape) for level in features] == [(2, 4, 5, 1024 if detector.res5_head else 2048)]
    logits, deltas, anchors = detector.rpn_outputs(features, (64, 72))
    assert (logits.shape, deltas.shape, len(anchors)) == ((2, 4 * 5 * 6), (2, 4 * 5 * 6, 4), 1)
    np.testing.assert_allclose(anchors[0][6], anchors[0][0] + [16, 0, 16, 0])


def test_detections_have_masks_of_the_necks_size(detector: Detector, batch_of: Any) -> None:
    found = detector(small_batch(batch_of), training=False)
    side = 14 if detector.res5_head else 28
    assert found["masks"].shape == (2, 6, side, side)
    assert found["keypoint_logits"].shape == (2, 6, side, side, 5)


def test_two_steps_train_every_part(detector: Detector, batch_of: Any) -> None:
    import tensorflow as tf

    before = {v.path: np.asarray(v) for v in detector.trainable_variables}
    # Eagerly: two steps are over before a graph of this size would be traced.
    detector.compile(optimizer=keras.optimizers.SGD(0.01), jit_compile=False, run_eagerly=True)
    batch = small_batch(batch_of)
    losses = detector.fit(tf.data.Dataset.from_tensors(batch).repeat(2), shuffle=False, verbose=0).history
    assert all(np.isfinite(values[0]) for values in losses.values())
    still = [v.path for v in detector.trainable_variables if (np.asarray(v) == before[v.path]).all()]
    assert still == []


def test_a_saved_detector_gives_the_same_detections(detector: Detector, batch_of: Any, tmp_path: Path) -> None:
    batch = small_batch(batch_of)
    detector.save(tmp_path / "detector.keras")
    loaded = keras.saving.load_model(tmp_path / "detector.keras", safe_mode=True)
    assert loaded.settings == detector.settings
    for name, value in detector(batch, training=False).items():
        np.testing.assert_array_equal(value, loaded(batch, training=False)[name], err_msg=name)


def test_the_mean_of_res5_is_what_the_box_layers_read(batch_of: Any) -> None:
    """By hand: RoIAlign, res5, mean over its cells, and one matrix."""
    detector, batch = Detector(settings("c4"), num_classes=4, num_keypoints=5), small_batch(batch_of)
    features = detector.features(detector.normalize(batch["images"], batch["sizes"]))
    boxes = np.array([[[3.0, 4.0, 40.0, 50.0]], [[10.0, 2.0, 30.0, 60.0]]], "float32")
    logits, _ = detector.box_outputs(features, boxes)
    pooled = detector.pool(features, boxes[:, 0], np.arange(2, dtype="int32"), 14)
    assert tuple(pooled.shape) == (2, 14, 14, 1024)
    cells = np.asarray(detector.res5_head(pooled, training=False))
    assert cells.shape == (2, 7, 7, 2048)
    layer = detector.box_head.class_logits
    by_hand = cells.mean((1, 2)) @ np.asarray(layer.kernel) + np.asarray(layer.bias)
    np.testing.assert_allclose(logits[:, 0], by_hand, rtol=1e-4, atol=1e-5)


def test_a_dilated_stage_has_the_weights_of_the_strided_one() -> None:
    strided, dilated = (
        build_backbone(BackboneSettings("resnet50", norm="frozen", neck=neck), Conventions()) for neck in ("fpn", "dc5")
    )
    assert [w.shape for w in strided.weights] == [w.shape for w in dilated.weights]
    rates = {layer.name: layer.dilation_rate for layer in dilated.layers if isinstance(layer, keras.layers.Conv2D)}
    assert {name for name, rate in rates.items() if rate != (1, 1)} == {"res5_1_conv2", "res5_2_conv2"}
    assert {layer.strides for layer in dilated.layers if layer.name.startswith("res5") and "conv" in layer.name} == {
        (1, 1)
    }


def test_strides_are_known_without_building() -> None:
    assert backbone_strides(BackboneSettings("resnet50", neck="c4")) == {"c2": 4, "c3": 8, "c4": 16}
    assert backbone_strides(BackboneSettings("resnet50", neck="dc5"))["c5"] == 16


@pytest.mark.parametrize(("name", "neck"), [("resnet18", "c4"), ("small", "dc5"), ("resnet50", "c5")])
def test_what_has_no_such_neck_is_refused(name: str, neck: str) -> None:
    with pytest.raises(UserError, match="neck"):
        build_backbone(BackboneSettings(name, neck=neck), Conventions())


def test_the_box_head_of_c4_keeps_the_size_of_roi_align_in_its_settings() -> None:
    detector = Detector(settings("c4"), num_classes=4, num_keypoints=5)
    again = Detector.from_config(detector.get_config())
    assert again.settings.box_head == dataclasses.replace(settings("c4").box_head)
    assert again.box_head.class_logits.kernel.shape == (2048, 5)
