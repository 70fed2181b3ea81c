"""A run's journal: everything that is logged, one JSON line each, in the order of the calls.

The journal is written first and flushed to the operating system, so that a killed process loses nothing that was
logged; the sender reads it from there. Files (images, tables, models) lie in the run's folder and are named relative
to it. A position file beside it says how far which store has been served.

Kinds of entries: start, resume, metrics, params, tags, image, table, artifact, view, end.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

JOURNAL = "journal.jsonl"
POSITION = "journal.position.json"
LOCK = "journal.lock"
"""Held by whoever sends; its age is the heartbeat of a living run."""
CHUNK_BYTES = 1 << 18

Entry = dict[str, Any]

logger = logging.getLogger(__name__)


def now_ms() -> int:
    """Milliseconds since 1970, the time unit of MLflow."""
    return time.time_ns() // 1_000_000


class Journal:
    """The writing end. Calls from several threads are safe; a full disk is logged once and never raised."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / JOURNAL
        cut_torn_line(self.path)
        self._file = self.path.open("ab")
        self._lock = threading.Lock()
        self._failed = False

    def append(self, kind: str, **fields: Any) -> None:
        """Adds one entry with the current time (or the given `time`, in ms) and hands it to the operating system."""
        line = encode_entry({"kind": kind, "time": now_ms(), **fields})
        try:
            with self._lock:
                self._file.write(line)
                self._file.flush()
        except (OSError, ValueError) as error:
            if not self._failed:
                logger.error("the run's journal cannot be written (%s): %s", self.path, error)
            self._failed = True

    def close(self) -> None:
        with self._lock:
            self._file.close()


def encode_entry(entry: Mapping[str, Any]) -> bytes:
    """One line of strict JSON: NaN and infinities become text, anything unknown its `str`."""
    text = json.dumps(_finite(entry), ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", errors="replace") + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def cut_torn_line(path: Path) -> None:
    """Removes what stands after the last newline: the half-written line of a process that was killed."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - 4096)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def read_entries(folder: Path, offset: int = 0) -> Iterator[tuple[Entry, int]]:
    """The whole entries from byte `offset` on, each with the offset behind it.

    A torn last line is left for later; a line that is not an entry (a damaged disk) is skipped.
    """
    path = folder / JOURNAL
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            entry = _decode(line)
            if entry is not None:
                yield entry, offset


def _decode(line: bytes) -> Entry | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "kind" in entry else None


def metric_values(entry: Entry) -> dict[str, float]:
    """The figures of a metrics entry; not-a-number and infinities as floats again."""
    return {name: float(value) for name, value in entry["values"].items()}


def last_steps(folder: Path) -> dict[tuple[str, str], int]:
    """The last step of each metric and image key of a journal: what a resumed run need not write again."""
    steps: dict[tuple[str, str], int] = {}
    for entry, _ in read_entries(folder):
        names = entry["values"] if entry["kind"] == "metrics" else [entry["key"]] if entry["kind"] == "image" else []
        for name in names:
            key = (entry["kind"], name)
            steps[key] = max(entry["step"], steps.get(key, entry["step"]))
    return steps


@dataclass
class Position:
    """How far a store has been served: the run's id there and the journal's offset behind the last entry sent."""

    store: str = ""
    run_id: str | None = None
    experiment_id: str | None = None
    offset: int = 0
    rejected: int = 0
    """Entries that the store refused for good."""
    tables: list[str] = field(default_factory=list)
    """Paths of the tables sent so far: a tag of the run lists them all."""

    @classmethod
    def load(cls, folder: Path, store: str) -> Position:
        """The position in `store`; a new one for another store, or where the file is damaged."""
        try:
            values = json.loads((folder / POSITION).read_text(encoding="utf-8"))
            position = cls(**values)
        except (OSError, ValueError, TypeError):
            return cls(store=store)
        return position if position.store == store else cls(store=store)

    def save(self, folder: Path) -> None:
        write_json(folder / POSITION, asdict(self))


def count_unsent(folder: Path, position: Position) -> int:
    """Number of entries behind the position."""
    return sum(1 for _ in read_entries(folder, position.offset))


def write_json(path: Path, values: Any) -> None:
    """Replaces a file by `values` as indented JSON; readers see the old or the new file, never a half."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    partial.write_text(json.dumps(_finite(values), indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    os.replace(partial, path)
