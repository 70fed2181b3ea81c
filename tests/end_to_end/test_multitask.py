"""Boxes, masks and keypoints in one model, through the real commands: train, log, evaluate, predict, load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskrcnn.structures import COCO_PERSON

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 600
PERSON = "person"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `task=multitask schedule=tiny` has run."""
    folder = tmp_path_factory.mktemp("multitask")
    command(folder, "run", "task=multitask", "schedule=tiny")
    return folder


def command(folder: Path, name: str, *values: str) -> str:
    """What the command prints; it must end with exit code 0."""
    env = dict(os.environ, PYTHONPATH=str(ROOT), MASKRCNN_CACHE=str(folder / "cache"), TF_CPP_MIN_LOG_LEVEL="3")
    line = [sys.executable, "-m", f"maskrcnn.{name}", *values]
    ended = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def run_folder(folder: Path) -> Path:
    (found,) = folder.glob("mlruns/runs/*")
    return found


def test_all_three_kinds_of_figures_are_written(folder: Path) -> None:
    metrics = json.loads((run_folder(folder) / "metrics.json").read_text())
    expected = ("box/AP", "mask/AP", "keypoint/AP", "keypoint/AP50", "keypoint/PCK", "keypoint/OKS", "box/AP/person")
    assert set(expected) <= set(metrics)
    assert isinstance(metrics["box/AP"], float)


def test_only_persons_have_keypoint_figures(folder: Path) -> None:
    table = json.loads((run_folder(folder) / "tables/per_category.json").read_text())
    column = table["columns"].index("keypoint/AP")
    defined = {row[0] for row in table["data"] if row[column] is not None}
    assert len(table["data"]) == 4
    assert defined == {PERSON}


def test_the_report_shows_the_table_and_the_figure_of_joints(folder: Path) -> None:
    page = (run_folder(folder) / "report.md").read_text(encoding="utf-8")
    assert "PCK@0.1" in page
    assert all(name in page for name in COCO_PERSON.names)
    assert "figures/per_joint.png" in page
    assert cv2.imread(str(run_folder(folder) / "figures/per_joint.png")) is not None


def test_evaluate_prints_the_same_figures_again(folder: Path) -> None:
    printed = command(folder, "evaluate", "run=last")
    metrics = json.loads((run_folder(folder) / "metrics.json").read_text())
    assert f"keypoint/AP {metrics['keypoint/AP']:.3f}" in printed
    assert "left_shoulder" in printed


def test_predict_writes_joints_of_persons_alone(folder: Path) -> None:
    image = next((folder / "cache").rglob("*.png"))
    command(folder, "predict", "run=last", f"images={image}", "out=found", "score=0.05")
    entries = json.loads((folder / "found/results.json").read_text())
    categories = json.loads((folder / "found/images.json").read_text())["categories"]
    person = next(c["id"] for c in categories if c["name"] == PERSON)
    assert entries
    for entry in entries:
        assert ("keypoints" in entry) == (entry["category_id"] == person)
        assert "segmentation" in entry
    assert cv2.imread(str(folder / "found" / image.name)) is not None


def test_a_loaded_model_gives_boxes_masks_and_joints(folder: Path) -> None:
    import maskrcnn

    model = maskrcnn.load(run_folder(folder) / "best.keras")
    (found,) = model.predict_images([np.full((100, 150, 3), 90, np.uint8)])
    assert found.bool_masks().shape == (len(found), 100, 150)
    assert found.keypoints is not None
    assert found.keypoints.shape == (len(found), 17, 3)
    assert model.keypoint_labels == (1,)
    assert not found.keypoints[found.labels != 1].any()
