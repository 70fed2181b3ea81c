"""`run -m` around a training that is replaced by one of seconds: launchers, sweepers, failures, a second start.

The stand-in logs to the real store of the working directory, so that what a sweep leaves there can be looked at.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from maskrcnn.tracking import Store, default_store, list_sweeps
from maskrcnn.tracking.client import open_client
from maskrcnn.tracking.views import TAG

pytestmark = pytest.mark.slow  # each job is a process that imports MLflow

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = textwrap.dedent(
    """
    import json, os, pathlib, signal, sys, time, types

    def train(config, output_dir, overrides, cluster=None):
        import numpy as np
        from maskrcnn.errors import UserError
        from maskrcnn.tracking.pictures import write_image
        from maskrcnn.workflows.tracked_run import open_run
        calm = pathlib.Path("calm").exists()
        with open("started", "a") as file:
            file.write(f"{config.seed}\\n")
        if config.seed == 11:
            raise UserError("no such file", "dataset.train")
        with open_run(config, overrides, output_dir) as tracker:
            ap = round(config.optimizer.learning_rate * 10 + config.seed / 100, 6)
            picture = np.full((40, 60, 3), 40 * (1 + config.seed % 5), np.uint8)
            for step in range(1, 4):
                tracker.metrics({"loss": 1 / step, "val/box/AP": ap * step / 3}, step)
                tracker.image("test/01", picture, step)
            if pathlib.Path("hold").exists():  # until whoever watches has done something to the server
                pathlib.Path("holding").write_text("")
                while pathlib.Path("hold").exists():
                    time.sleep(0.05)
            if config.seed == 12 and not calm:
                raise UserError("the loss is not finite", "step 3")
            if config.seed == 13 and not calm:
                os.kill(os.getpid(), signal.SIGKILL)
            panel = {"image": "one.png", "truth": "panels/01-truth.png", "prediction": "panels/01-prediction.png"}
            write_image(output_dir / panel["truth"], picture)
            write_image(output_dir / panel["prediction"], picture)
            (output_dir / "panels/panels.json").write_text(json.dumps([panel]))
            figures = {"box/AP": ap, "mask/AP": None, "threads": int(os.environ["TF_NUM_INTRAOP_THREADS"])}
            tracker.metrics(figures, 3)
            tracker.text("metrics.json", json.dumps(figures))
        return ap

    stand_in = types.ModuleType("maskrcnn.workflows.train")
    stand_in.train = train
    sys.modules["maskrcnn.workflows.train"] = stand_in
    """
)
"""Python runs it at start in every process, also in the jobs of a sweep and in the processes of launchers."""

Run = Callable[..., subprocess.CompletedProcess]


def runner(folder: Path, **variables: str) -> Run:
    """Runs the command in a new working directory."""
    site = folder / "site"
    site.mkdir(parents=True)
    (site / "sitecustomize.py").write_text(STAND_IN)
    (folder / "work").mkdir()
    kept = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "MASKRCNN_DATA")}
    environment = {**kept, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}", **variables}

    def run(*arguments: str, module: str = "maskrcnn.run") -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(
            command, cwd=folder / "work", env=environment, capture_output=True, text=True, timeout=500
        )

    return run


def runs_of(root: Path) -> list[Any]:
    """All runs of the working directory's store, oldest first."""
    client = open_client(default_store(root))
    experiment = client.get_experiment_by_name("maskrcnn")
    return list(reversed(client.search_runs([experiment.experiment_id])))


def started(root: Path) -> list[int]:
    return [int(line) for line in (root / "started").read_text().split()]


@pytest.fixture(scope="module")
def failed_sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run, subprocess.CompletedProcess]:
    """Six jobs: one fails before its run is opened, one within it, one is killed."""
    folder = tmp_path_factory.mktemp("failed")
    run = runner(folder)
    return folder / "work", run, run("-m", "schedule=tiny", "seed=0,11,12,13,4,5")


def test_the_other_jobs_of_a_sweep_finish_and_the_exit_code_tells_of_the_failed(failed_sweep: Any) -> None:
    root, _, ended = failed_sweep
    assert ended.returncode == 1, ended.stderr
    rows = [line.split() for line in ended.stdout.splitlines()]
    start = rows.index(["job", "seed", "status", "box/AP"]) + 1
    assert [row[1:3] for row in rows[start : start + 6]] == [
        ["0", "FINISHED"], ["11", "FAILED"], ["12", "FAILED"], ["13", "KILLED"], ["4", "FINISHED"], ["5", "FINISHED"],
    ]  # fmt: skip
    assert "job 1 failed: dataset.train: no such file" in ended.stdout
    assert "job 2 failed: UserError: step 3: the loss is not finite" in ended.stdout
    assert "3 of 6 jobs failed: 1, 2, 3" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(started(root)) == [0, 4, 5, 11, 12, 13]


