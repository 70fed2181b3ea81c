"""A sweep's own run around a launcher that is replaced: what is compared, logged and printed, and the exit code."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn.config.compose import compose
from maskrcnn.tracking import list_runs, list_sweeps
from maskrcnn.tracking.journal import read_entries
from maskrcnn.tracking.pictures import write_image
from maskrcnn.workflows.sweep import JobFailedError
from maskrcnn.workflows.sweep_parent import run_sweep
from maskrcnn.workflows.sweep_plan import new_plan
from maskrcnn.workflows.sweep_report import Comparison, describe, report_sweep, sheet_of
from maskrcnn.workflows.tracked_run import open_run

SHARED = ["schedule=tiny", "tracking.enabled=false"]
JOBS = [[*SHARED, f"head={head}", f"seed={seed}"] for head in ("box", "mask") for seed in (0, 1)]


def write_job(
    folder: Path, overrides: list[str], ap: float, *, colour: int = 90, image: str = "one.png", joints: int = 0
) -> None:
    """A finished run, as a job leaves it."""
    hydra = folder / ".hydra"
    hydra.mkdir(parents=True)
    (hydra / "overrides.yaml").write_text(json.dumps(overrides))
    with open_run(compose(overrides), overrides, folder) as tracker:
        for step in (3, 6):
            tracker.metrics({"loss": 1 / step, "loss/box": 1.0, "val/box/AP": ap * step, "val/loss/box": 1.0}, step)
            tracker.image("test/01", np.zeros((8, 8, 3), np.uint8), step)
        panel = {"image": image, "truth": "panels/01-truth.png", "prediction": "panels/01-prediction.png"}
        panel |= {"joints": joints} if joints else {}
        for name in ("truth", "prediction"):
            write_image(folder / panel[name], np.full((40, 60, 3), colour, np.uint8))
        (folder / "panels/panels.json").write_text(json.dumps([panel]))
        tracker.text("metrics.json", json.dumps({"box/AP": ap, "mask/AP": None, "headline": "box/AP"}))


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a sweep of four jobs by `launch(folder)`; the exit code."""
    monkeypatch.chdir(tmp_path)

    def make_folder() -> Path:
        folder = tmp_path / "mlruns/runs/2026-01-01-sweep"
        folder.mkdir(parents=True)
        return folder

    def start(launch: Callable[[Path], None]) -> int:
        plan = new_plan(SHARED, ["head=box,mask", "seed=0,1"], JOBS, threads=2, metric=None, same=None)
        return run_sweep(compose(SHARED), plan, launch, named=None, make_folder=make_folder)

    return start


def launch_all(folder: Path) -> None:
    for number, overrides in enumerate(JOBS):
        write_job(folder / str(number), overrides, 0.1 * (number + 1), colour=50 * (number + 1))


