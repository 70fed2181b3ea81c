"""Advisory locks on files, between processes: `flock` where there is one, `msvcrt` on Windows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

POLL_S = 0.05


@contextmanager
def file_lock(path: Path, timeout_s: float) -> Iterator[bool]:
    """Holds the lock on `path` (created with its folder if need be) inside the `with`; the kernel frees it at a crash.

    Gives False, and goes on without the lock, when it is not had within `timeout_s` seconds: whoever waits here must
    not wait for ever because of a stopped process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        held = _wait_until(lambda: _try_lock(file), timeout_s)
        try:
            yield held
        finally:
            if held:
                _unlock(file)


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            _msvcrt_locking(file, "LK_NBLCK")
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        # A file system without locks (some network mounts): nobody can be kept out, so nobody is made to wait.
        return True
    return True


def _unlock(file: IO[bytes]) -> None:
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_UN)
        else:
            _msvcrt_locking(file, "LK_UNLCK")
    except OSError:
        return


def _msvcrt_locking(file: IO[bytes], mode: str) -> None:
    import importlib

    msvcrt = importlib.import_module("msvcrt")
    file.seek(0)
    msvcrt.locking(file.fileno(), getattr(msvcrt, mode), 1)


def process_is_alive(pid: int) -> bool:
    """Whether this machine has a process of that number (it may have been given to another program since)."""
    if os.name == "nt":
        return True  # os.kill would end the process there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
