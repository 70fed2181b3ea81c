"""One connection: what a server answers, for better or worse, into a file.

Only http and https are spoken, also after a redirect. Nothing here decides whether a file is right.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import errno
import functools
import http.client
import re
import shutil
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from maskrcnn.downloads.cache import disk_full
from maskrcnn.errors import UserError
from maskrcnn.progress import ProgressLine

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 30.0
"""Silence after which a connection is given up."""
SLOWEST_BYTES_S, PATIENCE_S = 512, 60.0
"""A connection that brings less than this on average, over so long a time, only keeps the user waiting."""
LONGEST_PAUSE_S = 60.0
"""A server that asks for more patience than this is given up at once."""

_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of a server that may answer better in a moment."""
_S3_TAG = re.compile(r'"([0-9a-f]{32})"')
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class TryAgain(Exception):  # noqa: N818 (says what to do)
    """A failure that may pass: `error` is what to raise when it does not, `seconds` what the server asked to wait."""

    def __init__(self, error: UserError, seconds: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.seconds = seconds


@dataclass(frozen=True)
class Outcome:
    """What one connection brought.

    Attributes:
        after: the file's bytes so far.
        total: its full length, if the server tells.
        cut: whether the answer broke off.
        md5: of the whole file, if the server tells; hexadecimal.
    """

    after: int
    total: int | None
    cut: bool
    md5: str = ""

    @property
    def is_complete(self) -> bool:
        return not self.cut and (self.total is None or self.after == self.total)


def transfer(part: Path, url: str, target: Path, label: str, limit: int | None = None) -> Outcome:
    """Append to `part` what is missing; a server that cannot go on there sends the file from its beginning.

    Args:
        part: may hold the beginning of the file already.
        url: http(s).
        target: where the file will stand in the end, for messages.
        label: of the progress line; empty: none.
        limit: bytes that the file cannot have more of; None: whatever the disk holds.

    Raises:
        TryAgain: the server is busy, or the connection was reset before it answered.
        UserError: it answers something else than the file, cannot be reached, or the disk is full.
    """
    start = part.stat().st_size if part.exists() else 0
    by_hand = f"put the file at {target} by hand"
    try:
        with _open(url, start) as answer:
            if not _continues(answer, start):
                if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
                    return _begin_anew(part, url, target, label, limit, start)
                start = 0
            _refuse_other(answer, url, by_hand)
            total = start + answer.length if answer.length is not None else None
            too_long = UserError(f"the server sends more than the {limit} bytes of the file", where=url, hint=by_hand)
            if limit is not None and total is not None and total > limit:
                raise too_long
            _demand_room(part.parent, (total or 0) - start)
            with part.open("ab" if start else "wb") as file:
                after, cut = _copy(answer, file, start, total, label, limit)
            if limit is not None and after > limit:
                part.unlink()
                raise too_long
            return Outcome(after, total, cut, _told_md5(answer))
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return _begin_anew(part, url, target, label, limit, start)  # longer than the file is now
        raise _judge_status(error, url, by_hand) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # the file's, not the network's
        raise _judge_failure(error, url, by_hand) from error


def pause(seconds: float) -> None:
    """Waits before the next attempt."""
    time.sleep(seconds)


def _open(url: str, start: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "maskrcnn", "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    answer: http.client.HTTPResponse = _opener().open(request, timeout=TIMEOUT_S)
    return answer


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    """Without the handlers of file:, ftp: and data:, to which a redirect could lead."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _continues(answer: http.client.HTTPResponse, start: int) -> bool:
    """Whether the answer begins where the file ends; a whole file does so at 0."""
    if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
        return start == 0
    return (answer.headers.get("Content-Range") or "").startswith(f"bytes {start}-")


def _begin_anew(part: Path, url: str, target: Path, label: str, limit: int | None, start: int) -> Outcome:
    """Another connection from the beginning. Raises UserError if this one was from there already."""
    if not start:
        raise UserError("the server sends a part of the file that was not asked for", where=url, hint="try again")
    part.unlink(missing_ok=True)
    return transfer(part, url, target, label, limit)


def _refuse_other(answer: http.client.HTTPResponse, url: str, by_hand: str) -> None:
    """A page that asks to log in comes with status 200 too."""
    if answer.status not in (http.HTTPStatus.OK, http.HTTPStatus.PARTIAL_CONTENT):
        raise UserError(f"the server answers {answer.status} {answer.reason}", where=url, hint=by_hand)
    if answer.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise UserError("the server sends a web page instead of the file", where=url, hint=by_hand)


def _told_md5(answer: http.client.HTTPResponse) -> str:
    """From Content-MD5, or from the entity tag of Amazon S3, which is the MD5 of a file uploaded in one piece."""
    with contextlib.suppress(ValueError):
        if told := base64.b64decode(answer.headers.get("Content-MD5", ""), validate=True).hex():
            return told
    tag = _S3_TAG.fullmatch(answer.headers.get("ETag", ""))
    return tag[1] if tag and "AmazonS3" in answer.headers.get("Server", "") else ""


def _demand_room(folder: Path, missing: int) -> None:
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise disk_full(folder, f": {missing / 2**20:,.0f} MiB are missing, {free / 2**20:,.0f} MiB are free")


def _judge_status(error: urllib.error.HTTPError, url: str, by_hand: str) -> Exception:
    if error.code in _REDIRECTS:
        return UserError("the server redirects in a circle, or to no web address", where=url, hint=by_hand)
    refusal = UserError(f"the server answers {error.code} {error.reason}", where=url, hint=by_hand)
    if error.code not in _LATER:
        return refusal
    seconds = _retry_after(error.headers.get("Retry-After") if error.headers else None)
    if seconds is not None and seconds > LONGEST_PAUSE_S:
        return UserError(
            f"the server answers {error.code} {error.reason}", where=url, hint=f"it asks to try in {seconds:.0f} s"
        )
    return TryAgain(refusal, seconds)


def _retry_after(value: str | None) -> float | None:
    """Seconds from now; the header holds them, or a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _judge_failure(error: Exception, url: str, by_hand: str) -> Exception:
    cause = getattr(error, "reason", None) or error
    if isinstance(cause, http.client.BadStatusLine):
        cause = "the server answers no HTTP"
    text = " ".join(str(cause).split())[:200] or type(cause).__name__
    failure = UserError(f"cannot be fetched ({text})", where=url, hint=f"check the network, or {by_hand}")
    passing = isinstance(error, http.client.RemoteDisconnected) or isinstance(
        cause, ConnectionResetError | TimeoutError | socket.timeout | http.client.RemoteDisconnected
    )
    return TryAgain(failure) if passing else failure


def _copy(
    answer: http.client.HTTPResponse, file: IO[bytes], start: int, total: int | None, label: str, limit: int | None
) -> tuple[int, bool]:
    """Write the answer to the file, with a progress line in MiB; (the file's length, whether it was cut off).

    Ends where the file has become longer than `limit`.
    """
    line = ProgressLine(None if total is None else -(-total // CHUNK_BYTES), f"{label} (MiB)") if label else None
    begun, first, shown = time.monotonic(), start, 0
    with line or contextlib.nullcontext():
        while True:
            try:
                chunk = answer.read1(CHUNK_BYTES)
            except (http.client.IncompleteRead, ConnectionError, TimeoutError, ValueError):
                return start, True
            if not chunk:
                return start, total is not None and start < total
            write_chunk(file, chunk)
            start += len(chunk)
            if line:
                line.update(start // CHUNK_BYTES - shown)
                shown = start // CHUNK_BYTES
            if _drips(start - first, time.monotonic() - begun) or (limit is not None and start > limit):
                return start, True


def _drips(received: int, seconds: float) -> bool:
    return seconds > PATIENCE_S and received < SLOWEST_BYTES_S * seconds


def write_chunk(file: IO[bytes], chunk: bytes) -> None:
    """Writes through to the system, so that a full disk is noticed here. Raises OSError that names the file."""
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or "write error", file.name) from error
