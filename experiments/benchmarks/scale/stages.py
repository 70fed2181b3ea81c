"""One stage on one size, in a process of its own: seconds, processor seconds and memory as a JSON line.

python -m experiments.benchmarks.scale.stages index '{"images": 100, "instances": 8, "categories": 80}'
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.benchmarks.peers.work import peak_mib, reset_peak
from experiments.benchmarks.scale.data import SIDE, Size, detections, write
from maskrcnn.data.coco import load_coco
from maskrcnn.data.reader import Reader
from maskrcnn.data.records import Dataset
from maskrcnn.data.transforms import Augmentation
from maskrcnn.structures import ResizeSettings

BATCH = 8
READER_BATCHES, NETWORK_BATCHES = 40, 3
"""Batches that are timed, after the first: enough for a steady figure, as many whatever the size."""


def index(folder: Path, size: Size) -> tuple[Callable[[], Any], int]:
    """Read and check the annotation file; per annotation."""
    return (lambda: _load(folder)), size.annotations


def reader(folder: Path, size: Size) -> tuple[Callable[[], Any], int]:
    """Augmented batches without the cache of decoded images, which would hold all of a small set; per image."""
    source = _reader(_load(folder), cache_bytes=0)
    rounds = -(-READER_BATCHES // source.steps_per_epoch)

    def read() -> None:
        left = READER_BATCHES
        for epoch in range(rounds):
            for _ in source.batches(epoch):
                left -= 1
                if not left:
                    return

    return read, READER_BATCHES * BATCH


def step(folder: Path, size: Size) -> tuple[Callable[[], Any], int]:
    """Training steps as `fit` runs them; per image."""
    from maskrcnn.training.adapter import step_dataset
    from maskrcnn.training.loop import compile_model, make_deterministic
    from maskrcnn.training.optimizers import build_optimizer

    make_deterministic(0, deterministic=True)
    model = _detector(size)
    compile_model(model, build_optimizer("sgd", 1e-4))
    batches = iter(step_dataset(_reader(_load(folder)), 0, 10**6))
    model.make_train_function()
    model.train_function(batches)
    return (lambda: [model.train_function(batches) for _ in range(NETWORK_BATCHES)]), NETWORK_BATCHES * BATCH


def inference(folder: Path, size: Size) -> tuple[Callable[[], Any], int]:
    """Images to pasted masks; per image."""
    from maskrcnn.data.images import read_record
    from maskrcnn.prediction.predictor import Predictor

    predictor = Predictor(_detector(size), batch_size=BATCH)
    images = [read_record(record) for record in _load(folder).images[:BATCH]]
    predictor.predict_images(images)
    return (lambda: [predictor.predict_images(images) for _ in range(NETWORK_BATCHES)]), NETWORK_BATCHES * len(images)


def evaluation(folder: Path, size: Size) -> tuple[Callable[[], Any], int]:
    """COCO's figures of boxes and masks of 20 detections an image; per image."""
    from maskrcnn.evaluation.coco import evaluate

    dataset = _load(folder)
    found = detections(dataset)
    return (lambda: evaluate(dataset, found, ("bbox", "segm"))), size.images


STAGES = {f.__name__: f for f in (index, reader, step, inference, evaluation)}
UNITS = {"index": "annotation", "reader": "image", "step": "image", "inference": "image", "evaluation": "image"}


def measure(stage: str, size: Size) -> dict[str, Any]:
    """One row: the stage's call once, in the files of a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        write(size, Path(name))
        call, count = STAGES[stage](Path(name), size)
        reset_peak()
        before, wall, cpu = peak_mib(), time.perf_counter(), time.process_time()
        kept = call()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = peak_mib()
        del kept
    return {
        "stage": stage,
        **size.__dict__,
        "annotations": size.annotations,
        "unit": UNITS[stage],
        "count": count,
        "seconds": round(wall, 4),
        "cpu_s": round(cpu, 4),
        "ms_per_unit": round(1000 * wall / count, 5),
        "cpu_ms_per_unit": round(1000 * cpu / count, 5),
        "peak_mib": round(peak, 1),
        "grown_mib": round(peak - before, 1),
        "bytes_per_unit": round((peak - before) * 2**20 / count),
    }


def _load(folder: Path) -> Dataset:
    return load_coco(folder / "annotations.json", folder / "images", head="mask")[0]


def _reader(dataset: Dataset, **options: Any) -> Reader:
    return Reader(
        dataset,
        batch_size=BATCH,
        image=ResizeSettings(SIDE, SIDE),
        augmentation=Augmentation(flip=0.5, scale=(0.8, 1.25), brightness=0.2),
        seed=0,
        mask_size=56,
        training=True,
        workers=1,
        prefetch=2,
        buckets=2,
        pad_multiple=32,
        with_masks=True,
        with_keypoints=False,
        **options,
    )


def _detector(size: Size) -> Any:
    """The small network of the embedded data, with that many categories."""
    from maskrcnn.config.compose import compose
    from maskrcnn.models.detector import Detector
    from maskrcnn.workflows.build import detector_settings

    settings = detector_settings(compose(["roi.score_threshold=0.0"]))
    return Detector(settings, num_classes=size.categories, metadata={"image": {"short_side": SIDE, "long_side": SIDE}})


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Size(**json.loads(sys.argv[2])))))
