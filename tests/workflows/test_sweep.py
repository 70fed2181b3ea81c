"""Jobs of sweeps: what their folders say, what they return, and the process that runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maskrcnn.config.compose import compose
from maskrcnn.tracking.status import RunStatus
from maskrcnn.tracking.tracker import Terminated
from maskrcnn.workflows import sweep
from maskrcnn.workflows.sweep import (
    JobFailedError,
    figure_of,
    headline,
    job_environment,
    read_jobs,
    run_job,
    write_failure,
)
from maskrcnn.workflows.sweep_plan import new_plan


@pytest.mark.parametrize(
    ("metrics", "figure"),
    [
        ({"box/AP": 0.6, "mask/AP": 0.5}, 0.5),
        ({"box/AP": 0.6, "keypoint/AP": 0.4}, 0.4),
        ({"box/AP": 0.6, "mask/AP": None}, 0.6),
        ({"box/AP": float("nan")}, 0.0),
        ({}, 0.0),
    ],
)
def test_a_job_is_judged_by_its_headline_figure(metrics: dict[str, Any], figure: float) -> None:
    assert headline(metrics) == figure
    assert figure_of(metrics, None) == figure


def test_a_job_returns_the_figure_that_was_chosen() -> None:
    assert figure_of({"box/AP": 0.6, "box/AP50": 0.8}, "box/AP50") == 0.8
    assert figure_of({"box/APs": None}, "box/APs") == 0.0
    with pytest.raises(JobFailedError, match=r"sweep\.metric=mask/AP: the run has no such figure"):
        figure_of({"box/AP": 0.6}, "mask/AP")


def test_jobs_are_read_in_the_order_of_their_numbers_with_those_that_never_ran(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        hydra = tmp_path / str(number) / ".hydra"
        hydra.mkdir(parents=True)
        (hydra / "overrides.yaml").write_text(f"- seed={number}\n")
    (tmp_path / "2" / "metrics.json").write_text(json.dumps({"box/AP": 0.25}))
    (tmp_path / "10" / "metrics.json").write_text("{")
    write_failure(tmp_path / "10", ValueError("no"))
    (tmp_path / "multirun.yaml").write_text("")
    plan = new_plan([], ["seed=0,1"], [["seed=0"], ["seed=1"]], threads=2, metric=None, same=None)
    assert [(job.name, job.overrides, job.failed, job.status, job.reason) for job in read_jobs(tmp_path, plan)] == [
        ("0", ("seed=0",), True, "FAILED", ""),
        ("1", ("seed=1",), True, "not run", ""),
        ("2", ("seed=2",), False, "FINISHED", ""),
        ("10", ("seed=10",), True, "FAILED", "ValueError: no"),
    ]


@pytest.mark.parametrize(("status", "failed"), [("FINISHED", False), ("FAILED", True), ("KILLED", True)])
def test_a_jobs_status_counts_more_than_its_figures(tmp_path: Path, status: str, failed: bool) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "metrics.json").write_text(json.dumps({"box/AP": 0.25}))
    RunStatus(name="job", status=status, reason="why").write(tmp_path / "0")
    (job,) = read_jobs(tmp_path)
    assert (job.failed, job.reason) == (failed, "why")


def test_each_job_gets_the_same_threads_whatever_its_launcher_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as joblib's workers do
    environment = job_environment(3)
    assert environment["OMP_NUM_THREADS"] == environment["TF_NUM_INTRAOP_THREADS"] == "3"
    assert environment["PATH"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    plan = new_plan([], ["seed=0,1"], [["seed=0"], ["seed=1"]], threads=2, metric=None, same=None)
    plan.write(tmp_path)
    job = tmp_path / "1"
    job.mkdir()
    return job


POPEN = subprocess.Popen


def _child(monkeypatch: pytest.MonkeyPatch, code: str) -> list[list[str]]:
    """Replaces the command of a job by Python code, which gets the job's folder as its last argument."""
    commands: list[list[str]] = []

    def popen(command: list[str], env: dict[str, str]) -> subprocess.Popen:
        commands.append(command)
        target = command[-1].partition("=")[2].strip('"')
        return POPEN([sys.executable, "-c", code, target], env=env)

    monkeypatch.setattr(sweep.subprocess, "Popen", popen)
    return commands


WRITE = "import sys, pathlib; pathlib.Path(sys.argv[-1], 'metrics.json').write_text('{\"box/AP\": 0.5}')"


def test_a_job_runs_its_overrides_once(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    commands = _child(monkeypatch, WRITE)
    config = compose(["seed=1", "tracking.enabled=false"])
    assert run_job(config, ["seed=1"], folder) == 0.5
    assert commands[0][1:4] == ["-m", "maskrcnn.run", "seed=1"]
    assert run_job(config, ["seed=1"], folder) == 0.5
    assert len(commands) == 1
    assert "job 1 has finished before: seed=1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL"),
    ],
)
def test_a_failed_job_is_told_and_leaves_a_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    _child(monkeypatch, code)
    with pytest.raises(JobFailedError, match=words):
        run_job(compose(["seed=1", "tracking.enabled=false"]), ["seed=1"], folder)
    (job,) = read_jobs(folder.parent)
    assert (job.status, job.reason) == ("FAILED", words)


def test_a_job_that_failed_before_is_run_again_and_its_old_figures_do_not_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(monkeypatch, "raise SystemExit(1)")
    config = compose(["seed=1", "tracking.enabled=false"])
    with pytest.raises(JobFailedError):
        run_job(config, ["seed=1"], folder)
    (folder / "metrics.json").write_text('{"box/AP": 0.9}')
    _child(monkeypatch, "pass")
    with pytest.raises(JobFailedError, match="left no figures"):
        run_job(config, ["seed=1"], folder)


def test_sigterm_is_handed_on_to_the_job(tmp_path: Path) -> None:
    class Child:
        def __init__(self) -> None:
            self.signals: list[int] = []
            self.waits = 0

        def wait(self, timeout: float | None = None) -> int:
            self.waits += 1
            if self.waits == 1:
                raise Terminated("terminated")
            return 0

        def poll(self) -> int:
            return 0

        def send_signal(self, number: int) -> None:
            self.signals.append(number)

    child = Child()
    with pytest.raises(Terminated):
        sweep._wait(child)  # type: ignore[arg-type]
    assert child.signals == [15]
