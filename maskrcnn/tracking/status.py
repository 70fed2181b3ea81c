"""`status.json` of a run's folder: what became of the run, readable without MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from maskrcnn.tracking.journal import LOCK, write_json
from maskrcnn.tracking.process import is_gone

STATUS = "status.json"
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
UNKNOWN = "UNKNOWN"
KILLED_REASON = "the process ended without saying why (killed, or the machine went down)"


@dataclass
class RunStatus:
    """The fields of `status.json`."""

    name: str
    status: str = UNKNOWN
    reason: str = ""
    started_ms: int = 0
    ended_ms: int | None = None
    experiment: str = ""
    store: str = ""
    """Address of the store without credentials; "" for the one in `mlruns/`."""
    run_id: str | None = None
    experiment_id: str | None = None
    unsent: int = 0
    """Journal entries that the store has not got."""
    tags: dict[str, str] = field(default_factory=dict)
    process: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        write_json(folder / STATUS, asdict(self))


def read_status(folder: Path) -> RunStatus:
    """The status of a run's folder; RUNNING becomes KILLED when the process is gone. Unreadable: UNKNOWN."""
    try:
        values: Mapping[str, Any] = json.loads((folder / STATUS).read_text(encoding="utf-8"))
        status = RunStatus(**values)
    except (OSError, ValueError, TypeError):
        return RunStatus(name=folder.name)
    if status.status == RUNNING and is_gone(status.process, folder / LOCK):
        status.status, status.reason = KILLED, status.reason or KILLED_REASON
    return status
