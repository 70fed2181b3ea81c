"""Our side: the imported detector, trained by what `fit` runs and predicting through `Predictor`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from experiments.benchmarks.peers import work
from maskrcnn.data.collate import BatchForm, collate
from maskrcnn.data.transforms import Sample
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.training.adapter import Batch, step_dataset
from maskrcnn.training.loop import compile_model, make_deterministic
from maskrcnn.training.optimizers import build_optimizer
from maskrcnn.weights import import_model

Call = Callable[[], dict[str, Any]]
MASK_SIZE = 56
"""The default of `reader.mask_size`."""
ENDLESS = 10**9
BN_EPSILON = 1e-5
"""Of a torchvision detector that is built without its published weights."""


def prepare(job: work.Job) -> tuple[Call, dict[str, Any]]:
    """The call of the job, and how many parameters train."""
    tf.config.threading.set_intra_op_parallelism_threads(job.threads)
    make_deterministic(job.seed, deterministic=True)  # the default on a CPU
    keras.config.set_dtype_policy(job.precision)
    case = work.CASES[job.case]
    predictor = import_model(
        work.make_state(job),
        min_size=case.short,
        max_size=2 * case.short,
        box_score_thresh=work.SCORE_THRESHOLD,
        bn_eps=BN_EPSILON,
    )
    samples = work.make_samples(job)
    if case.mode == "infer":
        return inference(predictor, [sample["pixels"] for sample in samples]), {"trainable_parameters": 0}
    batch = make_batch(samples, case.head) | {"proposals": work.make_proposals(job, samples)}
    model = predictor.detector
    count = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    return training(model, batch), {"trainable_parameters": count}


def make_batch(samples: list[dict[str, np.ndarray]], head: str) -> Batch:
    """The batch that the reader would make of the samples."""
    form = BatchForm(MASK_SIZE, 32, with_masks=head == "mask", with_keypoints=head == "keypoint")
    rows = np.arange(len(samples))
    return collate([to_sample(sample) for sample in samples], rows.tolist(), rows, form)


def to_sample(sample: dict[str, np.ndarray]) -> Sample:
    boxes = sample["boxes"].astype(int)
    return Sample(
        image=sample["pixels"],
        boxes=sample["boxes"],
        labels=sample["labels"].astype(np.int32),
        is_crowd=np.zeros(len(boxes), bool),
        bitmaps=[mask[y1:y2, x1:x2] for mask, (x1, y1, x2, y2) in zip(sample["masks"], boxes)],
        windows=sample["boxes"].astype(np.float64),
        keypoints=sample["keypoints"],
    )


class Repeated:
    """A source that gives the same batch forever, with the reader's free height, width and instances."""

    steps_per_epoch = ENDLESS

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        free = {"images": (1, 2), "boxes": (1,), "labels": (1,), "masks": (1,), "has_mask": (1,), "keypoints": (1,)}
        self.signature = {
            name: (tuple(None if i in free.get(name, ()) else s for i, s in enumerate(values.shape)), values.dtype)
            for name, values in batch.items()
        }

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        return itertools.repeat(self._batch)

    def image_ids(self, epoch: int, step: int) -> list[int]:
        return list(range(len(self._batch["images"])))


def training(model: Any, batch: Batch) -> Call:
    """One step of SGD as `fit` runs it, its input pipeline included."""
    optimizer = build_optimizer("sgd", work.LEARNING_RATE, weight_decay=work.WEIGHT_DECAY, momentum=work.MOMENTUM)
    compile_model(model, optimizer)
    steps = iter(step_dataset(Repeated(batch), 0, ENDLESS))
    model.make_train_function()

    def step() -> dict[str, Any]:
        model.reset_metrics()
        logs = {name: float(value) for name, value in model.train_function(steps).items()}
        return {"loss": logs["loss"], "positives": logs["roi/positives"]}

    return step


def inference(predictor: Predictor, images: list[np.ndarray]) -> Call:
    """Detections with masks at the image's size, as bool; or with joints."""

    def predict() -> dict[str, Any]:
        found = predictor.predict_images(images)[0]
        result: dict[str, Any] = {"positives": len(found)}
        if found.masks is not None:
            result["mask_pixels"] = int(found.bool_masks().sum())
        elif found.keypoints is not None:
            result["mean_joint"] = float(found.keypoints[..., :2].mean())
        return result

    return predict


if __name__ == "__main__":
    work.serve(prepare)
