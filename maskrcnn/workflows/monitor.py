"""What happens at each evaluation of a training: figures on the validation part, pictures, the best checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskrcnn.data.images import read_record
from maskrcnn.data.records import Dataset, ImageRecord
from maskrcnn.evaluation.coco import evaluate
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.tracking.read import MODELS
from maskrcnn.tracking.tracker import Tracker
from maskrcnn.training.checkpoints import Progress, averaged_weights
from maskrcnn.visualization.overlays import side_by_side
from maskrcnn.workflows.predictions import predict_dataset

logger = logging.getLogger(__name__)


@dataclass
class Monitor:
    """Evaluates the model of a training; choose nothing by the test images, which are only drawn.

    Attributes:
        kinds: of bbox, segm, keypoints: what is evaluated.
        headline: the figure that chooses the best checkpoint, such as mask/AP.
        val: may be empty: then the last model is the best.
        pictures: test images that are drawn at each evaluation.
    """

    predictor: Predictor
    tracker: Tracker
    progress: Progress
    folder: Path
    kinds: Sequence[str]
    headline: str
    val: Dataset
    pictures: Sequence[ImageRecord]
    picture_score: float
    losses: Callable[[], Mapping[str, float]] | None

    def evaluate(self, step: int) -> None:
        """Figures of the model after `step` steps; keeps it when it is the best so far."""
        with averaged_weights(self.predictor.detector):
            value = self._figures(step) if len(self.val) else None
            self.draw(step)
            if value is None or self.progress.best_value is None or value > self.progress.best_value:
                self.progress.best_value, self.progress.best_step = value, step
                self.predictor.save(self.folder / MODELS[0])

    def _figures(self, step: int) -> float | None:
        detections = predict_dataset(self.predictor, self.val, "validating")
        metrics = evaluate(self.val, detections, self.kinds).metrics
        named = {
            f"val/{name}": value for name, value in metrics.items() if name.split("/")[1] in ("AP", "AP50", "AP75")
        }
        if self.losses is not None:
            named |= {f"val/{name}": value for name, value in self.losses().items()}
        self.tracker.metrics(named, step)
        logger.info("step %d: %s", step, "  ".join(f"{k} {v:.4f}" for k, v in named.items() if v is not None))
        return metrics.get(self.headline)

    def draw(self, step: int) -> None:
        """Log the pictures as the model sees them now.

        Step 0 counts, too: MLflow's slider stands there when a run's page is opened.
        """
        images = [read_record(record) for record in self.pictures]
        if not images:
            return
        names = [category["name"] for category in self.predictor.detector.metadata["categories"]]
        found = self.predictor.predict_images(images)
        for number, (record, image, detections) in enumerate(zip(self.pictures, images, found, strict=True), start=1):
            picture = side_by_side(
                image,
                record.annotations,
                detections,
                names,
                schema=self.predictor.schema,
                min_score=self.picture_score,
            )
            self.tracker.image(f"test/{number:02d}", picture, step)


def picture_records(dataset: Dataset, count: int) -> list[ImageRecord]:
    """The same `count` images in every run: evenly spread over those with objects."""
    candidates = [r for r in dataset.images if any(not a.is_crowd for a in r.annotations)] or list(dataset.images)
    count = min(count, len(candidates))
    return [candidates[i * len(candidates) // count] for i in range(count)]
