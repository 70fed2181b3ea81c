"""The jobs of a sweep: each is a process of its own, so that memory, seeds and backend start clean everywhere.

`run_job` runs in whatever process the launcher has made (this one, a joblib worker, a Slurm task) and starts
`python -m maskrcnn.run` from the job's overrides. All it needs besides lies in the sweep's folder.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maskrcnn.config.arguments import quote
from maskrcnn.config.schema import Config
from maskrcnn.errors import UserError
from maskrcnn.tracking.journal import JOURNAL
from maskrcnn.tracking.read import METRICS
from maskrcnn.tracking.status import FAILED, FINISHED, RUNNING, STATUS, read_status
from maskrcnn.tracking.sync import close_if_gone
from maskrcnn.tracking.tracker import Terminated
from maskrcnn.training.cluster import find_cluster
from maskrcnn.workflows.naming import config_digest
from maskrcnn.workflows.sweep_plan import SweepPlan, read_plan
from maskrcnn.workflows.sweep_tables import JobFigures
from maskrcnn.workflows.tracked_run import open_run

HEADLINES = ("mask/AP", "keypoint/AP", "box/AP")
"""What a job is judged by: the first that it has."""
GRACE_S = 60.0
"""Time to save for a job that was asked to stop twice."""
FAILURE = "failure.txt"
"""Why a job ended before its run was opened; written by the job itself."""
NOT_RUN = "not run"
POLL_S = 1.0
THREAD_VARIABLES = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NPROC",
)
"""What TensorFlow, the BLAS libraries and XLA read; joblib's workers set some of them to their share of the cores."""


class JobFailedError(UserError):
    """A job of a sweep ended with an error, which it has printed itself."""


@dataclass(frozen=True)
class Job:
    """One job of a sweep: its folder, what it was asked for, what became of it, and its figures."""

    folder: Path
    overrides: tuple[str, ...]
    metrics: dict[str, Any]
    status: str = FINISHED
    reason: str = ""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def failed(self) -> bool:
        return self.status != FINISHED or not self.metrics

    def figures(self, plan: SweepPlan) -> JobFigures:
        """What the tables say of the job."""
        return JobFigures(self.name, plan.values(self.overrides), self.status, {} if self.failed else self.metrics)

    def label(self, plan: SweepPlan) -> str:
        """What differs, for a legend or the head of a column."""
        values = plan.values(self.overrides)
        return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in values.items()) or f"job {self.name}"


def run_job(config: Config, overrides: Sequence[str], folder: Path) -> float:
    """Runs one job in a child process, unless it has finished before; the figure that the sweep compares.

    Args:
        config: the job's configuration.
        overrides: the job's overrides, from which the child starts.
        folder: the job's folder in the sweep's folder.

    Raises:
        JobFailedError: the child's exit code is not 0, or the run has no such figure.
    """
    plan = read_plan(folder.parent)
    if plan is None:
        raise JobFailedError("the folder of the sweep has no plan", str(folder.parent))
    cluster = find_cluster()
    is_chief = cluster is None or cluster.is_chief
    if is_chief:
        _wait_while_running(folder)
    job = read_job(folder)
    if not job.failed and read_status(folder).tags.get("config_digest", "") in ("", config_digest(config)):
        print(f"job {job.name} has finished before: {' '.join(overrides)}", flush=True)
        return figure_of(job.metrics, config.sweep.metric)
    for stale in (METRICS, FAILURE) if is_chief else ():
        (folder / stale).unlink(missing_ok=True)
    command = [sys.executable, "-m", "maskrcnn.run", *overrides, f"hydra.run.dir={quote(str(folder))}"]
    code = _wait(subprocess.Popen(command, env=job_environment(_threads(config, plan))))
    if code != 0 and is_chief:
        _record_failure(config, overrides, folder, code)
    if code != 0:
        raise JobFailedError(f"job {folder.name} {_in_words(code)}", " ".join(overrides))
    if not is_chief:
        return 0.0  # The launcher takes the figure of a job's first task.
    metrics = _read_metrics(folder)
    if not metrics:
        raise JobFailedError(f"job {folder.name} left no figures", " ".join(overrides))
    return figure_of(metrics, config.sweep.metric)


