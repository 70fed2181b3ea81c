"""A detector of a few thousand parameters with all heads, and images of different shapes."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from maskrcnn.models.detector import Detector
from maskrcnn.structures import (
    AnchorSettings,
    BackboneSettings,
    BoxHeadSettings,
    DetectorSettings,
    KeypointHeadSettings,
    KeypointSchema,
    MaskHeadSettings,
    ProposalSettings,
    PyramidSettings,
    RoISettings,
)

FACE = KeypointSchema(("left_eye", "right_eye", "nose"), flip_pairs=((0, 1),), sigmas=(0.1, 0.1, 0.1))


@pytest.fixture(scope="session")
def tiny_detector() -> Detector:
    """Weights as they are drawn, but with logits far enough apart that near-ties are rare.

    Not farther: with a deviation of 0.5, as much as 1.0 in the masks, rounding in another order moves boxes by 3e-3
    pixels and masks by 2e-3 in every format alike.
    """
    keras.utils.set_random_seed(3)
    settings = DetectorSettings(
        backbone=BackboneSettings("small", norm="group"),
        pyramid=PyramidSettings(channels=16, levels=3),
        anchors=AnchorSettings(sizes=[[14.0], [28.0], [56.0], [96.0]]),
        rpn=ProposalSettings(pre_nms_test=60, post_nms_test=30),
        roi=RoISettings(score_threshold=0.05, detections_per_image=8, canonical_size=56.0, canonical_level=3),
        box_head=BoxHeadSettings(channels=16),
        mask_head=MaskHeadSettings(convolutions=1, channels=8, predictor_std=0.1),
        keypoint_head=KeypointHeadSettings(convolutions=1, channels=8, upsample=2),
    )
    metadata = {
        "categories": [{"id": 1, "name": "person"}, {"id": 9, "name": "cup"}],
        "schema": dataclasses.asdict(FACE),
        "image": {"short_side": 64, "long_side": 128},
    }
    detector = Detector(settings, 2, num_keypoints=len(FACE), metadata=metadata)
    rng = np.random.default_rng(4)
    for layer in (detector.box_head.class_logits, detector.rpn_head.objectness, detector.rpn_head.deltas):
        kernel = layer.kernel
        kernel.assign(rng.normal(0, 0.1, kernel.shape))
    return detector


@pytest.fixture(scope="session")
def photos() -> list[np.ndarray]:
    """Three images with coarse structure, uint8."""
    rng = np.random.default_rng(5)
    coarse = [rng.integers(0, 256, (height, width, 3), np.uint8) for height, width in ((6, 9), (8, 5), (7, 7))]
    return [np.kron(c, np.ones((12, 12, 1), np.uint8)) for c in coarse]
