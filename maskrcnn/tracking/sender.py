"""Sends a run's journal to its store: in batches, from where it stopped, so that nothing is lost or doubled.

`Sender.send_pending` does the work and raises on failure; `SenderThread` calls it beside the training, waits longer
after each failure, and gives up in bounded time at the end of a run.

Why repeating is safe: a metric is its own key in the store (name, step, time, value), files replace themselves, and a
run carries the journal's key as a tag, by which it is found when the answer to its creation was lost.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskrcnn.tracking import views
from maskrcnn.tracking.client import is_permanent, open_client, run_is_missing
from maskrcnn.tracking.journal import LOCK, Entry, Position, count_unsent, metric_values, read_entries
from maskrcnn.tracking.locks import file_lock
from maskrcnn.tracking.names import one_line
from maskrcnn.tracking.pictures import IMAGES, thumbnail_of
from maskrcnn.tracking.process import HEARTBEAT_S
from maskrcnn.tracking.store import Store, artifact_location

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY_TAG = "maskrcnn.key"
PARENT_TAG = "mlflow.parentRunId"
REASON_TAG = "reason"
CREATION_LOCK = "creation.lock"
CREATION_TIMEOUT_S = 30.0
BATCH = 900
"""Metrics of a request; the server's limit is 1000 entries in all."""
FLUSH_S = 3.0
LONGEST_PAUSE_S = 60.0
CLOSING_S = 20.0
"""How long the end of a run waits for what is unsent."""
CLOSING_PAUSE_S = 2.0
CLOSING_TRIES = 3
GIVING_UP_S = 2.5
"""The end of a run waits no longer than this without progress for a store that has failed before: in a sweep the waits
of all jobs add up."""

logger = logging.getLogger(__name__)


class RunDeletedError(Exception):
    """The user has deleted the run in the store: nothing more can be sent until it is restored."""


class _FileGoneError(Exception):
    """A file that was logged has left the run's folder."""


@dataclass
class _Batch:
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    """Name, value, time, step."""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.metrics) + len(self.params) + len(self.tags)


