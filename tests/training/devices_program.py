"""Twenty steps of a small detector on the devices that the command line asks for: losses and weights as JSON.

    python devices_program.py COUNT OPTIMIZER                  devices of one process
    python devices_program.py 1 OPTIMIZER WORKER PORT PORT     one of two processes, which find each other at the ports

Every part whose value depends on the whole batch takes part: batch norm, clipping, weight decay, all losses. Proposals
are given: a rounding that puts another one into the sample would be followed by other losses.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

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
from maskrcnn.training.adapter import step_dataset
from maskrcnn.training.callbacks import StepValues
from maskrcnn.training.devices import device_scope
from maskrcnn.training.loop import compile_model, make_deterministic
from maskrcnn.training.optimizers import build_optimizer

STEPS, IMAGES, SIDE, INSTANCES, JOINTS = 20, 4, 64, 6, 3


class Batches:
    """Noise with a rectangle for each object; the images of a batch hold different numbers of them."""

    steps_per_epoch = STEPS

    @property
    def signature(self) -> dict[str, Any]:
        return {name: (value.shape, value.dtype) for name, value in self.batch(0).items()}

    def batches(self, epoch: int, start_step: int = 0) -> Any:
        return (self.batch(step) for step in range(start_step, STEPS))

    def image_ids(self, epoch: int, step: int) -> list[int]:
        return list(range(IMAGES))

    def batch(self, step: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(step)
        corners = rng.uniform(0, 30, (IMAGES, INSTANCES, 2))
        sides = rng.uniform(12, 30, (IMAGES, INSTANCES, 2))
        there = np.arange(INSTANCES) < np.array([1, 5, 2, 3])[:, None]
        boxes = (np.concatenate([corners, corners + sides], -1) * there[..., None]).astype(np.float32)
        joints = corners[:, :, None] + rng.uniform(0, 1, (IMAGES, INSTANCES, JOINTS, 2)) * sides[:, :, None]
        keypoints = np.concatenate([joints, np.full((IMAGES, INSTANCES, JOINTS, 1), 2.0)], -1) * there[..., None, None]
        proposals = boxes[:, np.arange(24) % INSTANCES] + rng.uniform(-4, 4, (IMAGES, 24, 4))
        proposals[..., 2:] = np.maximum(proposals[..., 2:], proposals[..., :2] + 4)
        return {
            "proposals": proposals.astype(np.float32),
            "images": rng.integers(0, 256, (IMAGES, SIDE, SIDE, 3)).astype(np.uint8),
            "sizes": np.full((IMAGES, 2), SIDE, np.int32),
            "boxes": boxes,
            "labels": np.where(there, 1 + np.arange(INSTANCES) % 2, 0).astype(np.int32),
            "masks": rng.integers(0, 2, (IMAGES, INSTANCES, 28, 28)).astype(np.uint8),
            "has_mask": there,
            "keypoints": keypoints.astype(np.float32),
            "seeds": np.arange(IMAGES, dtype=np.int32) + 100 * step,
            "image_rows": np.arange(IMAGES, dtype=np.int32),
        }


class Record(StepValues):
    def __init__(self) -> None:
        super().__init__(0)
        self.values: list[dict[str, float]] = []

    def on_step(self, step: int, values: dict[str, float]) -> None:
        norm = float(np.asarray(self.model.optimizer.gradient_norm))
        self.values.append({**values, "gradient_norm": norm})


def settings() -> DetectorSettings:
    return DetectorSettings(
        backbone=BackboneSettings("small", norm="batch"),
        pyramid=PyramidSettings(16, 3),
        anchors=AnchorSettings([[14.0], [28.0], [40.0], [56.0]]),
        rpn=ProposalSettings(batch_per_image=32, pre_nms_train=40, post_nms_train=32),
        roi=RoISettings(batch_per_image=16, canonical_size=56.0, canonical_level=3),
        box_head=BoxHeadSettings(channels=32),
        mask_head=MaskHeadSettings(1, 16, pool_size=7, predictor_std=0.0),
        keypoint_head=KeypointHeadSettings(1, 16, pool_size=7, upsample=1),
    )


def fit(scope: Any, optimizer: str, make_data: Any, steps: int | None) -> None:
    with scope:
        model = Detector(settings(), num_classes=2, num_keypoints=JOINTS)
        rate = {"sgd": 0.01, "adamw": 0.001}[optimizer]
        compile_model(model, build_optimizer(optimizer, rate, weight_decay=0.01, global_clipnorm=1.0))
    record = Record()
    model.fit(make_data(), steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=[record])
    weights = np.concatenate([np.ravel(keras.ops.convert_to_numpy(v)) for v in model.weights])
    print(json.dumps({"steps": record.values, "weights": [float(w) for w in weights[:: max(1, len(weights) // 500)]]}))


def worker_data(strategy: Any, worker: int, workers: int) -> Any:
    """This worker's part of each batch."""
    import tensorflow as tf

    share = IMAGES // workers
    part = slice(worker * share, (worker + 1) * share)
    signature = {n: tf.TensorSpec((share, *shape[1:]), kind) for n, (shape, kind) in Batches().signature.items()}

    def generate() -> Any:
        for batch in Batches().batches(0):
            yield {name: value[part] for name, value in batch.items()}

    def make(context: Any) -> Any:
        data = tf.data.Dataset.from_generator(generate, output_signature=signature)
        return data.apply(tf.data.experimental.assert_cardinality(STEPS))

    return strategy.distribute_datasets_from_function(make)


def main(count: int, optimizer: str, worker: int | None = None, ports: tuple[str, ...] = ()) -> None:
    if worker is None:
        scope = device_scope(count)
        make_deterministic(0, True)
        fit(scope, optimizer, lambda: step_dataset(Batches(), 0, STEPS), None)
        return
    import tensorflow as tf

    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": worker}})
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    make_deterministic(0, True)
    fit(strategy.scope(), optimizer, lambda: worker_data(strategy, worker, len(ports)), STEPS)


if __name__ == "__main__":
    own = sys.argv[3:]
    main(int(sys.argv[1]), sys.argv[2], int(own[0]) if own else None, tuple(own[1:]))
