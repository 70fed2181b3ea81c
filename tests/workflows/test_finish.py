"""The figures at the end of a run: what a keypoint run has beside the boxes, and what others have not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.structures import KeypointSchema
from maskrcnn.workflows.finish import final_figures, print_figures

PAIR = KeypointSchema(("left_hand", "right_hand"), flip_pairs=((0, 1),), sigmas=(0.1, 0.1))
SIDE = 100
PERSON_BOX, CUP_BOX = (10.0, 10.0, 50.0, 90.0), (60.0, 10.0, 90.0, 40.0)
HANDS = np.array([[20, 30, 2], [40, 30, 2]], np.float32)


class StubPredictor:
    """Finds the person with one hand displaced by 20 pixels, and misses the cup."""

    schema = PAIR

    def predict_dataset(self, dataset: Dataset, on_image: Callable[[], None] | None = None) -> list[Detections]:
        joints = np.add(HANDS, [[0.5, 0.5, 0], [0.5, 20.5, 0]])
        box, score, label = np.array([PERSON_BOX], np.float32), np.array([0.9], np.float32), np.array([1], np.int32)
        return [Detections(box, score, label, None, joints[None].astype(np.float32), SIDE, SIDE)]


@pytest.fixture
def dataset() -> Dataset:
    person = Annotation(1, 1, PERSON_BOX, 3200.0, False, None, HANDS)
    cup = Annotation(2, 2, CUP_BOX, 900.0)
    record = ImageRecord(1, "a.png", "", SIDE, SIDE, (person, cup))
    return Dataset("both", (Category(3, "person", keypoints=PAIR.names), Category(8, "cup")), (record,), PAIR)


def figures_of(dataset: Dataset, kinds: list[str]) -> Any:
    return final_figures(StubPredictor(), dataset, kinds)  # type: ignore[arg-type]


def test_a_keypoint_run_has_figures_of_joints_and_of_the_persons_boxes(dataset: Dataset) -> None:
    metrics = figures_of(dataset, ["bbox", "keypoints"]).metrics
    assert metrics["keypoint/PCK"] == pytest.approx(0.5)
    assert 0.5 < metrics["keypoint/OKS"] < 1.0
    assert metrics["box/AP/person"] == pytest.approx(1.0)
    # the mean over both categories does not tell it
    assert metrics["box/AP"] == pytest.approx(0.5)
    assert "box/AP/cup" not in metrics


def test_a_run_of_boxes_has_none_of_them(dataset: Dataset) -> None:
    figures = figures_of(dataset, ["bbox"])
    assert figures.joints is None
    assert not [name for name in figures.metrics if name.startswith("keypoint/") or name.count("/") > 1]


def test_the_table_of_joints_is_printed(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    print_figures(figures_of(dataset, ["bbox", "keypoints"]))
    printed = capsys.readouterr().out
    assert "over the persons that were found (1 of 1)" in printed
    (line,) = (line for line in printed.splitlines() if line.startswith("right_hand"))
    assert line.split()[1:4] == ["1", "1.000", "0.000"]