class Sender:
    """Serves one store with one run's journal; `run_id` is None until the store has answered."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.store = store
        self.position = Position.load(folder, store.public_uri)
        self.sent = 0
        self._client: MlflowClient | None = None
        self._known = False
        """Whether this sender has seen its run in the store."""

    @property
    def run_id(self) -> str | None:
        return self.position.run_id

    def send_pending(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Sends all entries behind the position; after each request that is done, the position is saved.

        Raises:
            RunDeletedError: the run was deleted by the user.
            Exception: whatever the client raises; what was sent before stays sent.
        """
        try:
            self._send_from_position(should_stop)
        except RunDeletedError:
            raise
        except Exception as error:
            if not run_is_missing(error) or not self._forget_missing_run():
                raise
            self._send_from_position(should_stop)

    def check_run(self) -> None:
        """Makes sure that the store knows the run: one that has vanished with its database is created anew."""
        try:
            self._connect()
        except Exception as error:
            if not run_is_missing(error) or not self._forget_missing_run():
                raise
            self._connect()

    def _send_from_position(self, should_stop: Callable[[], bool]) -> None:
        self._connect()
        batch = _Batch()
        for entry, offset in read_entries(self.folder, self.position.offset):
            if should_stop():
                return
            self._collect(entry, batch)
            action = _ACTIONS.get(entry["kind"])
            if action is not None:
                self._send_batch(batch)
                self._perform(action, entry)
                batch = _Batch()
            elif len(batch) >= BATCH:
                self._send_batch(batch)
                batch = _Batch()
            self.sent += 1
            if not len(batch):
                self._advance(offset)
            end = offset
        if len(batch):
            self._send_batch(batch)
            self._advance(end)

    def _advance(self, offset: int) -> None:
        self.position.offset = offset
        self.position.save(self.folder)

    def _connect(self) -> None:
        if self._known:
            return
        if self._client is None:
            self._client = open_client(self.store)
        if self.position.run_id is None:
            self._create_run(self._client)
        elif self._client.get_run(self.position.run_id).info.lifecycle_stage == "deleted":
            raise RunDeletedError(self.position.run_id)
        self._known = True

    def _create_run(self, client: MlflowClient) -> None:
        experiment_id = ensure_experiment(client, self.store, first_entry(self.folder)["experiment"])
        run_id = ensure_run(client, self.folder, experiment_id)
        self.position = Position(store=self.store.public_uri, run_id=run_id, experiment_id=experiment_id)
        self.position.save(self.folder)

    def _forget_missing_run(self) -> bool:
        """Starts the journal anew when the store has lost the run; False if the run is there."""
        if self._client is None or self.position.run_id is None:
            return False
        try:
            self._client.get_run(self.position.run_id)
        except Exception as error:
            if not run_is_missing(error):
                raise
            self.position = Position(store=self.store.public_uri)
            self._known = False
            return True
        return False

    def _collect(self, entry: Entry, batch: _Batch) -> None:
        if entry["kind"] == "metrics":
            for name, value in metric_values(entry).items():
                batch.metrics.append((name, value, entry["time"], entry["step"]))
        batch.params.update(entry.get("params", {}))
        batch.tags.update(entry.get("tags", {}))
        if entry["kind"] == "image":
            batch.tags["mlflow.loggedImages"] = "True"
        if entry["kind"] == "table":
            if entry["path"] not in self.position.tables:
                self.position.tables.append(entry["path"])
            listed = [{"path": path, "type": "table"} for path in self.position.tables]
            batch.tags["mlflow.loggedArtifacts"] = json.dumps(listed)

    def _send_batch(self, batch: _Batch) -> None:
        if not len(batch):
            return
        try:
            self._log(batch)
        except Exception as error:
            self._raise_unless_refused(error)
            self._send_one_by_one(batch)

    def _send_one_by_one(self, batch: _Batch) -> None:
        """Finds the entries that the store refuses, so that the others arrive."""
        single = [_Batch(metrics=[metric]) for metric in batch.metrics]
        single += [_Batch(params={name: value}) for name, value in batch.params.items()]
        single += [_Batch(tags={name: value}) for name, value in batch.tags.items()]
        for part in single:
            try:
                self._log(part)
            except Exception as error:
                self._raise_unless_refused(error)
                self._reject(error)

    def _log(self, batch: _Batch) -> None:
        from mlflow.entities import Metric, Param, RunTag

        assert self._client is not None
        self._client.log_batch(
            self.run_id,
            metrics=[Metric(name, value, time_ms, step) for name, value, time_ms, step in batch.metrics],
            params=[Param(name, value) for name, value in batch.params.items()],
            tags=[RunTag(name, value) for name, value in batch.tags.items()],
        )

    def _perform(self, action: Callable[[Sender, Entry], None], entry: Entry) -> None:
        try:
            action(self, entry)
        except _FileGoneError as error:
            self._reject(error)
        except Exception as error:
            self._raise_unless_refused(error)
            self._reject(error)

    def _raise_unless_refused(self, error: Exception) -> None:
        if not is_permanent(error):
            raise error
        assert self._client is not None
        if self._client.get_run(self.run_id).info.lifecycle_stage == "deleted":
            raise RunDeletedError(self.run_id) from error

    def _reject(self, error: Exception) -> None:
        if not self.position.rejected:
            logger.warning("the tracking store refuses an entry, which stays in the journal: %s", one_line(str(error)))
        self.position.rejected += 1

    def send_image(self, entry: Entry) -> None:
        picture = self.folder / entry["file"]
        self._upload(picture, IMAGES)
        self._upload(thumbnail_of(picture), IMAGES)

    def send_files(self, entry: Entry) -> None:
        source = self.folder / entry["path"]
        folder = entry.get("folder", "")
        if not source.is_dir():
            self._upload(source, folder)
            return
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            inside = file.parent.relative_to(source.parent).as_posix()
            self._upload(file, f"{folder}/{inside}" if folder else inside)

    def _upload(self, file: Path, folder: str) -> None:
        if not file.is_file():
            raise _FileGoneError(f"{file} is gone")
        assert self._client is not None
        self._client.log_artifact(self.run_id, str(file), folder or None)

    def send_start(self, entry: Entry) -> None:
        assert self._client is not None
        self._client.update_run(self.run_id, status="RUNNING")

    def send_view(self, entry: Entry) -> None:
        assert self._client is not None
        state = json.dumps(entry["state"], ensure_ascii=False)
        self._client.set_experiment_tag(self.position.experiment_id, views.TAG + entry["key"], state)

    def send_end(self, entry: Entry) -> None:
        assert self._client is not None
        self._client.set_terminated(self.run_id, entry["status"], end_time=entry["time"])


_ACTIONS: dict[str, Callable[[Sender, Entry], None]] = {
    "start": Sender.send_start,
    "resume": Sender.send_start,
    "image": Sender.send_image,
    "table": Sender.send_files,
    "artifact": Sender.send_files,
    "view": Sender.send_view,
    "end": Sender.send_end,
}
"""What an entry needs beside its metrics, params and tags."""


def first_entry(folder: Path) -> Entry:
    """The journal's start entry.

    Raises:
        ValueError: the journal does not begin with one.
    """
    entry = next((entry for entry, _ in read_entries(folder)), None)
    if entry is None or entry["kind"] != "start":
        raise ValueError(f"{folder}: the journal has no start")
    return entry