def test_the_store_has_a_parent_with_a_child_for_each_job_and_their_honest_statuses(failed_sweep: Any) -> None:
    root, _, _ = failed_sweep
    parent, *children = runs_of(root)
    assert (parent.info.status, parent.data.tags["reason"]) == ("FAILED", "3 of 6 jobs failed: 1, 2, 3")
    assert parent.info.run_name == "seed=0,11,12,13,4,5 schedule=tiny"
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert {child.data.tags["sweep"] for child in children} == {parent.data.tags["sweep"]}
    statuses = {child.info.run_name: child.info.status for child in children}
    assert statuses == {
        "seed=0, schedule=tiny": "FINISHED",
        "seed=11, schedule=tiny": "FAILED",
        "seed=12, schedule=tiny": "FAILED",
        "seed=13, schedule=tiny": "KILLED",
        "seed=4, schedule=tiny": "FINISHED",
        "seed=5, schedule=tiny": "FINISHED",
    }
    assert all(len(run.data.params) <= 8 for run in (parent, *children))
    assert {child.data.params["seed"] for child in children} == {"0", "11", "12", "13", "4", "5"}


def test_the_comparison_lies_on_the_parent_also_after_a_failure(failed_sweep: Any) -> None:
    root, _, ended = failed_sweep
    client = open_client(default_store(root))
    parent = runs_of(root)[0]
    files = {
        file.path
        for folder in (None, "tables", "figures")
        for file in client.list_artifacts(parent.info.run_id, folder)
        if not file.is_dir
    }
    expected = {"report.md", "figures/curves.png", "figures/contact_sheet.png"}
    expected |= {f"tables/{name}.{suffix}" for name in ("comparison", "settings") for suffix in ("json", "md", "csv")}
    assert files == expected
    (sweep,) = list_sweeps(root)
    with (sweep.path / "tables/comparison.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [(row["seed"], row["status"], row["box/AP"]) for row in table][2:5] == [
        ("12", "FAILED", ""), ("13", "KILLED", ""), ("4", "FINISHED", "0.07"),
    ]  # fmt: skip
    key = f"sweep-{parent.data.tags['sweep']}"
    assert f"viewStateShareKey={key}&workflowType=machine_learning" in ended.stdout
    view = json.loads(client.get_experiment(parent.info.experiment_id).tags[TAG + key])
    assert view["searchFilter"] == f"tags.`sweep` = '{parent.data.tags['sweep']}' and tags.`sweep_role` = 'job'"
    assert view["compareRunCharts"][0]["imageKeys"] == ["test/01"]
    assert view["compareRunCharts"][0]["step"] == 3
    found = client.search_runs([parent.info.experiment_id], view["searchFilter"])
    assert len(found) == 6, "the filter of the link finds the children and not the parent"


def test_started_again_only_the_missing_jobs_run_in_the_same_runs(failed_sweep: Any) -> None:
    root, run, _ = failed_sweep
    before = {child.info.run_name: child.info.run_id for child in runs_of(root)}
    (root / "started").unlink()
    (root / "calm").write_text("")
    ended = run("-m", "schedule=tiny", "seed=0,11,12,13,4,5")
    assert ended.returncode == 1
    assert sorted(started(root)) == [11, 12, 13]
    assert "job 0 has finished before: schedule=tiny seed=0" in ended.stdout
    assert "1 of 6 jobs failed: 1" in ended.stderr
    after = runs_of(root)
    assert {child.info.run_name: child.info.run_id for child in after} == before
    assert [child.info.status for child in after].count("FINISHED") == 5
    assert len(list_sweeps(root)) == 1


def test_a_report_of_a_sweep_needs_nothing_but_its_folder(failed_sweep: Any) -> None:
    root, run, _ = failed_sweep
    ended = run("sweep=last", "out=record", module="maskrcnn.report")
    assert ended.returncode == 0, ended.stderr
    text = (root / "record/README.md").read_text(encoding="utf-8")
    assert "python -m maskrcnn.run -m seed=0,11,12,13,4,5 schedule=tiny" in text
    for link in ("tables/comparison.csv", "figures/curves.png", "figures/contact_sheet.png"):
        assert f"({link})" in text
        assert (root / "record" / link).is_file()
    records = json.loads((root / "record/results.json").read_text(encoding="utf-8"))
    assert [record["name"] for record in records][:2] == ["seed=0, schedule=tiny", "seed=11, schedule=tiny"]
    assert "viewStateShareKey=sweep-" in ended.stdout
    assert run("sweep=none", module="maskrcnn.report").stderr.startswith("sweep: no sweep 'none'")


