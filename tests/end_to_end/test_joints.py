"""Fewer joints, and joints of one's own, through the real command lines: trained, stored, judged, written, drawn."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import maskrcnn

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
TUBES = ROOT / "../shared/data/coco/quirks/two_point_keypoints"
SEVEN = ["nose", "left_shoulder", "right_shoulder", "left_wrist", "right_wrist", "left_ankle", "right_ankle"]
OWN = "dataset.keypoints={names:[front,back],skeleton:[[front,back]],sigmas:[0.1,0.2]}"


def command(folder, name, *arguments, code=0):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MASKRCNN_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", f"maskrcnn.{name}", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def run(folder, *arguments):
    return command(folder, "run", "schedule=tiny", "tracking.enabled=false", *arguments)


def the_run(folder):
    return next((folder / "mlruns" / "runs").iterdir())


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seven")
    printed = run(folder, "head=mask_keypoint", "num_keypoints=7")
    return folder, printed


@pytest.fixture(scope="module")
def tubes(tmp_path_factory):
    if not TUBES.is_dir():
        pytest.skip("the shared data sets are not there")
    folder = tmp_path_factory.mktemp("tubes")
    files = [
        f"dataset.{part}.{key}={TUBES / value}"
        for part in ("train", "test")
        for key, value in (("annotations", f"keypoints_{part.replace('test', 'val')}.json"), ("images", "images"))
    ]
    small = ["image.short_side=64", "image.long_side=96", "roi.score_threshold=0"]
    printed = run(folder, "dataset=coco_json", "head=keypoint", OWN, *files, *small)
    return folder, printed


def test_a_run_over_seven_joints_says_so_and_keeps_their_names(seven):
    folder, printed = seven
    assert f"keypoint figures are over 7 of 17 joints ({', '.join(SEVEN)})" in printed
    model = maskrcnn.load(the_run(folder))
    assert list(model.schema.names) == SEVEN
    assert model.predict_images([np.zeros((128, 128, 3), np.uint8)])[0].keypoints.shape[1:] == (7, 3)
    assert "Keypoint figures are over 7 of 17 joints" in (the_run(folder) / "report.md").read_text()


def test_a_stored_model_is_judged_over_fewer_of_its_joints_and_not_over_more(seven):
    folder, _ = seven
    printed = command(folder, "evaluate", "run=last", "num_keypoints=[nose,left_wrist]")
    assert "keypoint figures are over 2 of 17 joints (nose, left_wrist)" in printed
    refused = command(folder, "evaluate", "run=last", "num_keypoints=9", code=1)
    assert refused.startswith("num_keypoints: the model does not find the joint 'left_hip'")
    assert len(refused.splitlines()) == 1


def test_a_set_with_joints_of_its_own_goes_through_training_test_and_prediction(tubes):
    folder, printed = tubes
    assert "keypoint figures are over 2 joints (front, back)" in printed
    metrics = json.loads((the_run(folder) / "metrics.json").read_text())
    assert metrics["keypoint/AP"] is not None
    schema = maskrcnn.load(the_run(folder)).schema
    assert (schema.names, schema.sigmas, schema.skeleton) == (("front", "back"), (0.1, 0.2), ((0, 1),))
    again = command(folder, "evaluate", "run=last")
    assert f"keypoint/AP {metrics['keypoint/AP']:.3f}" in again
    command(folder, "predict", "run=last", f"images={next((TUBES / 'images').iterdir())}", "out=found", "score=0")
    results = json.loads((folder / "found" / "results.json").read_text())
    assert results
    assert all(len(entry["keypoints"]) == 6 for entry in results)
    (tube,) = json.loads((folder / "found" / "images.json").read_text())["categories"]
    assert (tube["keypoints"], tube["skeleton"]) == (["front", "back"], [[1, 2]])
