"""Finds runs again: by id, folder, name or model file, here or on a server."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn.errors import UserError
from maskrcnn.tracking.journal import JOURNAL, metric_values, read_entries
from maskrcnn.tracking.names import one_line
from maskrcnn.tracking.status import FAILED, KILLED, STATUS, UNKNOWN, RunStatus, read_status
from maskrcnn.tracking.store import Store, resolve_store, runs_folder

CONFIG = "config.yaml"
METRICS = "metrics.json"
SWEEP = "sweep.json"
"""Lies in the folder of a sweep, whose runs lie in the folders beside it."""
MODELS = ("best.keras", "model/best.keras", "model.keras", "last.keras")
"""Where a run keeps its model, the one to use first; an artifact lies in a folder of its own."""
MODEL_FOLDER = "model"
SWEEP_TAG = "sweep"
"""The tag that a sweep and its jobs have in common."""
NEWEST = "last"
"""The word for the newest run."""


@dataclass(frozen=True)
class RunFolder:
    """A run on this disk: its folder, and what became of it."""

    path: Path
    status: RunStatus
    model_file: Path | None = None
    """The model that was asked for by name, if one was."""

    @property
    def name(self) -> str:
        return self.status.name

    @property
    def run_id(self) -> str | None:
        return self.status.run_id

    @property
    def config(self) -> Path:
        return self.path / CONFIG

    @property
    def model(self) -> Path:
        """The model to use: the file asked for, else the run's own."""
        found = (self.path / name for name in MODELS if (self.path / name).is_file())
        return self.model_file or next(found, self.path / MODELS[0])

    def metrics(self) -> dict[str, float | None]:
        """The run's final figures (`metrics.json`); {} while there are none."""
        return _read_json(self.path / METRICS)

    def pictures(self) -> dict[str, Path]:
        """The last picture of each image key that the run has logged, by key."""
        images = (entry for entry, _ in read_entries(self.path) if entry["kind"] == "image")
        newest = {entry["key"]: self.path / entry["file"] for entry in images}
        return {key: newest[key] for key in sorted(newest) if newest[key].is_file()}

    def last_image_steps(self) -> dict[str, int]:
        """The last step of each image key that the run has logged."""
        images = (entry for entry, _ in read_entries(self.path) if entry["kind"] == "image")
        return {entry["key"]: entry["step"] for entry in images}

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Step and value of every metric that the run has logged, from its journal; the last value of a step counts."""
        curves: dict[str, dict[int, float]] = {}
        for entry, _ in read_entries(self.path):
            if entry["kind"] == "metrics":
                for name, value in metric_values(entry).items():
                    curves.setdefault(name, {})[entry["step"]] = value
        return {name: sorted(points.items()) for name, points in curves.items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def list_runs(root: Path) -> list[RunFolder]:
    """The runs under `root`, oldest first."""
    runs = [RunFolder(folder, read_status(folder)) for folder in _folders(runs_folder(root.absolute()))]
    return sorted(runs, key=lambda run: (run.status.started_ms, run.path.name))


def unfinished_runs(root: Path) -> list[RunFolder]:
    """Runs that were interrupted (failed, killed, or ended without a word), newest first; not those that still run."""
    return [run for run in reversed(list_runs(root)) if run.status.status in (FAILED, KILLED)]


def list_sweeps(root: Path) -> list[RunFolder]:
    """The sweeps under `root`, oldest first."""
    folders = runs_folder(root.absolute()).glob(f"*/{SWEEP}")
    sweeps = [RunFolder(file.parent, read_status(file.parent)) for file in folders]
    return sorted(sweeps, key=lambda sweep: (sweep.status.started_ms, sweep.path.name))


def _folders(folder: Path) -> Iterator[Path]:
    """Folders of runs below `folder`: directly, or within a sweep's folder."""
    if folder.is_dir():
        for child in sorted(folder.iterdir()):
            if is_run_folder(child) and not is_sweep_folder(child):
                yield child
            elif child.is_dir():
                yield from (grandchild for grandchild in sorted(child.iterdir()) if is_run_folder(grandchild))


def is_run_folder(path: Path) -> bool:
    """Whether a folder is a run's."""
    return path.is_dir() and any((path / name).is_file() for name in (STATUS, JOURNAL, CONFIG))


def is_sweep_folder(path: Path) -> bool:
    """Whether a folder is a sweep's, which holds the folders of its runs."""
    return (path / SWEEP).is_file()


def resolve_run(where: str, root: Path, uri: str | None = None) -> RunFolder:
    """The run that `where` names: a run's id, `runs:/ID`, its folder, a file in it, its name, or `last`.

    A run that is not on this disk is fetched from the store (config, figures, model, not its pictures) into the cache.

    Raises:
        UserError: there is no such run, or more than one of that name; it is a sweep; the store does not answer.
    """
    where = where.strip()
    root = root.absolute()
    run = _on_disk(where, root)
    if run is not None:
        if run.path.is_dir() and is_sweep_folder(run.path):
            raise _is_a_sweep(run)
        return run
    runs = list_runs(root)
    if where == NEWEST and runs:
        return runs[-1]
    matches = _matches(where, runs)
    if len(matches) > 1:
        named = ", ".join(run.path.name for run in matches[-3:])
        raise UserError(f"{len(matches)} runs match {where!r}", "run", f"name one folder of {named}, or an id")
    if matches:
        return matches[0]
    sweeps = _matches(where, list_sweeps(root))
    if sweeps:
        raise _is_a_sweep(sweeps[-1])
    run_id = _run_id(where)
    if run_id is None:
        raise _no_such_run(where, runs)
    return _fetch(run_id, resolve_store(uri, root))


