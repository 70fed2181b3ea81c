"""Facts about the machine and the software of a run, as plain data for its record."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("maskrcnn", "tensorflow", "keras", "jax", "numpy", "mlflow", "hydra-core", "pycocotools")
GIT_TIMEOUT_S = 5.0


def environment_facts(devices: Sequence[str] = (), project: Path | None = None) -> dict[str, object]:
    """Versions, git commit, processor, cores and memory; flat and JSON-able.

    Args:
        devices: names of the devices that compute, from whoever knows the backend; they are recorded as given.
        project: a folder of the git work tree; None: that of this package.
    """
    facts: dict[str, object] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "devices": list(devices),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "host": platform.node(),
    }
    facts |= {f"version/{package}": version for package in PACKAGES if (version := _version(package))}
    return facts | git_facts(project or Path(__file__).resolve().parent)


def git_facts(folder: Path) -> dict[str, object]:
    """`git/commit` and `git/dirty` (whether tracked files differ from it); {} where there is no work tree."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or not _git(folder, "ls-files", "."):  # an installed package may lie in somebody else's tree
        return {}
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"git/commit": commit, "git/dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    # Without optional locks, so that looking does not disturb a git command of the user's.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def cpu_name() -> str:
    """The processor's name as its maker gives it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def usable_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (OSError, ValueError, AttributeError):
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
