"""Finding runs again: by id, folder, name, file; here or in a store."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from maskrcnn.errors import UserError
from maskrcnn.tracking import Tracker, list_runs, list_sweeps, resolve_run, resolve_sweep, unfinished_runs
from maskrcnn.tracking.read import CONFIG, METRICS, MODELS, SWEEP


def make_run(root: Path, folder: str, status: str = "FINISHED", *, enabled: bool = False, name: str = "") -> Tracker:
    path = root / "mlruns/runs" / folder
    tracker = Tracker.start(
        run_folder=path, uri=None, experiment="maskrcnn", name=name or folder, params={}, tags={"config": folder},
        enabled=enabled, root=root,
    )  # fmt: skip
    tracker.text(CONFIG, "seed: 3\n")
    tracker.text(METRICS, json.dumps({"box/AP": 0.5, "mask/AP": None}))
    (path / MODELS[0]).write_bytes(b"model")
    tracker.artifact(path / MODELS[0], "model")
    tracker.metrics({"loss": 2.0}, step=1)
    tracker.metrics({"loss": 1.0, "other": math.nan}, step=2)
    tracker.finish(status, "why" if status != "FINISHED" else "")
    return tracker


@pytest.fixture
def three_runs(tmp_path: Path) -> Path:
    make_run(tmp_path, "2026-01-01_10-00-00-first", name="first")
    make_run(tmp_path, "2026-01-01_11-00-00-sweep/0", "FAILED", name="a job")
    make_run(tmp_path, "2026-01-01_12-00-00-first", "KILLED", name="first")
    return tmp_path


def test_runs_and_jobs_of_sweeps_are_listed_oldest_first(three_runs: Path) -> None:
    assert [run.path.name for run in list_runs(three_runs)] == [
        "2026-01-01_10-00-00-first", "0", "2026-01-01_12-00-00-first",
    ]  # fmt: skip
    assert [run.status.status for run in unfinished_runs(three_runs)] == ["KILLED", "FAILED"]
    assert unfinished_runs(three_runs)[0].status.tags["config"] == "2026-01-01_12-00-00-first"
    assert list_runs(three_runs / "nowhere") == []


def test_a_run_is_found_by_its_folder_a_file_in_it_its_name_or_as_the_last(three_runs: Path) -> None:
    folder = three_runs / "mlruns/runs/2026-01-01_10-00-00-first"
    for where in (str(folder), "mlruns/runs/2026-01-01_10-00-00-first", folder.name, str(folder / CONFIG)):
        assert resolve_run(where, three_runs).path == folder, where
    assert resolve_run("last", three_runs).path.name == "2026-01-01_12-00-00-first"
    assert resolve_run("a job", three_runs).path.name == "0"


def test_a_model_file_brings_its_run_along(three_runs: Path, tmp_path: Path) -> None:
    folder = three_runs / "mlruns/runs/2026-01-01_10-00-00-first"
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/step5.keras").write_bytes(b"x")
    run = resolve_run(str(folder / "checkpoints/step5.keras"), three_runs)
    assert (run.path, run.model) == (folder, folder / "checkpoints/step5.keras")
    assert resolve_run(str(folder), three_runs).model == folder / MODELS[0]
    alone = tmp_path / "alone.keras"
    alone.write_bytes(b"x")
    assert resolve_run(str(alone), three_runs).model == alone


def test_figures_and_curves_are_read_without_a_store(three_runs: Path) -> None:
    run = resolve_run("last", three_runs)
    assert run.metrics() == {"box/AP": 0.5, "mask/AP": None}
    curves = run.curves()
    assert curves["loss"] == [(1, 2.0), (2, 1.0)]
    assert math.isnan(curves["other"][0][1])
    assert run.config.read_text(encoding="utf-8") == "seed: 3\n"


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("first", "2 runs match 'first'"),
        ("2026-01-01_10-00-00-frist", "did you mean '2026-01-01_10-00-00-first'?"),
        ("zzz", "give a run's id, its folder, or 'last'"),
        ("", "no run ''"),
        ("runs:/xyz", "no run 'runs:/xyz'"),
        ("0" * 32, "no run"),
    ],
)
def test_what_names_no_run_is_answered_with_what_to_type(where: str, words: str, three_runs: Path) -> None:
    with pytest.raises(UserError) as caught:
        resolve_run(where, three_runs)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_is_found_by_its_id_and_by_its_beginning(root: Path) -> None:
    tracker = make_run(root, "a", enabled=True)
    run_id = str(tracker.run_id)
    for where in (run_id, f"runs:/{run_id}", f"runs:/{run_id}/model/best.keras", run_id[:8]):
        assert resolve_run(where, root).path == tracker.folder, where


def test_a_run_of_another_disk_is_fetched_from_the_store(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path / "cache"))
    tracker = make_run(root, "a", enabled=True)
    other = tmp_path / "other place"
    other.mkdir()
    run = resolve_run(f"runs:/{tracker.run_id}", other, f"sqlite:///{root}/mlruns/mlflow.db")
    assert run.path == tmp_path / "cache/runs" / str(tracker.run_id)
    assert run.model.read_bytes() == b"model"
    assert run.metrics()["box/AP"] == 0.5
    assert (run.name, run.status.status) == ("a", "FINISHED")


def test_a_server_that_is_away_is_named(tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server.stop()
    with pytest.raises(UserError, match="cannot be had from http://127"):
        resolve_run("0" * 32, tmp_path, server.uri)


def test_an_unknown_id_in_a_real_store_is_said(root: Path) -> None:
    with pytest.raises(UserError, match="no run '0000"):
        resolve_run("0" * 32, root)


@pytest.fixture
def a_sweep(three_runs: Path) -> Path:
    """The second of the three runs is a job of this sweep."""
    folder = three_runs / "mlruns/runs/2026-01-01_11-00-00-sweep"
    settings: dict[str, Any] = {"uri": None, "experiment": "maskrcnn", "params": {}, "enabled": False}
    (folder / SWEEP).write_text("{}")
    Tracker.start(
        run_folder=folder, name="head: box, mask", tags={"sweep": "abc123"}, root=three_runs, **settings
    ).finish()
    return folder


def test_a_sweep_is_no_run_and_its_jobs_are(three_runs: Path, a_sweep: Path) -> None:
    assert [run.path.name for run in list_runs(three_runs)] == [
        "2026-01-01_10-00-00-first", "0", "2026-01-01_12-00-00-first",
    ]  # fmt: skip
    assert [sweep.path for sweep in list_sweeps(three_runs)] == [a_sweep]
    for where in (a_sweep.name, str(a_sweep), "head: box, mask"):
        with pytest.raises(UserError, match="is a sweep, not a run; name one of its runs"):
            resolve_run(where, three_runs)


def test_a_sweep_is_found_by_its_folder_name_tag_or_as_the_last(three_runs: Path, a_sweep: Path) -> None:
    for where in ("last", a_sweep.name, f"mlruns/runs/{a_sweep.name}", str(a_sweep), "abc123", "head: box, mask"):
        assert resolve_sweep(where, three_runs).path == a_sweep, where
    for where in ("none", "", "2026-01-01_10-00-00-first"):
        with pytest.raises(UserError, match="no sweep"):
            resolve_sweep(where, three_runs)