def resolve_sweep(where: str, root: Path) -> RunFolder:
    """The sweep that `where` names: its folder, its name, its tag, the id of its run, or `last`; on this disk alone.

    Raises:
        UserError: there is no such sweep, or more than one of that name.
    """
    where = where.strip()
    path = Path(os.path.normpath(root.absolute() / Path(where).expanduser()))
    if where and is_sweep_folder(path):
        return RunFolder(path, read_status(path))
    sweeps = list_sweeps(root)
    if where == NEWEST and sweeps:
        return sweeps[-1]
    tagged = [sweep for sweep in sweeps if sweep.status.tags.get(SWEEP_TAG) == where]
    matches = tagged or _matches(where, sweeps)
    if len(matches) == 1:
        return matches[0]
    if matches:
        named = ", ".join(sweep.path.name for sweep in matches[-3:])
        raise UserError(f"{len(matches)} sweeps match {where!r}", "sweep", f"name one folder of {named}")
    hint = f"give its folder, its id, or {NEWEST!r}" if sweeps else "there are no sweeps in mlruns/runs here"
    raise UserError(f"no sweep {where!r}", "sweep", hint)


def _is_a_sweep(sweep: RunFolder) -> UserError:
    hint = f"name one of its runs, such as mlruns/runs/{sweep.path.name}/0, or report sweep={sweep.path.name}"
    return UserError(f"{sweep.path.name} is a sweep, not a run", "run", hint)


def _on_disk(where: str, root: Path) -> RunFolder | None:
    if not where or where.startswith("runs:/"):
        return None
    path = Path(os.path.normpath(root / Path(where).expanduser()))
    if path.is_dir() and is_run_folder(path):
        return RunFolder(path, read_status(path))
    if path.is_file():
        folder = next((parent for parent in path.parents[:3] if is_run_folder(parent)), path.parent)
        model = path if path.suffix in (".keras", ".h5") else None
        return RunFolder(folder, read_status(folder), model)
    return None


def _run_id(where: str) -> str | None:
    match = re.fullmatch(r"(?:runs:/)?([0-9a-f]{32})(?:/.*)?", where)
    return match[1] if match else None


def _matches(where: str, runs: list[RunFolder]) -> list[RunFolder]:
    run_id = _run_id(where)
    if run_id is not None:
        return [run for run in runs if run.run_id == run_id][-1:]
    exact = [run for run in runs if where in (run.path.name, run.name)]
    if exact or not re.fullmatch(r"[0-9a-f]{6,31}", where):
        return exact
    return [run for run in runs if run.run_id is not None and run.run_id.startswith(where)]


def _no_such_run(where: str, runs: list[RunFolder]) -> UserError:
    known = [NEWEST, *(run.path.name for run in runs), *(run.name for run in runs)]
    near = difflib.get_close_matches(where, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"give a run's id, its folder, or {NEWEST!r}"
    if not runs:
        hint = "there are no runs in mlruns/runs here: start in the folder where the run was started, or give its path"
    return UserError(f"no run {where!r}", "run", hint)


def _fetch(run_id: str, store: Store) -> RunFolder:
    """Downloads a run that other disks have written."""
    from maskrcnn.tracking.client import open_client, run_is_missing

    client_error = UserError(f"no run {run_id!r} in {store.public_uri or 'mlruns/'}", "run", "see the ids in the UI")
    if store.database is not None and not store.database.exists():
        raise client_error
    folder = _cache_folder() / "runs" / run_id
    try:
        client = open_client(store)
        info = client.get_run(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        for file in [*client.list_artifacts(run_id), *client.list_artifacts(run_id, MODEL_FOLDER)]:
            if not file.is_dir and not (folder / file.path).exists():
                client.download_artifacts(run_id, file.path, str(folder))
    except Exception as error:
        if run_is_missing(error):
            raise client_error from error
        what = f"run {run_id!r} cannot be had from {store.public_uri or 'mlruns/'}: {one_line(str(error), 160)}"
        raise UserError(what, "run") from error
    status = RunStatus(name=info.info.run_name or run_id, status=info.info.status or UNKNOWN, run_id=run_id)
    status.experiment_id, status.store, status.started_ms = info.info.experiment_id, store.public_uri, 0
    status.write(folder)
    return RunFolder(folder, status)


def _cache_folder() -> Path:
    chosen = os.environ.get("MASKRCNN_CACHE", "").strip()
    return Path(chosen).absolute() if chosen else Path("~/.cache/maskrcnn").expanduser()
