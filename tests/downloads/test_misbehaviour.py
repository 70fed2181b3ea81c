"""Whatever the server does, a file appears right or not at all, a user reads one line, and the next call goes on."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from maskrcnn.downloads import Wanted, fetch, fetch_all, transfer
from maskrcnn.errors import UserError

ARCHIVE = bytes(range(256)) * 500
MD5 = hashlib.md5(ARCHIVE).hexdigest()


def picture(shade: int) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 48), shade).convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()


PICTURES = {f"{shade:012d}.jpg": picture(shade) for shade in range(20, 26)}


def picture_fault(path: Path) -> str:
    try:
        with Image.open(path) as opened:
            opened.load()
            return "" if opened.size == (64, 48) else "of another size"
    except (OSError, SyntaxError, ValueError) as error:
        return f"no picture ({type(error).__name__})"


def get_archive(server: Any, folder: Path) -> None:
    server.files["/a/archive.zip"] = ARCHIVE
    fetch(f"{server.url}/a/archive.zip", md5=MD5, cache=folder, progress=False)


def get_pictures(server: Any, folder: Path) -> None:
    server.files |= {f"/train2017/{name}": content for name, content in PICTURES.items()}
    wanted = [Wanted(f"{server.url}/train2017/{name}", folder / name, picture_fault) for name in PICTURES]
    fetch_all(wanted, folder, label="pictures", connections=3)


RIGHT = {"archive.zip": ARCHIVE, **PICTURES}
CASES = {
    "archive": (get_archive, ["/a/archive.zip"], ["archive.zip"]),
    "pictures": (get_pictures, [f"/train2017/{name}" for name in list(PICTURES)[1:4]], list(PICTURES)),
}
Get = Callable[[Any, Path], None]


def agrees(path: Path) -> bool:
    """The file is what the server holds. A JPEG with something behind its end is a JPEG: only a checksum tells."""
    found, right = path.read_bytes(), RIGHT[path.name]
    return found == right or (path.suffix == ".jpg" and found.startswith(right))


def wrong_files(folder: Path) -> list[str]:
    """Files under a final name that are not what the server holds."""
    return [path.name for path in folder.iterdir() if path.suffix not in (".part", ".lock") and not agrees(path)]


def attempt(get: Get, server: Any, folder: Path) -> str:
    """The one line that a user reads, or nothing."""
    line = ""
    try:
        get(server, folder)
    except UserError as error:
        line = str(error)
    assert "\n" not in line
    assert not line or server.url in line or str(folder) in line
    assert wrong_files(folder) == []
    return line


def is_harmless(habit: Any, case: str) -> bool:
    """The file is right all the same, however often the server does it."""
    return habit.__name__ in ("ignore_range", "drip") or (habit.__name__, case) == ("more_than_all", "pictures")


@pytest.mark.parametrize("times", [1, 2, 9])
@pytest.mark.parametrize("case", CASES)
def test_after_misbehaviour_the_files_are_right(server, tmp_path, habit, case, times):
    get, spoilt, names = CASES[case]
    for path in spoilt:
        server.habits[path] = [habit] * times
    for _ in range(3 * times + 1):
        if not attempt(get, server, tmp_path):
            break
    assert all(agrees(tmp_path / name) for name in names)
    assert not list(tmp_path.glob("**/*.part"))


@pytest.mark.parametrize("case", CASES)
def test_a_server_that_never_does_better_ends_in_one_line(server, tmp_path, habit, case):
    get, _, names = CASES[case]
    server.always = habit
    line = attempt(get, server, tmp_path)
    there = [name for name in names if (tmp_path / name).exists()]
    assert (line == "", there) == ((True, names) if is_harmless(habit, case) else (False, []))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("not_found", r"answers 404 Not Found; put the file at .*archive\.zip by hand"),
        ("busy", "answers 503 Service Unavailable"),
        ("busy_for_hours", "answers 503 Service Unavailable; it asks to try in 7200 s"),
        ("html_page", "sends a web page instead of the file"),
        ("html_without_type", f"wrong content: md5 .* expected {MD5}"),
        ("circle", "redirects in a circle"),
        ("redirect_to_a_file", "redirects in a circle, or to no web address"),
        ("redirect_to_ftp", r"cannot be fetched \(unknown url type: ftp\)"),
        ("length_beyond_the_disk", r"the disk is full: [\d,]+ MiB are missing"),
        ("no_http", r"cannot be fetched \(the server answers no HTTP\)"),
        ("hang_up", "cannot be fetched .*; check the network"),
        ("part_without_place", "a part of the file that was not asked for"),
        ("chunks_cut_off", "cut off after"),
        ("no_content", "answers 204"),
    ],
)
def test_the_line_says_what_the_server_did(server, tmp_path, habits, name, words):
    server.always = habits[name]
    with pytest.raises(UserError, match=words):
        get_archive(server, tmp_path)


def test_a_busy_server_is_given_the_time_it_asks_for(server, tmp_path):
    def busy(handler, content):
        handler.answer(503, b"", Retry_After="7")

    server.habits["/a/archive.zip"] = [busy]
    get_archive(server, tmp_path)
    assert server.pauses == [7.0]


def test_a_server_that_names_no_time_is_asked_ever_later(server, tmp_path):
    def fail(handler, content):
        handler.answer(502, b"")

    server.habits["/a/archive.zip"] = [fail, fail]
    get_archive(server, tmp_path)
    assert server.pauses == [1.0, 2.0]


def test_a_connection_that_drips_for_ever_is_given_up(server, tmp_path, monkeypatch):
    clock = iter(range(0, 10**9, 40))
    monkeypatch.setattr(transfer.time, "monotonic", lambda: float(next(clock)))

    def trickle(handler, content):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        for start in range(0, len(content), 10):
            handler.wfile.write(content[start : start + 10])
            handler.wfile.flush()

    server.always = trickle
    with pytest.raises(UserError, match="cut off after"):
        get_archive(server, tmp_path)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_disk_that_fills_up_is_named_and_nothing_is_left(server, tmp_path, monkeypatch, case, number):
    get, _, names = CASES[case]
    write = transfer.write_chunk
    room = [1500]

    def write_within_quota(file, chunk):
        room[0] -= len(chunk)
        if room[0] < 0:
            write(file, chunk[: len(chunk) // 2])
            raise OSError(number, "no more", file.name)
        write(file, chunk)

    monkeypatch.setattr(transfer, "write_chunk", write_within_quota)
    words = "disk is full" if number in (errno.ENOSPC, errno.EDQUOT) else "cannot write"
    with pytest.raises(UserError, match=words) as caught:
        get(server, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert wrong_files(tmp_path) == []
    monkeypatch.setattr(transfer, "write_chunk", write)
    get(server, tmp_path)
    assert [(tmp_path / name).read_bytes() == RIGHT[name] for name in names] == [True] * len(names)


def test_a_file_without_an_end_is_given_up(server, tmp_path):
    def endless(handler, content):
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(ConnectionError):
            while True:
                handler.wfile.write(bytes(1 << 16))

    server.always = endless
    wanted = Wanted(f"{server.url}/a.jpg", tmp_path / "a.jpg", picture_fault, limit=1 << 20)
    with pytest.raises(UserError, match="sends more than the 1048576 bytes of the file"):
        fetch_all([wanted], tmp_path, label="")
    assert [path.name for path in tmp_path.iterdir()] == ["fetching.lock"]


def test_a_file_that_cannot_fit_is_not_begun(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="the disk is full: 0 MiB are missing, 0 MiB are free"):
        get_archive(server, tmp_path)
    assert not (tmp_path / "archive.zip.part").exists()


@pytest.mark.parametrize("told", ["Content-MD5", "ETag"])
def test_a_checksum_that_the_server_tells_is_tested(server, tmp_path, told):
    name, content = next(iter(PICTURES.items()))
    wrong = bytearray(content)
    wrong[len(wrong) // 2] ^= 1

    def answer(body):
        code = hashlib.md5(content)
        value = base64.b64encode(code.digest()).decode() if told == "Content-MD5" else f'"{code.hexdigest()}"'
        return lambda handler, _: handler.answer(200, body, **{told: value})

    server.habits[f"/{name}"] = [answer(bytes(wrong)), answer(content + content), answer(content)]
    server.version = "AmazonS3"
    fetch_all([Wanted(f"{server.url}/{name}", tmp_path / name, lambda path: "")], tmp_path, label="")
    assert (tmp_path / name).read_bytes() == content
    assert len(server.asked) == 3


def test_the_entity_tag_of_another_server_is_no_checksum(server, tmp_path):
    tag = hashlib.md5(b"something else").hexdigest()
    server.habits["/a.bin"] = [lambda handler, _: handler.answer(200, b"content", ETag=f'"{tag}"')]
    fetch_all([Wanted(f"{server.url}/a.bin", tmp_path / "a.bin", lambda path: "")], tmp_path, label="")
    assert (tmp_path / "a.bin").read_bytes() == b"content"
