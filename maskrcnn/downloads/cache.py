"""The folder for all that is fetched or generated, what a complete file must be, and one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maskrcnn.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Checks:
    """What a complete file must be; empty: not known."""

    sha256: str = ""
    md5: str = ""
    size: int | None = None

    def fault(self, path: Path) -> str:
        """What is wrong with the file, found against expected; empty: nothing."""
        if self.size is not None and path.stat().st_size != self.size:
            return f"{path.stat().st_size} bytes, expected {self.size}"
        for algorithm, expected in (("sha256", self.sha256), ("md5", self.md5)):
            if expected and (found := digest(path, algorithm)) != expected.lower():
                return f"{algorithm} {found}, expected {expected}"
        return ""

    @property
    def tell_content(self) -> bool:
        """Whether a file put together from two connections would be known to be right."""
        return bool(self.sha256 or self.md5)


def cache_folder() -> Path:
    """The folder for all that is fetched or generated: MASKRCNN_CACHE, else `maskrcnn` in the user's cache folder."""
    if given := os.environ.get("MASKRCNN_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "maskrcnn" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "maskrcnn"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskrcnn"


def digest(path: Path, algorithm: str) -> str:
    """The file's hash in lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def is_there(path: Path) -> bool:
    """Whether a file has arrived: it appears only when it was checked; one of no bytes is left by a power failure."""
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Makes the folder; a disk that is full or refuses becomes a `UserError` that names the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full(folder) from error
        raise UserError(
            f"cannot write ({error.strerror or error})", where=str(folder), hint="set MASKRCNN_CACHE to another folder"
        ) from error


def disk_full(folder: Path, figures: str = "") -> UserError:
    """The error of a disk without room for more; `figures` says how much is missing, where that is known."""
    return UserError(
        f"the disk is full{figures}", where=str(folder), hint="free some space, or set MASKRCNN_CACHE to another folder"
    )


@contextlib.contextmanager
def one_at_a_time(target: Path) -> Iterator[None]:
    """Jobs of a sweep that want to write the same file wait for the first of them; the lock is `NAME.lock`."""
    try:
        import fcntl
    except ImportError:  # Windows: two jobs may write the same file, and the last one to end wins
        yield
        return
    with target.with_name(target.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
