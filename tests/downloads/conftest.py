"""A server on the loopback that serves files, and misbehaves as it is told before it does."""

from __future__ import annotations

import gzip
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from maskrcnn.downloads import transfer


class FileServer(ThreadingHTTPServer):
    """Serves `files` by path; for each path the next of its `habits`, if there is one, answers instead."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.habits: defaultdict[str, list[Habit]] = defaultdict(list)
        self.always: Habit | None = None
        self.asked: list[str] = []
        self.version = "loopback"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        habits = self.server.habits[self.path]
        habit = habits.pop(0) if habits else self.server.always or serve
        habit(self, self.server.files.get(self.path, b""))

    def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    @property
    def start(self) -> int:
        return int((self.headers.get("Range") or "bytes=0-")[6:-1])

    def version_string(self) -> str:
        return self.server.version

    def log_message(self, *args: object) -> None:
        pass


Habit = Callable[[Handler, bytes], None]


def serve(handler: Handler, content: bytes) -> None:
    start = handler.start
    if handler.path not in handler.server.files:
        handler.answer(404, b"no such file")
    elif not start:
        handler.answer(200, content)
    elif start >= len(content):
        handler.answer(416, b"")
    else:
        place = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.answer(206, content[start:], Content_Range=place)


def ignore_range(handler: Handler, content: bytes) -> None:
    handler.answer(200, content)


def cut_off(handler: Handler, content: bytes) -> None:
    handler.answer(200, content[: len(content) // 2], length=len(content))


def wrong_bytes(handler: Handler, content: bytes) -> None:
    handler.answer(200, bytes(len(content)))


def not_found(handler: Handler, content: bytes) -> None:
    handler.answer(404, b"gone")


def busy(handler: Handler, content: bytes) -> None:
    handler.answer(503, b"", Retry_After="0")


def busy_until_a_date(handler: Handler, content: bytes) -> None:
    handler.answer(429, b"", Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")


def busy_for_hours(handler: Handler, content: bytes) -> None:
    handler.answer(503, b"", Retry_After="7200")


def broken_inside(handler: Handler, content: bytes) -> None:
    handler.answer(500, b"Traceback")


def html_page(handler: Handler, content: bytes) -> None:
    handler.answer(200, b"<html>Please log in</html>", Content_Type="text/html; charset=utf-8")


def html_without_type(handler: Handler, content: bytes) -> None:
    handler.answer(200, b"<html>Please log in</html>")


def drip(handler: Handler, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    for start in range(0, len(content), 97):
        handler.wfile.write(content[start : start + 97])
        handler.wfile.flush()


def circle(handler: Handler, content: bytes) -> None:
    handler.answer(302, b"", Location=handler.path)


def redirect_to_a_file(handler: Handler, content: bytes) -> None:
    handler.answer(302, b"", Location="file:///etc/hostname")


def redirect_to_ftp(handler: Handler, content: bytes) -> None:
    handler.answer(302, b"", Location="ftp://127.0.0.1:1/x")


def length_too_long(handler: Handler, content: bytes) -> None:
    handler.answer(200, content, length=len(content) + 1000)


def length_too_short(handler: Handler, content: bytes) -> None:
    handler.answer(200, content, length=len(content) - 100)


def length_nonsense(handler: Handler, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "many")
    handler.end_headers()
    handler.wfile.write(content[:-50])


def length_beyond_the_disk(handler: Handler, content: bytes) -> None:
    handler.answer(200, content, length=1 << 60)


def hang_up(handler: Handler, content: bytes) -> None:
    handler.close_connection = True


def no_http(handler: Handler, content: bytes) -> None:
    handler.wfile.write(b"220 mail server ready\r\n\r\n")


def another_part(handler: Handler, content: bytes) -> None:
    handler.answer(206, content[10:], Content_Range=f"bytes 10-{len(content) - 1}/{len(content)}")


def part_without_place(handler: Handler, content: bytes) -> None:
    handler.answer(206, content)


def chunks_cut_off(handler: Handler, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n" % len(content) + content[:200])


def zipped(handler: Handler, content: bytes) -> None:
    handler.answer(200, gzip.compress(content), Content_Encoding="gzip")


def nothing(handler: Handler, content: bytes) -> None:
    handler.answer(200, b"")


def no_content(handler: Handler, content: bytes) -> None:
    handler.send_response(204)
    handler.end_headers()


def more_than_all(handler: Handler, content: bytes) -> None:
    handler.answer(200, content + content)


MISBEHAVIOURS: tuple[Habit, ...] = (
    ignore_range, cut_off, wrong_bytes, not_found, busy, busy_until_a_date, busy_for_hours, broken_inside, html_page,
    html_without_type, drip, circle, redirect_to_a_file, redirect_to_ftp, length_too_long, length_too_short,
    length_nonsense, length_beyond_the_disk, hang_up, no_http, another_part, part_without_place, chunks_cut_off, zipped,
    nothing, no_content, more_than_all,
)  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """The server; pauses between attempts are noted on it instead of made."""
    server = FileServer()
    server.pauses = []  # type: ignore[attr-defined]
    monkeypatch.setattr(transfer, "pause", server.pauses.append)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=MISBEHAVIOURS, ids=lambda habit: habit.__name__)
def habit(request: pytest.FixtureRequest) -> Habit:
    """One misbehaviour after the other."""
    return request.param


@pytest.fixture
def habits() -> dict[str, Habit]:
    """All misbehaviours by name."""
    return {habit.__name__: habit for habit in MISBEHAVIOURS}
