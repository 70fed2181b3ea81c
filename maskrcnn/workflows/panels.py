"""Single pictures of the test images, for sheets that put several runs side by side: the truth, and what a run found.

The pictures of the tracking store show both in one; here each lies in a file of its own beside a list that says of
which image it is, since runs with other heads may draw other images.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from maskrcnn.config.schema import Config
from maskrcnn.data.detections import Detections
from maskrcnn.data.images import read_record
from maskrcnn.data.records import Dataset, ImageRecord
from maskrcnn.structures import KeypointSchema
from maskrcnn.tracking.pictures import write_image
from maskrcnn.visualization.overlays import draw, instances_of_detections, instances_of_truth

PANELS = "panels"
LIST = "panels.json"


@dataclass(frozen=True)
class Panel:
    """The two pictures of one test image; paths are relative to the run's folder. `joints` a person are drawn."""

    image: str
    truth: str
    prediction: str
    joints: int = 0


def write_panels(
    config: Config, test: Dataset, records: Sequence[ImageRecord], detections: Sequence[Detections], folder: Path
) -> None:
    """Draws the images of `records` twice, truth and detections of the finished model, into the run's folder."""
    found = {record.id: found for record, found in zip(test.images, detections, strict=True)}
    schema = test.schema if config.head.keypoints else None
    panels = []
    for number, record in enumerate(records, start=1):
        stem = f"{PANELS}/{number:02d}"
        panel = Panel(record.file_name, f"{stem}-truth.png", f"{stem}-prediction.png", len(schema) if schema else 0)
        pictures = _draw(record, found[record.id], test.category_names, schema, config.evaluation.picture_score)
        for path, picture in zip((panel.truth, panel.prediction), pictures, strict=True):
            write_image(folder / path, picture)
        panels.append(panel)
    (folder / PANELS).mkdir(exist_ok=True)
    (folder / PANELS / LIST).write_text(json.dumps([asdict(panel) for panel in panels], indent=1), encoding="utf-8")


def _draw(
    record: ImageRecord, found: Detections, names: Sequence[str], schema: KeypointSchema | None, score: float
) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction; an object has the same colour in both, and so in every run."""
    image = read_record(record)
    truth = instances_of_truth(record.annotations, image.shape[0], image.shape[1], schema)
    objects = truth.boxes if truth.is_crowd is None else truth.boxes[~truth.is_crowd]
    detected = instances_of_detections(found, score, truth=objects)
    return draw(image, truth, names, schema=schema), draw(image, detected, names, schema=schema)


def read_panels(folder: Path) -> list[Panel]:
    """The panels of a run whose files are there; none for a run that did not get so far."""
    try:
        values = json.loads((folder / PANELS / LIST).read_text(encoding="utf-8"))
        panels = [Panel(**value) for value in values]
    except (OSError, ValueError, TypeError):
        return []
    return [panel for panel in panels if all((folder / path).is_file() for path in (panel.truth, panel.prediction))]