PARALLEL = {
    "joblib": ("hydra_joblib_launcher", ["hydra/launcher=joblib", "hydra.launcher.n_jobs=3"]),
    "submitit": ("hydra_submitit_launcher", ["hydra/launcher=submitit_local"]),
}


@pytest.mark.parametrize("launcher", PARALLEL)
def test_parallel_jobs_on_a_cold_store_lose_nothing(launcher: str, tmp_path: Path) -> None:
    package, arguments = PARALLEL[launcher]
    pytest.importorskip(f"hydra_plugins.{package}")
    run = runner(tmp_path)
    ended = run("-m", "optimizer.learning_rate=0.01,0.02", "seed=0,1", "sweep.threads=3", *arguments)
    root = tmp_path / "work"
    assert ended.returncode == 0, ended.stderr[-3000:]
    parent, *children = runs_of(root)
    assert parent.info.status == "FINISHED"
    assert sorted(child.data.metrics["box/AP"] for child in children) == [0.1, 0.11, 0.2, 0.21]
    assert {child.data.metrics["threads"] for child in children} == {3.0}
    client = open_client(default_store(root))
    for child in children:
        assert len(client.get_metric_history(child.info.run_id, "loss")) == 3
        assert child.info.run_name.startswith("optimizer.learning_rate=0.0")
    assert "0.105 ± 0.007" in ended.stdout


SBATCH = """#!/bin/bash
# Runs each task of the job file on this machine, as Slurm would on a node.
cp "$1" "$FAKE_SLURM/job.sh"
for task in $(sed -n 's/^#SBATCH --array=\\([0-9]*\\)-\\([0-9]*\\)%.*/\\1 \\2/p' "$1" | xargs seq); do
  SLURM_JOB_ID=77_$task SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID=$task SLURM_JOB_NODELIST=node1 SLURM_NTASKS=1 \\
  SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 \\
  SLURM_CPUS_PER_TASK=$(sed -n 's/^#SBATCH --cpus-per-task=//p' "$1") \\
  setsid bash "$FAKE_SLURM/job.sh" > "$FAKE_SLURM/log.$task" 2>&1 < /dev/null &
done
echo "Submitted batch job 77"
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do [[ $1 == --unbuffered ]] && shift || shift 2; done
exec "$@"
"""
SACCT = """#!/bin/bash
echo "JobID|State|NodeList"
"""


def test_the_job_file_for_slurm_runs_the_sweep(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    run = runner(tmp_path, PATH=f"{programs}{os.pathsep}{os.environ['PATH']}", FAKE_SLURM=str(programs))
    ended = run(
        "-m", "seed=0,1", "hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.cpus_per_task=5"
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    job = (programs / "job.sh").read_text()
    for line in ("partition=gpu", "cpus-per-task=5", "mem=32GB", "gpus-per-node=1", "array=0-1%2", "time=720"):
        assert f"#SBATCH --{line}" in job, job
    _, *children = runs_of(tmp_path / "work")
    assert [child.info.status for child in children] == ["FINISHED"] * 2
    assert {child.data.metrics["threads"] for child in children} == {5.0}, "what the queue has granted"


def test_two_sweeps_at_once_lose_nothing(tmp_path: Path) -> None:
    run = runner(tmp_path)
    root = tmp_path / "work"
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda seeds: run("-m", f"seed={seeds}"), ("0,1", "0,1")))
    assert [process.returncode for process in ended] == [0, 0], ended[0].stderr + ended[1].stderr
    runs = runs_of(root)
    assert len(runs) == 6
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(list_sweeps(root)) == 2


def test_optuna_looks_for_the_highest_figure_and_its_trials_are_compared(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    run = runner(tmp_path)
    ended = run(
        "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1",
        "hydra.sweeper.sampler.seed=1", "optimizer.learning_rate=interval(0.001,0.1)", "sweep.metric=box/AP",
    )  # fmt: skip
    root = tmp_path / "work"
    assert ended.returncode == 0, ended.stderr[-3000:]
    (sweep,) = list_sweeps(root)
    with (sweep.path / "tables/comparison.csv").open(encoding="utf-8") as file:
        trials = [float(row["box/AP"]) for row in csv.DictReader(file)]
    assert len(trials) == 3
    best = (sweep.path / "optimization_results.yaml").read_text()
    assert f"best_value: {max(trials)}" in best


def test_a_figure_that_the_head_does_not_give_is_refused_before_a_job_starts(tmp_path: Path) -> None:
    run = runner(tmp_path)
    ended = run("-m", "head=box,mask", "sweep.metric=mask/AP")
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "sweep.metric=mask/AP: head=box gives no such figure; such as sweep.metric=box/AP"
    ]
    assert not (tmp_path / "work/mlruns").exists()
    for argument, words in (("tracking.uri=htp://x", "is no address"), ("hydra.sweep.dir=${now:%Y}", "a plain folder")):
        refused = run("-m", "seed=0,1", argument)
        assert words in refused.stderr
        assert not (tmp_path / "work/started").exists()


