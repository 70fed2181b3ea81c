"""SIGKILL in the middle of an epoch, then `training.resume=auto`: the same weights as a run that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

COMMAND = [
    *(sys.executable, "-m", "maskrcnn.run", "schedule=tiny", "schedule.steps=12", "schedule.evaluations=2"),
    *("training.checkpoint_minutes=0", "training.resume=auto", "evaluation.pictures=1"),
]
LIMIT_S = 300


def start(folder):
    root = Path(__file__).resolve().parents[2]
    env = dict(os.environ, PYTHONPATH=str(root), MASKRCNN_CACHE=str(folder.parent / "cache"))
    return subprocess.Popen(COMMAND, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(folder):
    child = start(folder)
    _, errors = child.communicate(timeout=LIMIT_S)
    assert child.returncode == 0, errors[-2000:]
    files = list(folder.glob("mlruns/runs/*/metrics.json"))
    assert len(files) == 1
    return json.loads(files[0].read_text())


def step_of(folder):
    """Steps in the newest checkpoint; -1 while there is none."""
    from maskrcnn.training.checkpoints import read_progress

    files = list(folder.glob("mlruns/runs/*/checkpoint.npz"))
    return read_progress(files[0]).step if files else -1


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "work"
    folder.mkdir()
    return finish(folder)["weights_sha256"]


@pytest.mark.parametrize("kill_at", [2, 6, 9])
def test_a_killed_run_goes_on_to_the_same_weights(uninterrupted, tmp_path, kill_at):
    folder = tmp_path / "work"
    folder.mkdir()
    child = start(folder)
    began = time.monotonic()
    while step_of(folder) < kill_at and child.poll() is None and time.monotonic() - began < LIMIT_S:
        os.sched_yield()
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert child.stderr is not None
    child.stderr.close()
    assert kill_at <= step_of(folder) < 12
    assert finish(folder)["weights_sha256"] == uninterrupted
