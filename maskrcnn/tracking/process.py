"""Which process writes a run, and whether it still lives: number, start time, boot and host."""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn.tracking.locks import process_is_alive

HEARTBEAT_S = 30.0
"""How often a living run touches its heartbeat file."""
SILENCE_S = 20 * HEARTBEAT_S
"""After this long without a heartbeat a run of another host counts as gone."""


def process_identity() -> dict[str, Any]:
    """What tells this process from any other: JSON-able."""
    pid = os.getpid()
    return {"pid": pid, "started": _start_ticks(pid), "boot_id": _boot_id(), "host": socket.gethostname()}


def is_gone(identity: Mapping[str, Any], heartbeat: Path) -> bool:
    """Whether the process of `identity` has ended.

    On another host (or after the folder came from one) the age of the file `heartbeat` decides.
    """
    if identity.get("host") != socket.gethostname():
        return not heartbeat.exists() or time.time() - heartbeat.stat().st_mtime > SILENCE_S
    if identity.get("boot_id") != _boot_id():
        return True
    pid = int(identity.get("pid", 0))
    if pid <= 0 or not process_is_alive(pid):
        return True
    return _start_ticks(pid) != identity.get("started")


@functools.cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _start_ticks(pid: int) -> int:
    """Clock ticks from boot to the start of the process; 0 where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *fields = text.rpartition(")")[2].split()  # the program's name may hold spaces and brackets
        # A zombie has ended already, though its parent has not looked.
        return -1 if state == "Z" else int(fields[18])
    except (OSError, ValueError, IndexError):
        return 0


def process_memory_mib() -> float | None:
    """Resident memory of this process now, in MiB; its peak where the system tells only that; None: neither."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError, IndexError):
        return peak_memory_mib()


def peak_memory_mib() -> float | None:
    """Largest resident memory of this process so far, in MiB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