class Server:
    """A real MLflow server on loopback, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        store = ["--backend-store-uri", "sqlite:///server.db", "--artifacts-destination", "artifacts"]
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(self.port), *store]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        nothing = subprocess.DEVNULL
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, **quiet},
            stdout=nothing,
            stderr=nothing,
            start_new_session=True,
        )
        until(self.answers)

    def answers(self) -> bool:
        assert self.process.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return True
        except OSError:
            return False

    def send(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def stop(self) -> None:
        self.send(signal.SIGKILL)
        self.process.wait()


def until(condition: Callable[[], bool], timeout_s: float = 300.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "this did not come true"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server") / "store")
    yield server
    server.send(signal.SIGCONT)
    server.stop()


def during_a_job(run: Run, root: Path, action: Callable[[], None]) -> subprocess.CompletedProcess:
    """A sweep of two jobs; the action is done in the middle of the first."""
    (root / "hold").write_text("")
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(run, "-m", "seed=0,1")
        until(lambda: (root / "holding").exists() or ended.done())
        action()
        (root / "hold").unlink()
        return ended.result()


def check_complete(server: Server, root: Path) -> None:
    """Parent and children are on the server with all that they have logged."""
    (sweep,) = list_sweeps(root)
    client = open_client(Store(uri=server.uri, root=root))
    experiment = client.get_experiment_by_name("maskrcnn")
    runs = client.search_runs([experiment.experiment_id], f"tags.sweep = '{sweep.status.tags['sweep']}'")
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    parents = [run for run in runs if run.data.tags["sweep_role"] == "parent"]
    children = [run for run in runs if run.data.tags["sweep_role"] == "job"]
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parents[0].info.run_id}
    for child in children:
        for metric in ("loss", "val/box/AP"):
            assert [point.step for point in client.get_metric_history(child.info.run_id, metric)] == [1, 2, 3]
        assert len(client.list_artifacts(child.info.run_id, "images")) == 6
    assert "figures/curves.png" in [file.path for file in client.list_artifacts(parents[0].info.run_id, "figures")]


def test_a_server_that_lives_gets_the_sweep(server: Server, tmp_path: Path) -> None:
    run = runner(tmp_path, MLFLOW_TRACKING_URI=server.uri)
    ended = run("-m", "seed=0,1")
    assert ended.returncode == 0, ended.stderr
    assert f"images {server.uri}/#/experiments/" in ended.stdout
    check_complete(server, tmp_path / "work")


def test_a_server_killed_in_mid_sweep_gets_the_rest_by_one_command(server: Server, tmp_path: Path) -> None:
    run = runner(tmp_path, MLFLOW_TRACKING_URI=server.uri)
    ended = during_a_job(run, tmp_path / "work", server.stop)
    assert ended.returncode == 0, ended.stderr
    assert "python -m maskrcnn.report sync=true" in ended.stdout
    server.start()
    synced = run("sync=true", module="maskrcnn.report")
    assert synced.returncode == 0, synced.stdout + synced.stderr
    check_complete(server, tmp_path / "work")


def test_a_server_restarted_in_mid_sweep_gets_all(server: Server, tmp_path: Path) -> None:
    def restart() -> None:
        server.stop()
        server.start()

    run = runner(tmp_path, MLFLOW_TRACKING_URI=server.uri)
    ended = during_a_job(run, tmp_path / "work", restart)
    assert ended.returncode == 0, ended.stderr
    run("sync=true", module="maskrcnn.report")
    check_complete(server, tmp_path / "work")


def test_a_server_that_hangs_in_mid_sweep_gets_the_rest_by_one_command(server: Server, tmp_path: Path) -> None:
    run = runner(tmp_path, MLFLOW_TRACKING_URI=server.uri)
    ended = during_a_job(run, tmp_path / "work", lambda: server.send(signal.SIGSTOP))
    server.send(signal.SIGCONT)
    assert ended.returncode == 0, ended.stderr
    assert "python -m maskrcnn.report sync=true" in ended.stdout
    assert run("sync=true", module="maskrcnn.report").returncode == 0
    check_complete(server, tmp_path / "work")


def test_a_server_that_is_down_from_the_start_gets_all_by_one_command(server: Server, tmp_path: Path) -> None:
    server.stop()
    run = runner(tmp_path, MLFLOW_TRACKING_URI=server.uri)
    ended = run("-m", "seed=0,1")
    assert ended.returncode == 0, ended.stderr
    assert "python -m maskrcnn.report sync=true" in ended.stdout
    server.start()
    assert run("sync=true", module="maskrcnn.report").returncode == 0
    check_complete(server, tmp_path / "work")