def _threads(config: Config, plan: SweepPlan) -> int:
    """As configured, else what the queue has granted, else the cores of the machine where the sweep was started."""
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return config.sweep.threads or (int(granted) if granted.isdigit() else plan.threads)


def job_environment(threads: int) -> dict[str, str]:
    """The environment of a job: the same number of threads under every launcher.

    How a sum is parted among threads decides its last bits: a sweep gives the same figures in a row and in parallel
    only if each job has the same number.
    """
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}


def figure_of(metrics: dict[str, Any], metric: str | None) -> float:
    """The figure of `metrics.json` that a sweep compares; 0.0 where it is undefined, as on data without such objects.

    Raises:
        JobFailedError: there is no figure of that name.
    """
    if metric is None:
        return headline(metrics)
    if metric not in metrics:
        raise JobFailedError("the run has no such figure", f"sweep.metric={metric}", "see metrics.json")
    return _finite(metrics[metric])


def headline(metrics: dict[str, Any]) -> float:
    """The figure that counts where none was chosen: the first of `HEADLINES` that is defined."""
    return _finite(next((metrics[name] for name in HEADLINES if metrics.get(name) is not None), None))


def _finite(value: Any) -> float:
    return float(value) if value is not None and math.isfinite(value) else 0.0


def read_jobs(folder: Path, plan: SweepPlan | None = None) -> list[Job]:
    """The jobs of the sweep in `folder`, in the order of their numbers; those of the plan that never ran as well."""
    found = {child.name: read_job(child) for child in folder.iterdir() if child.name.isdigit()}
    for number, overrides in enumerate(plan.jobs if plan is not None else ()):
        found.setdefault(str(number), Job(folder / str(number), overrides, {}, NOT_RUN))
    return sorted(found.values(), key=lambda job: int(job.name))


def read_job(folder: Path) -> Job:
    """What became of the job in `folder`, from the files there."""
    overrides, metrics = _read_overrides(folder), _read_metrics(folder)
    if (folder / STATUS).is_file():
        status = read_status(folder)
        return Job(folder, overrides, metrics, status.status, status.reason)
    if metrics:
        return Job(folder, overrides, metrics)
    return Job(folder, overrides, {}, FAILED, _read_failure(folder))


def write_failure(folder: Path, error: BaseException) -> None:
    """Leaves word of the error that ended a job, for its place in the sweep; a full disk must not hide the error."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    with contextlib.suppress(OSError):
        (folder / FAILURE).write_text(text, encoding="utf-8")


def _record_failure(config: Config, overrides: Sequence[str], folder: Path, code: int) -> None:
    """Makes the store know of a job that could not say so itself."""
    if (folder / JOURNAL).is_file():
        if read_status(folder).status != RUNNING:  # else it has left a process behind, which still writes
            close_if_gone(folder)
        return
    open_run(config, overrides, folder).finish(FAILED, _read_failure(folder) or _in_words(code))


def _in_words(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    names = {int(number): number.name for number in signal.Signals}
    return f"was ended by {names.get(-code, f'signal {-code}')}"


def _wait_while_running(folder: Path) -> None:
    """A sweep whose own process was killed may have left a job behind that is still at work."""
    told = False
    while (folder / STATUS).is_file() and read_status(folder).status == RUNNING:
        if not told:
            print(f"job {folder.name} is still running in another process; waiting for it", flush=True)
        told = True
        time.sleep(POLL_S)


def _wait(child: subprocess.Popen) -> int:
    """Ctrl-C reaches the child as well, which saves and ends; only then does the sweep end, too."""
    try:
        return child.wait()
    except KeyboardInterrupt as stop:
        if isinstance(stop, Terminated):  # SIGTERM reaches this process alone
            child.send_signal(signal.SIGTERM)
        with contextlib.suppress(KeyboardInterrupt):
            child.wait()
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_S)
            child.kill()
        raise


def _read_metrics(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _read_failure(folder: Path) -> str:
    try:
        return (folder / FAILURE).read_text(encoding="utf-8")
    except OSError:
        return ""


def _read_overrides(folder: Path) -> tuple[str, ...]:
    try:
        values = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return ()
    return tuple(str(value) for value in values or ())
