"""Detections on a whole data set, with a progress line."""

from __future__ import annotations

from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Dataset
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.progress import ProgressLine
from maskrcnn.workflows.joints import with_joints_of


def predict_dataset(predictor: Predictor, dataset: Dataset, label: str) -> list[Detections]:
    """One `Detections` for each image, in the data set's order; keypoints are those of its schema."""
    with ProgressLine(len(dataset), label) as line:
        return with_joints_of(dataset, predictor.predict_dataset(dataset, line.update), predictor.schema)
