"""Detections on a whole data set, with a progress line."""

from __future__ import annotations

from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Dataset
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.progress import ProgressLine


def predict_dataset(predictor: Predictor, dataset: Dataset, label: str) -> list[Detections]:
    """One `Detections` for each image, in the data set's order."""
    with ProgressLine(len(dataset), label) as line:
        return predictor.predict_dataset(dataset, line.update)
