"""A detector of a few thousand parameters and batches that it can train on."""

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
    MaskHeadSettings,
    ProposalSettings,
    PyramidSettings,
    RoISettings,
)


@pytest.fixture(scope="session")
def settings():
    return DetectorSettings(
        backbone=BackboneSettings("small", norm="group"),
        pyramid=PyramidSettings(16, 3, "none"),
        anchors=AnchorSettings([[14.0, 20.0], [28.0, 40.0], [56.0, 76.0], [96.0, 120.0]]),
        rpn=ProposalSettings(
            batch_per_image=32, pre_nms_train=40, pre_nms_test=40, post_nms_train=32, post_nms_test=32
        ),
        roi=RoISettings(
            batch_per_image=16, canonical_size=56.0, canonical_level=3, detections_per_image=10, score_threshold=0.0
        ),
        box_head=BoxHeadSettings(channels=32),
        mask_head=MaskHeadSettings(1, 16, pool_size=7),
        keypoint_head=KeypointHeadSettings(1, 16, pool_size=7, upsample=1),
    )


@pytest.fixture(scope="session")
def detector(settings):
    keras.utils.set_random_seed(3)
    return Detector(settings, num_classes=4, num_keypoints=5, metadata={"categories": [{"id": 7, "name": "cup"}]})


@pytest.fixture
def batch():
    return make_batch()


def make_batch(seed=0, images=2, height=96, width=128, instances=8):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (images, instances, 2))
    sides = rng.uniform(12, 36, (images, instances, 2))
    labels = rng.integers(1, 5, (images, instances)).astype(np.int32)
    labels[:, instances // 2 :] = 0
    boxes = np.concatenate([corners, corners + sides], -1).astype(np.float32) * (labels != 0)[..., None]
    joints = corners[:, :, None] + rng.uniform(0, 1, (images, instances, 5, 2)) * sides[:, :, None]
    keypoints = np.concatenate([joints, np.full((images, instances, 5, 1), 2.0)], -1) * (labels != 0)[..., None, None]
    return {
        "images": rng.integers(0, 256, (images, height, width, 3)).astype(np.uint8),
        "sizes": np.array([[height, width], [height - 10, width - 20]] * images, np.int32)[:images],
        "boxes": boxes,
        "labels": labels,
        "masks": rng.integers(0, 2, (images, instances, 28, 28)).astype(np.uint8),
        "has_mask": labels > 0,
        "keypoints": keypoints.astype(np.float32),
        "seeds": np.arange(images, dtype=np.int32) + seed,
        "image_rows": np.arange(images, dtype=np.int32),
    }


@pytest.fixture(scope="session")
def batch_of():
    return make_batch


@pytest.fixture
def changed():
    """A copy of settings with fields of one part replaced: changed(settings, "roi", nms_iou=0.3)."""

    def replace(settings, part, **fields):
        return dataclasses.replace(settings, **{part: dataclasses.replace(getattr(settings, part), **fields)})

    return replace
