"""A sweep: each job is a process of its own, so that memory, seeds and backend start clean, under every launcher."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maskrcnn.config.arguments import quote
from maskrcnn.errors import UserError

HEADLINES = ("mask/AP", "keypoint/AP", "box/AP")
"""What a job is judged by: the first that it has."""
GRACE_S = 60.0
"""Time to save for a job that was asked to stop twice."""


class JobFailedError(UserError):
    """A job of a sweep ended with an error, which it has printed itself."""


@dataclass(frozen=True)
class Job:
    """One job of a finished sweep: its folder, what it was asked for, and its figures (none: it failed)."""

    folder: Path
    overrides: tuple[str, ...]
    metrics: dict[str, Any]

    @property
    def failed(self) -> bool:
        return not self.metrics


def run_job(overrides: Sequence[str], folder: Path) -> float:
    """Runs one job in a child process; its headline figure (0.0 where it is undefined).

    Raises:
        JobFailedError: the child's exit code is not 0.
    """
    command = [sys.executable, "-m", "maskrcnn.run", *overrides, f"hydra.run.dir={quote(str(folder))}"]
    code = _wait(subprocess.Popen(command))
    if code != 0:
        raise JobFailedError(f"job {folder.name} ended with exit code {code}", " ".join(overrides))
    return headline(_read_metrics(folder))


def headline(metrics: dict[str, Any]) -> float:
    """The figure of `metrics.json` that a sweep compares."""
    value = next((metrics[name] for name in HEADLINES if metrics.get(name) is not None), 0.0)
    return float(value) if math.isfinite(value) else 0.0


def read_jobs(folder: Path) -> list[Job]:
    """The jobs in a sweep's folder, in the order of their numbers."""
    jobs = []
    numbered = (child for child in folder.iterdir() if child.name.isdigit())
    for child in sorted(numbered, key=lambda child: int(child.name)):
        jobs.append(Job(child, _read_overrides(child), _read_metrics(child)))
    return jobs


def describe_jobs(jobs: Sequence[Job]) -> str:
    """One line for each job: number, headline figure, overrides."""
    lines = []
    for job in jobs:
        figure = "failed" if job.failed else f"{headline(job.metrics):.3f}"
        lines.append(f"{job.folder.name:>4}  {figure:>6}  {' '.join(job.overrides)}")
    return "\n".join(lines)


def _wait(child: subprocess.Popen) -> int:
    """Ctrl-C reaches the child as well, which saves and ends; only then does the sweep end, too."""
    try:
        return child.wait()
    except KeyboardInterrupt:
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
        values = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _read_overrides(folder: Path) -> tuple[str, ...]:
    try:
        values = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return ()
    return tuple(str(value) for value in values or ())
