"""Two processes of `run` that train one model, found by TF_CONFIG, beside one process with the same batches."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from maskrcnn.training.checkpoints import read_progress

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = ["schedule=tiny", "evaluation.pictures=0", "dataset.embedded.test_images=10", "training.batch_size=4"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(folder: Path, config: dict[str, Any] | None = None, *more: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
    if config is not None:
        environment["TF_CONFIG"] = json.dumps(config)
    command = [sys.executable, "-m", "maskrcnn.run", *ARGUMENTS, *more]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=pipe, stderr=pipe)


def start_two(folder: Path, *more: str) -> list[subprocess.Popen[str]]:
    cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(2)]}
    return [start(folder, {"cluster": cluster, "task": {"type": "worker", "index": i}}, *more) for i in range(2)]


def losses(folder: Path) -> dict[str, float]:
    with sqlite3.connect(folder / "mlruns" / "mlflow.db") as store:
        assert store.execute("select count(*) from runs").fetchone() == (1,)
        return dict(store.execute("select key, value from metrics where key like 'loss%' order by step"))


@pytest.mark.slow
def test_two_workers_are_one_run_with_the_losses_of_one_process(tmp_path):
    processes = [start(tmp_path / "one"), *start_two(tmp_path / "two")]
    (_, errors), (chiefs, chiefs_errors), (silent, others_errors) = (p.communicate(timeout=400) for p in processes)
    assert [p.returncode for p in processes] == [0, 0, 0], errors + chiefs_errors + others_errors
    assert "in MLflow:" in chiefs
    assert silent == ""
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert "loss" in one
    assert two == pytest.approx(one, rel=1e-4)


@pytest.mark.slow
def test_the_chief_ends_in_one_line_when_a_worker_has_gone_and_both_go_on_later(tmp_path):
    options = ("schedule.steps=40", "schedule.evaluations=1", "training.checkpoint_minutes=0", "training.resume=auto")
    chief, other = start_two(tmp_path, *options)
    deadline = time.monotonic() + 200
    while step_of_checkpoint(tmp_path) < 4 and chief.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    other.kill()
    other.communicate()
    _, errors = chief.communicate(timeout=120)
    assert chief.returncode == 1, errors
    assert "worker 0 of 2" in errors.splitlines()[-1]
    assert "another process has ended or cannot be reached" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert 4 <= step_of_checkpoint(tmp_path) < 40

    resumed = start_two(tmp_path, *options)
    ended = [process.communicate(timeout=300) for process in resumed]
    assert [process.returncode for process in resumed] == [0, 0], ended
    (metrics,) = tmp_path.glob("mlruns/runs/*/metrics.json")
    assert json.loads(metrics.read_text())["steps"] == 40
    for _, errors in ended:
        assert f"resuming {metrics.parent.name} at step" in errors


def step_of_checkpoint(folder: Path) -> int:
    return max((read_progress(path).step for path in folder.glob("mlruns/runs/*/checkpoint.npz")), default=0)
