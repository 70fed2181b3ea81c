"""Whole files: one with its checksum, or many side by side; each appears complete and checked, or not at all."""

from __future__ import annotations

import contextlib
import os
import threading
import urllib.parse
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from maskrcnn.downloads import transfer as connection
from maskrcnn.downloads.cache import Checks, cache_folder, is_there, one_at_a_time, writing_to
from maskrcnn.downloads.transfer import Outcome, TryAgain
from maskrcnn.errors import UserError
from maskrcnn.progress import ProgressLine

ATTEMPTS = 3
"""Connections opened for one file, as long as each brings something new or the server is merely busy."""
CONNECTIONS = 16
"""Small files that are fetched side by side: most of their time is waiting for the first byte."""

LARGEST_SMALL_FILE = 64 << 20
"""Bytes of one file of many: COCO's largest picture has less than 1 MiB."""

_PART = ".part"


@dataclass(frozen=True)
class Wanted:
    """One file of many.

    Attributes:
        url: its address.
        path: its place.
        fault: what is wrong with a file that arrived ("": nothing).
        limit: bytes that it cannot have more of.
    """

    url: str
    path: Path
    fault: Callable[[Path], str]
    limit: int = LARGEST_SMALL_FILE


def fetch(
    url: str,
    *,
    sha256: str = "",
    md5: str = "",
    size: int | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> Path:
    """The file at `url`, from the cache where it is already there and right.

    Args:
        url: http(s); the last part of its path is the file's name in the cache.
        sha256, md5: hexadecimal digests that the file must have. With one of them a transfer that was cut off goes on
            where it stopped (Range), also in a later call.
        size: bytes that it must have.
        cache: the folder; None: `cache_folder()`.
        progress: show a line on stderr, if that is a terminal.

    Raises:
        UserError: without a network, for an answer other than the file, a transfer that is cut off again and again,
            wrong content, which is then deleted, or a disk that is full.
    """
    folder = cache if cache is not None else cache_folder()
    target = folder / _file_name(url)
    checks = Checks(sha256, md5, size)
    with writing_to(folder), one_at_a_time(target):
        if target.is_file() and not checks.fault(target):
            return target
        part = target.with_name(target.name + _PART)
        _fill(part, url, target, checks, target.name if progress else "")
        if fault := checks.fault(part):
            part.unlink()
            raise UserError(f"wrong content: {fault}", where=url, hint="try again; the file is deleted")
        os.replace(part, target)
    return target


def fetch_all(wanted: Sequence[Wanted], folder: Path, *, label: str, connections: int = CONNECTIONS) -> int:
    """Fetch those files that are not there yet, side by side; how many that were.

    What has arrived stays when another file fails, so that the next call goes on from there.

    Args:
        wanted: files in `folder` or below it.
        folder: one process at a time fills it.
        label: of the progress line.
        connections: how many at once.

    Raises:
        UserError: of the first file that cannot be had; the others are given up.
    """
    with writing_to(folder), one_at_a_time(folder / "fetching"):
        missing = [item for item in wanted if not is_there(item.path)]
        for parent in {item.path.parent for item in missing}:
            parent.mkdir(parents=True, exist_ok=True)
            _sweep(parent)
        with ProgressLine(len(missing), label) as line:
            _fetch_side_by_side(missing, connections, line)
    return len(missing)


def _file_name(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    name = urllib.parse.unquote(parts.path).rsplit("/", 1)[-1]
    if parts.scheme not in ("http", "https") or name in ("", ".", "..") or "\\" in name:
        raise UserError("not an address of a file", where=url, hint="give http(s)://…/NAME")
    return name


def _fill(part: Path, url: str, target: Path, checks: Checks, label: str) -> None:
    """Bring `part` to its full length, over as many connections as make headway."""
    if not checks.tell_content:
        part.unlink(missing_ok=True)
    outcome: Outcome | None = None
    for attempt in range(1, ATTEMPTS + 1):
        before = part.stat().st_size if part.exists() else 0
        outcome = _connect(part, url, target, label, checks.size, attempt)
        if outcome is None:
            continue
        if outcome.is_complete:
            return
        if attempt == ATTEMPTS or outcome.after <= before or not checks.tell_content:
            break
    hint = "run again to go on" if checks.tell_content else "try again"
    total = "" if outcome is None or outcome.total is None else f" of {outcome.total}"
    after = 0 if outcome is None else outcome.after
    raise UserError(f"the connection was cut off after {after}{total} bytes", where=url, hint=hint)


def _connect(part: Path, url: str, target: Path, label: str, limit: int | None, attempt: int) -> Outcome | None:
    """One connection; None, after a pause, for a failure that may pass, unless this was the last attempt."""
    try:
        return connection.transfer(part, url, target, label, limit)
    except TryAgain as failure:
        if attempt == ATTEMPTS:
            raise failure.error from failure
        connection.pause(2.0 ** (attempt - 1) if failure.seconds is None else failure.seconds)
        return None


def _sweep(folder: Path) -> None:
    """Deletes what a killed process left behind; nobody else writes there under the lock."""
    for path in folder.glob(f".*{_PART}"):
        path.unlink(missing_ok=True)


def _fetch_side_by_side(missing: Sequence[Wanted], connections: int, line: ProgressLine) -> None:
    pool = ThreadPoolExecutor(connections, thread_name_prefix="fetch")
    counted = threading.Lock()

    def work(item: Wanted) -> None:
        _fetch_one(item)
        with counted:
            line.update()

    try:
        futures = [pool.submit(work, item) for item in missing]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _complaint(outcome: Outcome, part: Path) -> str:
    if not outcome.is_complete:
        return f"cut off after {outcome.after} bytes"
    return Checks(md5=outcome.md5).fault(part)


def _fetch_one(item: Wanted) -> None:
    """The file in its place; a wrong one is asked for again."""
    part = item.path.with_name(f".{item.path.name}.{threading.get_ident()}{_PART}")
    complaint = ""
    try:
        for attempt in range(1, ATTEMPTS + 1):
            part.unlink(missing_ok=True)
            outcome = _connect(part, item.url, item.path, "", item.limit, attempt)
            if outcome is None:
                continue
            complaint = _complaint(outcome, part) or item.fault(part)
            if not complaint:
                os.replace(part, item.path)
                return
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    raise UserError(
        f"does not arrive whole: {complaint}", where=item.url, hint="run again to go on; what has arrived is kept"
    )
