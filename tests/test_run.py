"""The command `run` around a training that is replaced: folders, exit codes, sweeps, interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import yaml

from maskrcnn.config.compose import compose
from maskrcnn.config.stored import to_yaml

ROOT = Path(__file__).resolve().parents[1]

STAND_IN = textwrap.dedent(
    """
    import json, logging, sys, time, types

    def train(config, output_dir, overrides, cluster=None):
        from maskrcnn.errors import UserError
        logging.getLogger("maskrcnn.training").info("training")
        if config.seed == 13:
            raise UserError("the loss is not finite", "step 3")
        if config.seed == 14:
            raise RuntimeError("a bug of ours")
        if config.seed == 15:
            try:
                (output_dir / "started").write_text("")
                time.sleep(60)
            except KeyboardInterrupt:
                (output_dir / "saved").write_text("")
                raise
        told = {"box/AP": config.seed / 10, "head": config.head.name, "overrides": overrides, "folder": str(output_dir)}
        (output_dir / "metrics.json").write_text(json.dumps(told))
        return config.seed / 10

    stand_in = types.ModuleType("maskrcnn.workflows.train")
    stand_in.train = train
    sys.modules["maskrcnn.workflows.train"] = stand_in
    """
)
"""Python runs it at start in every process, also in the jobs of a sweep."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(STAND_IN)
    dropped = ("MLFLOW_TRACKING_URI", "MASKRCNN_DATA")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return {**kept, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}


@pytest.fixture
def launch(tmp_path: Path) -> Path:
    folder = tmp_path / "Ablage (ü), 1"
    folder.mkdir()
    return folder


def run(arguments: list[str], launch: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "maskrcnn.run", *arguments]
    return subprocess.run(command, cwd=launch, env=environment, capture_output=True, text=True, timeout=240)


def run_folders(launch: Path) -> list[Path]:
    return sorted((launch / "mlruns" / "runs").iterdir())


def test_a_run_gets_a_folder_of_its_own_that_names_what_differs(launch, environment):
    ended = run(["seed=3", "head=box", "tracking.enabled=false"], launch, environment)
    assert ended.returncode == 0, ended.stderr
    (folder,) = run_folders(launch)
    assert folder.name.endswith("-seed=3_head=box")
    told = json.loads((folder / "metrics.json").read_text())
    assert told["overrides"] == ["seed=3", "head=box", "tracking.enabled=false"]
    assert (told["head"], told["folder"]) == ("box", str(folder))
    assert "[maskrcnn.training][INFO] training" in (folder / "run.log").read_text()
    assert yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text())[:2] == ["seed=3", "head=box"]
    assert list(launch.iterdir()) == [launch / "mlruns"]


def test_runs_of_the_same_second_do_not_share_a_folder(launch, monkeypatch):
    from maskrcnn import run as command

    monkeypatch.chdir(launch)
    names = {command._output_folder([], "hydra.run", "same") for _ in range(5)}
    assert len(names) == 5
    assert len(run_folders(launch)) == 5


def test_a_mistake_of_the_users_in_training_is_one_line(launch, environment):
    ended = run(["seed=13"], launch, environment)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == ["training", "step 3: the loss is not finite"]


def test_a_bug_keeps_its_traceback(launch, environment):
    ended = run(["seed=14"], launch, environment)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert ended.stderr.splitlines()[-1] == "RuntimeError: a bug of ours"


def test_the_configuration_of_an_earlier_run_can_be_taken_up(launch, environment):
    earlier = launch / "mlruns" / "runs" / "earlier"
    earlier.mkdir(parents=True)
    (earlier / "config.yaml").write_text(to_yaml(compose(["seed=5", "head=box"])), encoding="utf-8")
    ended = run(["from_run=mlruns/runs/earlier", "optimizer.momentum=0.5"], launch, environment)
    assert ended.returncode == 0, ended.stderr
    told = json.loads((run_folders(launch)[0] / "metrics.json").read_text())
    assert (told["box/AP"], told["head"]) == (0.5, "box")


def test_a_sweep_runs_each_job_in_a_process_and_fails_if_one_fails(launch, environment):
    ended = run(["-m", "seed=13,2", "head=box"], launch, environment)
    assert ended.returncode == 1, ended.stderr
    (folder,) = run_folders(launch)
    assert folder.name.endswith("-sweep")
    assert json.loads((folder / "1" / "metrics.json").read_text())["folder"] == str(folder / "1")
    rows = [line.split() for line in ended.stdout.splitlines()]
    assert ["job", "seed", "status", "box/AP"] in rows
    assert ["0", "13", "FAILED", "–"] in rows
    assert ["1", "2", "FINISHED", "0.200"] in rows
    assert "job 0 failed: step 3: the loss is not finite" in ended.stdout
    assert "1 of 2 jobs failed: 0" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_ctrl_c_reaches_the_job_of_a_sweep_and_waits_until_it_has_saved(launch, environment):
    command = [sys.executable, "-m", "maskrcnn.run", "-m", "seed=15,16"]
    process = subprocess.Popen(
        command,
        cwd=launch,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell's background jobs, of which these tests may be one, are born with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 200
    while not list(launch.rglob("started")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert list(launch.rglob("saved"))
    assert not list(launch.rglob("metrics.json"))


def test_a_named_folder_is_the_one_that_is_meant(launch, environment):
    ended = run(["hydra.run.dir=\"a 'b', c\""], launch, environment)
    assert ended.returncode == 0, ended.stderr
    assert list(launch.iterdir()) == [launch / "a 'b', c"]


@pytest.mark.parametrize("argument", ["hydra.run.dir=taken/run", "-m seed=1,2 hydra.sweep.dir=taken/sweep"])
def test_a_named_folder_that_cannot_be_made_is_one_line(argument, launch, environment):
    (launch / "taken").write_text("a file where a folder is wanted")
    ended = run(argument.split(), launch, environment)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"{argument.split()[-1]}: this folder cannot be made: Not a directory")