def ensure_experiment(client: MlflowClient, store: Store, name: str) -> str:
    """Id of the experiment `name`, created or restored if need be."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = artifact_location(store.artifacts) if store.artifacts else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except Exception:
            experiment = client.get_experiment_by_name(name)  # another process was faster
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def ensure_run(client: MlflowClient, folder: Path, experiment_id: str) -> str:
    """Id of the run whose journal lies in `folder`, created if the store has none; so is its parent's run before it.

    A job of a sweep may be the first that reaches the store, or the only one: whoever comes first makes the parent.
    """
    start = first_entry(folder)
    tags = {**start["tags"], KEY_TAG: start["key"]}
    if start.get("parent"):
        parent = Path(os.path.normpath(folder / start["parent"]))
        tags[PARENT_TAG] = ensure_run(client, parent, experiment_id)
    with file_lock(folder / CREATION_LOCK, CREATION_TIMEOUT_S):
        # Another process has made it, or the answer to an earlier creation was lost.
        found = client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{start['key']}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        run = client.create_run(experiment_id, start_time=start["time"], tags=tags, run_name=start["name"])
        return str(run.info.run_id)


class SenderThread:
    """Runs a sender beside the training; nothing it meets reaches the caller."""

    def __init__(self, sender: Sender, on_connect: Callable[[], None] = lambda: None) -> None:
        self._sender = sender
        self._on_connect = on_connect
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._connected = threading.Event()
        self._failing = False
        self._complained = False
        self._thread = threading.Thread(target=self._run, name="maskrcnn-tracking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_connected(self, timeout_s: float) -> bool:
        """Waits until the run has an id in the store, at most `timeout_s` seconds; whether it has one."""
        return self._connected.wait(timeout_s)

    @property
    def is_failing(self) -> bool:
        """Whether the store did not take what was sent last."""
        return self._failing

    def close(self, timeout_s: float = CLOSING_S) -> int:
        """Sends the rest, waiting at most `timeout_s` seconds; the number of entries that stay unsent."""
        self._closing.set()
        self._wait_for_end(timeout_s)
        self._abandoned.set()
        self._thread.join(0.2)
        return count_unsent(self._sender.folder, self._sender.position)

    def _wait_for_end(self, timeout_s: float) -> None:
        """Waits for the thread, shorter where a server has failed and takes nothing now (a file is only busy)."""
        now = time.monotonic()
        until, moved, offset = now + timeout_s, now, self._sender.position.offset
        patience_s = timeout_s if self._sender.store.is_local else GIVING_UP_S
        while self._thread.is_alive() and now < until and not (self._failing and now - moved > patience_s):
            self._thread.join(0.1)
            now = time.monotonic()
            if self._sender.position.offset != offset:
                moved, offset = now, self._sender.position.offset

    def _run(self) -> None:
        with file_lock(self._sender.folder / LOCK, timeout_s=10.0):
            failures = 0
            while not self._closing.is_set() and not self._abandoned.is_set():
                failures = 0 if self._try_to_send() else failures + 1
                self._pause(failures)
            for _ in range(CLOSING_TRIES):
                if self._abandoned.is_set() or self._try_to_send():
                    return
                self._abandoned.wait(CLOSING_PAUSE_S)

    def _pause(self, failures: int) -> None:
        """Waits for the next round; the end of the run cuts it short."""
        until = time.monotonic() + (min(LONGEST_PAUSE_S, FLUSH_S * 2**failures) if failures else FLUSH_S)
        while not self._closing.is_set() and (left := until - time.monotonic()) > 0:
            self._beat()
            self._closing.wait(min(left, HEARTBEAT_S))

    def _beat(self) -> None:
        try:
            os.utime(self._sender.folder / LOCK)
        except OSError:
            return

    def _try_to_send(self) -> bool:
        done = self._send()
        self._failing = not done
        return done

    def _send(self) -> bool:
        try:
            self._sender.send_pending(self._abandoned.is_set)
        except RunDeletedError:
            self._complain("the run was deleted in the tracking store; its journal goes on")
            self._abandoned.set()
            return False
        except Exception as error:
            self._complain(f"tracking store {self._sender.store.public_uri or 'mlruns/'}: {one_line(str(error), 160)}")
            return False
        finally:
            if self._sender.run_id is not None and not self._connected.is_set():
                self._connected.set()
                self._on_connect()
        return True

    def _complain(self, what: Any) -> None:
        if not self._complained:
            logger.warning("%s; the training goes on, the run's journal keeps everything", what)
        self._complained = True
