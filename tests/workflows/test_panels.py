"""Pictures of the test images for contact sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maskrcnn.config.compose import compose
from maskrcnn.data.detections import Detections
from maskrcnn.data.embedded import load_embedded
from maskrcnn.data.records import Dataset
from maskrcnn.workflows.panels import read_panels, write_panels


@pytest.fixture(scope="module")
def test_part(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    cache = tmp_path_factory.mktemp("cache")
    return load_embedded(train_images=2, test_images=3, image_size=64, seed=0, cache=cache)[1]


def nothing(height: int, width: int) -> Detections:
    empty = np.zeros((0, 4), np.float32)
    return Detections(empty, empty[:, 0], np.zeros(0, np.int32), None, None, height, width)


def test_truth_and_prediction_are_files_of_their_own_with_the_images_name(test_part: Dataset, tmp_path: Path) -> None:
    records = [test_part.images[2], test_part.images[0]]
    found = [nothing(record.height, record.width) for record in test_part.images]
    write_panels(compose([]), test_part, records, found, tmp_path)
    panels = read_panels(tmp_path)
    assert [panel.image for panel in panels] == [record.file_name for record in records]
    assert [panel.joints for panel in panels] == [0, 0], "the head learns masks"
    truths = [(tmp_path / panel.truth).read_bytes() for panel in panels]
    assert truths[0] != truths[1]
    assert (tmp_path / panels[0].prediction).read_bytes() != truths[0], "nothing was found, but something was there"


def test_a_run_without_panels_has_none(tmp_path: Path) -> None:
    assert read_panels(tmp_path) == []
    (tmp_path / "panels").mkdir()
    (tmp_path / "panels/panels.json").write_text('[{"image": "a", "truth": "gone.png", "prediction": "gone.png"}]')
    assert read_panels(tmp_path) == []
