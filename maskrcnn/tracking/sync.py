"""Sends what earlier runs could not send: all journals under `mlruns/runs`, as often as one likes."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from maskrcnn.tracking.journal import JOURNAL, LOCK, Entry, Journal, count_unsent, read_entries
from maskrcnn.tracking.locks import file_lock
from maskrcnn.tracking.names import one_line
from maskrcnn.tracking.process import is_gone
from maskrcnn.tracking.sender import REASON_TAG, RunDeletedError, Sender, first_entry
from maskrcnn.tracking.status import KILLED, KILLED_REASON, RUNNING, read_status
from maskrcnn.tracking.store import (
    URI_VARIABLE,
    Store,
    default_store,
    prepare_store,
    resolve_store,
    runs_folder,
    without_credentials,
)

LOCK_TIMEOUT_S = 0.3

logger = logging.getLogger(__name__)


@dataclass
class SyncResult:
    """What `sync_all` did with one run."""

    folder: Path
    sent: int = 0
    unsent: int = 0
    note: str = ""
    """Why nothing was sent, or what went wrong; "" if all is well."""


@dataclass
class _Stores:
    """The stores met so far: which are ready, and why others cannot be had."""

    root: Path
    uri: str | None
    ready: set[tuple[str, str]] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)

    def store_of(self, start: Entry) -> Store:
        """The store that the user names, else the run's own (with the user's credentials, which no journal holds)."""
        recorded = start.get("store", "")
        if self.uri:
            return resolve_store(self.uri, self.root)
        if not recorded:
            return default_store(self.root)
        variable = os.environ.get(URI_VARIABLE, "")
        return resolve_store(variable if without_credentials(variable) == recorded else recorded, self.root)

    def prepare(self, store: Store, experiment: str) -> None:
        if (store.uri, experiment) not in self.ready:
            prepare_store(store, experiment)
            self.ready.add((store.uri, experiment))


def run_folders(root: Path) -> list[Path]:
    """All folders with a journal under `mlruns/runs`, oldest first (their names begin with the time)."""
    return sorted(path.parent for path in runs_folder(root).rglob(JOURNAL))


def sync_all(root: Path, uri: str | None = None) -> list[SyncResult]:
    """Sends what is missing of every run under `root`; runs whose process is gone are marked KILLED.

    A run whose process lives is left to it. Repeating it sends nothing twice; a store that has lost its runs gets
    them again.

    Args:
        root: the directory of launch.
        uri: the store to send to; None: each run's own.
    """
    stores = _Stores(root.absolute(), uri)
    return [_sync_run(folder, stores) for folder in run_folders(root.absolute())]


def sync_run(folder: Path, root: Path, uri: str | None = None) -> SyncResult:
    """The same for the run in `folder` alone."""
    return _sync_run(folder, _Stores(root.absolute(), uri))


def _sync_run(folder: Path, stores: _Stores) -> SyncResult:
    result = SyncResult(folder)
    try:
        start = first_entry(folder)
    except ValueError as error:
        result.note = str(error)
        return result
    if not start.get("enabled", True):
        result.note = "tracking was switched off"
        return result
    with file_lock(folder / LOCK, LOCK_TIMEOUT_S) as held:
        if not held or _is_running(folder):
            result.note = "still running"
            return result
        close_if_gone(folder)
        _send(folder, start, stores, result)
    return result


def _send(folder: Path, start: Entry, stores: _Stores, result: SyncResult) -> None:
    store = stores.store_of(start)
    sender = Sender(folder, store)
    try:
        if store.uri in stores.broken:
            result.note = stores.broken[store.uri]
        else:
            stores.prepare(store, start["experiment"])
            sender.check_run()
            sender.send_pending()
    except RunDeletedError:
        result.note = "deleted in the tracking store; restore it there to send the rest"
    except Exception as error:
        result.note = one_line(f"{store.public_uri or 'mlruns/'}: {error}", 160)
        if sender.run_id is None:
            stores.broken[store.uri] = result.note  # later runs need not wait for it again
    result.sent, result.unsent = sender.sent, count_unsent(folder, sender.position)
    _update_status(folder, sender, result.unsent)


def _update_status(folder: Path, sender: Sender, unsent: int) -> None:
    status = read_status(folder)
    status.run_id, status.experiment_id, status.unsent = sender.run_id, sender.position.experiment_id, unsent
    status.write(folder)


def _is_running(folder: Path) -> bool:
    process = None
    for entry, _ in read_entries(folder):
        if entry["kind"] in ("start", "resume"):
            process = entry["process"]
        elif entry["kind"] == "end":
            process = None
    return process is not None and not is_gone(process, folder / LOCK)


def close_if_gone(folder: Path) -> None:
    """Ends the journal of a run that did not end it: KILLED, at the time of its last entry."""
    last: Entry | None = None
    for last, _ in read_entries(folder):  # noqa: B007
        pass
    if last is None or last["kind"] == "end":
        return
    status = read_status(folder)
    reason = status.reason or KILLED_REASON
    journal = Journal(folder)
    journal.append("end", time=last["time"], status=KILLED, tags={REASON_TAG: reason})
    journal.close()
    if status.status in (KILLED, RUNNING):
        status.status, status.reason, status.ended_ms = KILLED, reason, last["time"]
        status.write(folder)
