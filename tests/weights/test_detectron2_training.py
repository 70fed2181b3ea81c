"""The zoo's architectures train: two steps of each at a tiny size, from random weights."""

from __future__ import annotations

import dataclasses
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from maskrcnn.models.detector import Detector
from maskrcnn.weights.detectron2_architecture import recognise_detectron2
from maskrcnn.weights.detectron2_settings import detector_settings, read_options

ZOO = runpy.run_path(str(Path(__file__).with_name("test_detectron2.py")))
shapes: Callable[[str], dict[str, tuple[int, ...]]] = ZOO["shapes"]
FEW = {
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 40,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 16,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 8,
    "MODEL.BACKBONE.FREEZE_AT": 0,
}
FAST = ("mask_rcnn_R_50_FPN", "mask_rcnn_R_50_C4")
"""The others are among the slow tests: they are larger or differ from these in their heads alone."""


def tiny_batch(num_classes: int) -> dict[str, np.ndarray]:
    """One image of 64 pixels with two instances."""
    rng = np.random.default_rng(0)
    boxes = np.array([[[4.0, 6.0, 40.0, 50.0], [20.0, 10.0, 60.0, 60.0]]], "float32")
    joints = boxes[:, :, None, :2] + rng.uniform(1, 30, (1, 2, 17, 2))
    return {
        "images": rng.integers(0, 256, (1, 64, 64, 3)).astype("uint8"),
        "sizes": np.array([[64, 64]], "int32"),
        "boxes": boxes,
        "labels": np.array([[1, num_classes]], "int32"),
        "masks": rng.integers(0, 2, (1, 2, 28, 28)).astype("uint8"),
        "has_mask": np.ones((1, 2), bool),
        "keypoints": np.concatenate([joints, np.full((1, 2, 17, 1), 2.0)], -1).astype("float32"),
        "seeds": np.zeros(1, "int32"),
        "image_rows": np.zeros(1, "int32"),
    }


@pytest.mark.parametrize(
    "model", [model if model in FAST else pytest.param(model, marks=pytest.mark.slow) for model in ZOO["MODELS"]]
)
def test_two_steps_of_every_architecture_are_finite_and_move_the_weights(model: str) -> None:
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    architecture = recognise_detectron2(shapes(model))
    settings = detector_settings(architecture, read_options(FEW, architecture))
    # Random weights under fixed statistics would explode: the norms learn theirs.
    settings = dataclasses.replace(settings, backbone=dataclasses.replace(settings.backbone, norm="batch"))
    detector = Detector(settings, architecture.num_classes, architecture.num_keypoints)
    watched: dict[str, Any] = {
        "stem": detector.backbone.get_layer("stem_conv").kernel,
        "rpn": detector.rpn_head.objectness.kernel,
        "classes": detector.box_head.class_logits.kernel,
    }
    before = {name: np.asarray(value) for name, value in watched.items()}
    detector.compile(optimizer=keras.optimizers.SGD(0.01), jit_compile=False, run_eagerly=True)
    data = tf.data.Dataset.from_tensors(tiny_batch(architecture.num_classes)).repeat(2)
    history = detector.fit(data, shuffle=False, verbose=0).history
    assert all(np.isfinite(values[0]) for values in history.values()), history
    assert ("loss/mask" in history, "loss/keypoint" in history) == ("mask" in model, "keypoint" in model)
    assert all((np.asarray(value) != before[name]).any() for name, value in watched.items())
