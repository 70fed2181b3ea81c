"""From configuration to architecture: what pretrained weights demand of the conventions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskrcnn.config.schema import Config
from maskrcnn.models.detector import Detector
from maskrcnn.structures import BackboneSettings, Conventions, DetectorSettings, PyramidSettings
from maskrcnn.workflows.build import TrainingLength, build_optimizer_for, detector_settings


def conventions(backbone: BackboneSettings, weights: str | None, **given: object) -> Conventions:
    config = Config(backbone=backbone, conventions=Conventions(**given))
    config.weights.backbone = weights
    return detector_settings(config).conventions


def test_imagenet_resnets_bring_pixels_stride_and_epsilon() -> None:
    found = conventions(BackboneSettings("resnet50", norm="frozen"), "imagenet")
    assert (found.channel_order, found.pixel_std, found.stride_in_1x1) == ("bgr", [1.0] * 3, True)
    assert found.bn_epsilon == 1.001e-5


def test_a_file_and_random_weights_leave_the_architecture_alone() -> None:
    assert conventions(BackboneSettings("resnet50"), None) == Conventions()
    assert conventions(BackboneSettings("resnet50"), "weights.h5") == Conventions()
    mobilenet = conventions(BackboneSettings("mobilenetv2"), "weights.h5")
    assert (mobilenet.pixel_mean, mobilenet.stride_in_1x1) == ([127.5] * 3, False)


def test_pixels_that_the_user_gave_win() -> None:
    found = conventions(BackboneSettings("mobilenetv2"), "imagenet", pixel_mean=[1.0, 2.0, 3.0])
    assert found.pixel_mean == [1.0, 2.0, 3.0]


def test_a_backbone_of_another_program_brings_its_own_conventions(tmp_path: Path) -> None:
    names = {"res2_0_branch2a_w": np.zeros((64, 64, 1, 1), "float32"), "conv1_w": np.zeros((64, 3, 7, 7), "float32")}
    np.savez(tmp_path / "R-50.npz", **names)
    found = conventions(BackboneSettings("resnet50", norm="frozen"), str(tmp_path / "R-50.npz"))
    assert (found.channel_order, found.pixel_std, found.stride_in_1x1) == ("bgr", [1.0] * 3, True)


def test_the_backbone_multiplier_is_for_the_trained_weights_of_the_backbone_alone() -> None:
    settings = DetectorSettings(
        backbone=BackboneSettings("mobilenetv2", norm="frozen", frozen_stages=2), pyramid=PyramidSettings(channels=16)
    )
    detector = Detector(settings, num_classes=1, num_keypoints=0)
    config = Config()
    config.optimizer.backbone_multiplier = 0.1
    factors = build_optimizer_for(config, TrainingLength(10, 1), detector).rate_factors
    paths = [v.path for v in detector.trainable_variables if v.path in factors]
    assert set(factors.values()) == {0.1}
    assert len(paths) == len(factors) == len(detector.backbone.trainable_variables) < len(detector.trainable_variables)