def entries(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [entry for entry, _ in read_entries(folder) if entry["kind"] == kind]


def test_a_finished_sweep_is_compared_on_its_run(sweep: Any, tmp_path: Path, capsys: Any) -> None:
    assert sweep(launch_all) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["job", "head", "seed", "status", "box/AP"] in rows
    assert ["3", "mask", "1", "FINISHED", "0.400"] in rows
    assert ["box", "2", "0.150", "±", "0.071"] in rows
    (found,) = list_sweeps(tmp_path)
    assert (found.status.status, found.name) == ("FINISHED", "head=box,mask seed=0,1 schedule=tiny")
    artifacts = {entry["path"] for entry in entries(found.path, "artifact")}
    assert {"figures/curves.png", "figures/contact_sheet.png", "report.md"} <= artifacts
    assert {entry["path"] for entry in entries(found.path, "table")} == {
        "tables/comparison.json", "tables/settings.json",
    }  # fmt: skip
    with (found.path / "tables/comparison.csv").open(encoding="utf-8") as file:
        assert [row["box/AP"] for row in csv.DictReader(file)] == ["0.1", "0.2", "0.30000000000000004", "0.4"]


def test_the_jobs_runs_are_named_by_what_differs_and_tied_to_the_sweep(sweep: Any, tmp_path: Path) -> None:
    sweep(launch_all)
    (parent,) = list_sweeps(tmp_path)
    jobs = list_runs(tmp_path)
    assert [job.name for job in jobs][:2] == ["head=box, seed=0, schedule=tiny", "head=box, seed=1, schedule=tiny"]
    for job in jobs:
        assert job.status.tags["sweep"] == parent.status.tags["sweep"]
        (begin,) = entries(job.path, "start")
        assert begin["parent"] == ".."
        assert list(begin["params"])[:2] == ["head", "seed"]
        assert len(begin["params"]) <= 8


def test_the_link_opens_on_the_images_of_the_jobs_at_their_last_step(sweep: Any, tmp_path: Path) -> None:
    sweep(launch_all)
    (parent,) = list_sweeps(tmp_path)
    view = entries(parent.path, "view")[-1]
    assert view["key"] == f"sweep-{parent.status.tags['sweep']}"
    grid, *lines = view["state"]["compareRunCharts"]
    assert (grid["imageKeys"], grid["step"]) == (["test/01"], 6)
    assert [line["metricKey"] for line in lines] == ["loss", "val/box/AP"]
    assert view["state"]["orderByKey"] == "metrics.`box/AP`", "in order of time MLflow would fold the jobs away"


def test_failed_jobs_mark_the_sweep_and_the_others_are_compared(sweep: Any, tmp_path: Path, capsys: Any) -> None:
    def launch(folder: Path) -> None:
        write_job(folder / "0", JOBS[0], 0.1)
        open_run(compose(JOBS[1]), JOBS[1], folder / "1").finish("KILLED", "was ended by SIGKILL")
        raise JobFailedError("job 1 was ended by SIGKILL")

    assert sweep(launch) == 1
    told = capsys.readouterr()
    assert "3 of 4 jobs failed: 1, 2, 3" in told.err
    assert "job 1 killed: was ended by SIGKILL" in told.out
    rows = [line.split() for line in told.out.splitlines()]
    assert ["2", "mask", "0", "not", "run", "–"] in rows
    (parent,) = list_sweeps(tmp_path)
    assert (parent.status.status, parent.status.reason) == ("FAILED", "3 of 4 jobs failed: 1, 2, 3")
    assert (parent.path / "figures/contact_sheet.png").is_file()


def test_a_launcher_that_breaks_is_told_after_the_comparison(sweep: Any, tmp_path: Path, capsys: Any) -> None:
    def launch(folder: Path) -> None:
        write_job(folder / "0", JOBS[0], 0.1)
        raise RuntimeError("the launcher is gone")

    with pytest.raises(RuntimeError, match="the launcher is gone"):
        sweep(launch)
    assert "FINISHED" in capsys.readouterr().out
    assert list_sweeps(tmp_path)[0].status.status == "FAILED"


def test_an_interrupted_sweep_is_marked_killed(sweep: Any, tmp_path: Path) -> None:
    def launch(folder: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(launch)
    assert list_sweeps(tmp_path)[0].status.status == "KILLED"


def test_a_second_start_goes_on_in_the_same_run(sweep: Any, tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise JobFailedError("no")

    assert sweep(fail) == 1
    assert sweep(launch_all) == 0
    (parent,) = list_sweeps(tmp_path)
    assert parent.status.status == "FINISHED"
    assert [entry["status"] for entry in entries(parent.path, "end")] == ["FAILED", "FINISHED"]


def test_the_sheet_has_a_row_for_each_image_and_leaves_cells_empty(sweep: Any, tmp_path: Path) -> None:
    def launch(folder: Path) -> None:
        write_job(folder / "0", JOBS[0], 0.1, colour=0)
        write_job(folder / "1", JOBS[1], 0.1, colour=30, image="another.png")

    sweep(launch)
    sheet = sheet_of(Comparison.read(list_sweeps(tmp_path)[0].path))
    assert sheet is not None
    assert sheet.shape[0] > 2 * 213
    assert sheet.shape[1] > 3 * 320
    # Two cells of each colour: the truth and the prediction; two of four predictions are empty.
    for colour in (0, 30):
        assert abs((sheet == colour).all(-1).sum() / (213 * 320) - 2) < 0.2


def test_the_truth_of_the_sheet_has_the_most_joints(sweep: Any, tmp_path: Path) -> None:
    def launch(folder: Path) -> None:
        for number, joints in enumerate((7, 17, 5)):
            write_job(folder / str(number), JOBS[number], 0.1, colour=40 * number, joints=joints)

    sweep(launch)
    sheet = sheet_of(Comparison.read(list_sweeps(tmp_path)[0].path))
    assert sheet is not None
    cells = {colour: (sheet == colour).all(-1).sum() / (213 * 320) for colour in (0, 40, 80)}
    assert cells == pytest.approx({0: 1, 40: 2, 80: 1}, abs=0.2)


def test_a_report_can_be_made_again_and_elsewhere(sweep: Any, tmp_path: Path, capsys: Any) -> None:
    sweep(launch_all)
    assert report_sweep("last", tmp_path / "record") == 0
    text = (tmp_path / "record/README.md").read_text(encoding="utf-8")
    for words in (
        "# head=box,mask seed=0,1 schedule=tiny",
        "4 of 4 finished, 2 threads each",
        "| box | 2 | 0.150 ± 0.071 |",
    ):
        assert words in text
    assert len(json.loads((tmp_path / "record/results.json").read_text())) == 4
    (parent,) = list_sweeps(tmp_path)
    assert describe(Comparison.read(parent.path)) in capsys.readouterr().out
