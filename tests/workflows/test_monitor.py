"""Pictures during a training: the same images under the same keys, from step 0 on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.training.checkpoints import Progress
from maskrcnn.workflows.monitor import Monitor, picture_records


class Recorder:
    """A predictor that finds nothing, and a tracker that keeps what it is given."""

    def __init__(self) -> None:
        self.detector = SimpleNamespace(metadata={"categories": [{"id": 1, "name": "cup"}]})
        self.schema = None
        self.logged: list[tuple[str, int]] = []

    def predict_images(self, images: list[np.ndarray]) -> list[Detections]:
        return [Detections.empty(*image.shape[:2]) for image in images]

    def image(self, key: str, picture: np.ndarray, step: int) -> None:
        assert picture.dtype == np.uint8
        self.logged.append((key, step))


def records(folder: Path, count: int) -> list[ImageRecord]:
    made = []
    for number in range(count):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), np.full((40, 60, 3), 10 * number, np.uint8))
        objects = () if number % 2 else (Annotation(1, 1, (5.0, 5.0, 30.0, 30.0), 625.0),)
        made.append(ImageRecord(number + 1, path.name, str(path), 40, 60, objects))
    return made


def test_pictures_of_step_0_and_later_have_the_same_keys(tmp_path: Path) -> None:
    both: Any = Recorder()
    monitor = Monitor(
        predictor=both,
        tracker=both,
        progress=Progress(),
        folder=tmp_path,
        kinds=["bbox"],
        headline="box/AP",
        val=Dataset("none", (), ()),
        pictures=records(tmp_path, 2),
        picture_score=0.5,
        losses=None,
    )
    monitor.draw(0)
    monitor.draw(7)
    assert both.logged == [("test/01", 0), ("test/02", 0), ("test/01", 7), ("test/02", 7)]


def test_images_with_objects_are_chosen_the_same_in_each_run(tmp_path: Path) -> None:
    dataset = Dataset("cups", (Category(1, "cup"),), tuple(records(tmp_path, 8)))
    chosen = [record.id for record in picture_records(dataset, 2)]
    assert chosen == [1, 5]
    assert [record.id for record in picture_records(dataset, 2)] == chosen
    assert len(picture_records(dataset, 20)) == 4
