"""What a training talks to: metrics, pictures, tables and files of one run, kept in its folder and sent to the store.

No call waits for the store and none raises because of it: each writes to the run's journal and returns; a thread
sends from there (`sender`). Only `start` (once) and `finish` (at most `CLOSING_S` seconds) take time.
"""

from __future__ import annotations

import functools
import getpass
import logging
import os
import shutil
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from maskrcnn.tracking import pictures, tables, views
from maskrcnn.tracking.journal import Journal, last_steps, now_ms, read_entries
from maskrcnn.tracking.names import clean_image_key, clean_name, clean_path, one_line, params_text, tags_text
from maskrcnn.tracking.pages import run_page, view_page
from maskrcnn.tracking.process import process_identity
from maskrcnn.tracking.sender import REASON_TAG, Sender, SenderThread
from maskrcnn.tracking.status import FAILED, FINISHED, KILLED, RUNNING, RunStatus
from maskrcnn.tracking.store import STORE_FOLDER, Store, prepare_store, resolve_store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
SYNC_COMMAND = "python -m maskrcnn.report sync=true"

logger = logging.getLogger(__name__)


class Terminated(KeyboardInterrupt):
    """SIGTERM, turned into an exception so that the run can be closed like after Ctrl-C."""


def _never_raises(method: Callable[P, None]) -> Callable[P, None]:
    """Logs the first failure of a tracker's method and swallows all: tracking must not stop a training (STYLE §9)."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception as error:
            tracker: Any = args[0]
            tracker.complain(method.__name__, error)

    return guarded


class Tracker:
    """One run. Use it as a context manager: the run's status is then honest whatever happens inside."""

    def __init__(self, folder: Path, store: Store, status: RunStatus, seen: Mapping[tuple[str, str], int]) -> None:
        """Use `Tracker.start`."""
        self.folder = folder
        self.store = store
        self.note = ""
        """What the user should know at the end, such as how to send what is missing; "" if nothing."""
        self._status = status
        self._seen = seen
        self._images = {name: step for (kind, name), step in seen.items() if kind == "image"}
        """Last step of each image key."""
        self._journal = Journal(folder)
        self._sender = Sender(folder, store)
        self._thread: SenderThread | None = None
        self._complaints: set[str] = set()
        self._finished = False
        self._old_handler: Any = None

    @classmethod
    def start(
        cls,
        *,
        run_folder: Path,
        uri: str | None,
        experiment: str,
        name: str,
        params: Mapping[str, object],
        tags: Mapping[str, object],
        enabled: bool,
        root: Path | None = None,
        parent: Path | None = None,
    ) -> Tracker:
        """Opens the run of `run_folder`, or goes on with it when the folder holds a journal already.

        Args:
            run_folder: the run's own folder; made if need be.
            uri: address of the store; None: MLFLOW_TRACKING_URI, else the store in `mlruns/` under `root`.
            experiment: MLflow experiment.
            name: the run's name in tables.
            params: what people sort by; at most about eight.
            tags: further facts, such as the key of a sweep.
            enabled: False keeps the journal and sends nothing.
            root: directory of launch; None: the folder above the `mlruns` that holds `run_folder`, else the current.
            parent: folder of the run that this one belongs to, which has a journal; None: none.

        Raises:
            UserError: the address is malformed. A store that does not answer is no error.
        """
        folder = run_folder.absolute()
        store = resolve_store(uri, root or _root_of(folder))
        seen = last_steps(folder)
        all_tags = {**_standard_tags(), **tags_text(tags)}
        status = RunStatus(name=name, status=RUNNING, started_ms=now_ms(), experiment=experiment, tags=all_tags)
        status.store, status.process = store.public_uri, process_identity()
        tracker = cls(folder, store, status, seen)
        tracker._open_journal(params_text(params), enabled, parent)
        tracker._write_status()  # before the library's import, which takes seconds in which a process may be killed
        tracker.view(views.TABLE, views.table_view(list(params_text(params))))
        if enabled:
            tracker._start_sending(experiment)
        tracker._write_status()
        return tracker

    def _open_journal(self, params: Mapping[str, str], enabled: bool, parent: Path | None) -> None:
        status = self._status
        start = next((entry for entry, _ in read_entries(self.folder)), None)
        facts = {"params": params, "tags": status.tags, "process": status.process, "enabled": enabled}
        if start is None:
            key = uuid.uuid4().hex
            names = {"name": status.name, "experiment": status.experiment, "store": status.store}
            if parent is not None:
                names["parent"] = Path(os.path.relpath(parent.absolute(), self.folder)).as_posix()
            self._journal.append("start", version=1, key=key, **names, **facts)
        else:
            status.started_ms = start["time"]
            self._journal.append("resume", **facts)

    @_never_raises
    def _start_sending(self, experiment: str) -> None:
        # The library is imported here, not in the thread: imports in two threads at once can meet half-made modules.
        from maskrcnn.tracking.client import open_client

        try:
            prepare_store(self.store, experiment)
            open_client(self.store)
        finally:
            self._thread = SenderThread(self._sender, self._write_status)
            self._thread.start()

    @property
    def run_id(self) -> str | None:
        """The run's id in the store; None until the store has answered."""
        return self._sender.run_id

    @property
    def url_hint(self) -> str:
        """Address of the run's page: on the server, or for `make ui`; "" while the run has no id."""
        return self.links().get("run", "")

    def links(self) -> dict[str, str]:
        """Addresses of pages: `run`, `runs` (the table) and, if images were logged, `images`; {} without an id."""
        experiment_id = self._sender.position.experiment_id
        links = {
            "run": run_page(self.store, experiment_id, self.run_id),
            "runs": view_page(self.store, experiment_id, views.TABLE, charts=False),
            "images": view_page(self.store, experiment_id, views.IMAGES, charts=True) if self._images else "",
        }
        return {name: link for name, link in links.items() if link}

    def view_link(self, key: str, *, charts: bool) -> str:
        """Address of a prepared view (`view`) of the experiment's runs; "" without an id."""
        return view_page(self.store, self._sender.position.experiment_id, key, charts=charts)

    @property
    def is_failing(self) -> bool:
        """Whether the store did not take what was sent last."""
        return self._thread is not None and self._thread.is_failing

    def wait_connected(self, timeout_s: float) -> str | None:
        """The run's id, for which it waits at most `timeout_s` seconds."""
        if self._thread is not None:
            self._thread.wait_connected(timeout_s)
        return self.run_id

    @_never_raises
    def metrics(self, values: Mapping[str, float | None], step: int) -> None:
        """Figures of one step; None is left out (undefined), NaN is kept."""
        known = {clean_name(name): float(value) for name, value in values.items() if value is not None}
        fresh = {name: value for name, value in known.items() if self._is_fresh("metrics", name, step)}
        if fresh:
            self._journal.append("metrics", step=int(step), values=fresh)

    @_never_raises
    def image(self, key: str, image: np.ndarray, step: int) -> None:
        """A picture (uint8 [H, W, 3]) for the image charts: steps on a slider, runs as columns."""
        key = clean_image_key(key)
        if not self._is_fresh("image", key, step):
            return
        time_ms = now_ms()
        file = f"{pictures.IMAGES}/{pictures.image_name(key, int(step), time_ms)}"
        pictures.write_image(self.folder / file, image)
        self._journal.append("image", time=time_ms, key=key, step=int(step), file=file)
        self._images[key] = int(step)

    @_never_raises
    def figure(self, name: str, figure: Figure) -> None:
        """A matplotlib figure as `figures/<name>.png`."""
        path = self._path(f"figures/{clean_path(name)}.png")
        figure.savefig(path, dpi=120, bbox_inches="tight")
        self._journal.append("artifact", path=self._relative(path), folder="figures")

    @_never_raises
    def table(self, name: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table under `tables/`: JSON that MLflow's page shows, Markdown and CSV. Logged again, it is replaced."""
        path = self._path(f"tables/{clean_path(name)}.json")
        folder = self._relative(path.parent)
        for text, suffix in tables.formats(header, rows):
            file = path.with_suffix(suffix)
            file.write_text(text, encoding="utf-8")
            kind = "table" if suffix == ".json" else "artifact"
            self._journal.append(kind, path=self._relative(file), folder=folder)

    @_never_raises
    def text(self, path: str, text: str) -> None:
        """A text file at `path` in the run's folder and among its artifacts."""
        file = self._path(clean_path(path))
        file.write_text(text, encoding="utf-8")
        self.artifact(file, self._folder_of(file))

    @_never_raises
    def artifact(self, path: Path, folder: str = "") -> None:
        """A file or folder, into `folder` among the artifacts ("" for the top). One from elsewhere is copied first."""
        path = path.absolute()
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        if not path.is_relative_to(self.folder):
            path = self._copy(path, folder)
        self._journal.append("artifact", path=self._relative(path), folder=clean_path(folder) if folder else "")

    @_never_raises
    def params(self, params: Mapping[str, object]) -> None:
        """Further parameters; a parameter has one value for ever."""
        self._journal.append("params", params=params_text(params))

    @_never_raises
    def tags(self, tags: Mapping[str, object]) -> None:
        """Further tags; a later value replaces an earlier one."""
        self._status.tags.update(tags_text(tags))
        self._journal.append("tags", tags=tags_text(tags))

    @_never_raises
    def view(self, key: str, view: views.View) -> None:
        """A prepared view of the experiment's runs (`views`), which `pages.view_page` opens; `key` in plain letters."""
        self._journal.append("view", key=key, state=view)

    def finish(self, status: str = FINISHED, reason: str = "") -> None:
        """Closes the run with FINISHED, FAILED or KILLED; waits a bounded time for what is unsent. Once only."""
        if not self._finished:
            self._finished = True
            self._finish(status, one_line(reason))

    @_never_raises
    def _finish(self, status: str, reason: str) -> None:
        if self._images:
            self.view(views.IMAGES, views.images_view(sorted(self._images), max(self._images.values())))
        self._journal.append("end", status=status, tags={REASON_TAG: reason} if reason else {})
        self._status.status, self._status.reason, self._status.ended_ms = status, reason, now_ms()
        self._write_status()
        if self._thread is not None:
            self._status.unsent = self._thread.close()
            self._write_status()
        self._journal.close()
        if self._status.unsent:
            self.note = f"{self._status.unsent} entries of the run unsent: {SYNC_COMMAND}"
            logger.warning("%s", self.note)

    def __enter__(self) -> Tracker:
        # Only where nobody else handles it: the default action would end the process without a word.
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._old_handler = signal.signal(signal.SIGTERM, _raise_terminated)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.finish(*_verdict(error))
        finally:
            if self._old_handler is not None:
                signal.signal(signal.SIGTERM, self._old_handler)

    def complain(self, method: str, error: Exception) -> None:
        """Logs the first failure of each method; the training goes on."""
        if method not in self._complaints:
            logger.warning("tracking: %s failed and is left out: %s", method.strip("_"), one_line(str(error)))
        self._complaints.add(method)

    @_never_raises
    def _write_status(self) -> None:
        self._status.run_id = self.run_id
        self._status.experiment_id = self._sender.position.experiment_id
        self._status.write(self.folder)

    def _is_fresh(self, kind: str, name: str, step: int) -> bool:
        """Whether an interrupted run has not logged this before: it repeats the steps after its last checkpoint."""
        last = self._seen.get((kind, name))
        return last is None or step > last

    def _path(self, relative: str) -> Path:
        path = self.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _folder_of(self, file: Path) -> str:
        folder = self._relative(file.parent)
        return "" if folder == "." else folder

    def _copy(self, source: Path, folder: str) -> Path:
        target = self._path(f"files/{clean_path(folder) + '/' if folder else ''}{source.name}")
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
        return target


def _root_of(folder: Path) -> Path:
    above = next((parent for parent in folder.parents if parent.name == STORE_FOLDER), None)
    return above.parent if above is not None else Path.cwd()


def _standard_tags() -> dict[str, str]:
    """What MLflow's own `start_run` would add."""
    tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": Path(sys.argv[0] or "python").name}
    try:
        tags["mlflow.user"] = getpass.getuser()
    except (OSError, KeyError, ImportError):
        logger.debug("the user has no name")
    return tags


def _verdict(error: BaseException | None) -> tuple[str, str]:
    """Status and reason of a run that ended with `error`."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return FINISHED, ""
    if isinstance(error, Terminated):
        return KILLED, "terminated (SIGTERM)"
    if isinstance(error, KeyboardInterrupt):
        return KILLED, "interrupted (Ctrl-C)"
    if isinstance(error, SystemExit):
        return FAILED, f"exit code {error.code}"
    return FAILED, f"{type(error).__name__}: {error}"


def _raise_terminated(signum: int, frame: FrameType | None) -> None:
    raise Terminated("terminated")
