"""Fetching from a server on the loopback that behaves well or badly."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from maskrcnn import downloads
from maskrcnn.downloads import cache_folder, fetch, keras_application_weights
from maskrcnn.errors import UserError

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content` at any path but /missing; the attributes are its bad habits, `ranges` what was asked of it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut_after: list[int] = []
        """Bytes after which the next connections are closed."""
        self.knows_ranges = True
        self.tells_length = True
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/files/weights.h5"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if "missing" in self.path:
            self.send_error(404)
            return
        start = int(wanted[6:-1]) if wanted and self.server.knows_ranges else 0
        if start >= len(self.server.content) > 0 and start:
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{start + len(body)}")
        if self.server.tells_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut_after.pop(0)] if self.server.cut_after else body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@pytest.mark.parametrize("checks", [{}, {"sha256": SHA256}, {"md5": MD5.upper()}, {"size": len(CONTENT)}])
def test_a_file_arrives_complete_and_is_not_fetched_again(server: Server, tmp_path: Path, checks: dict) -> None:
    path = fetch(server.url, cache=tmp_path / "deep" / "er", **checks)
    assert path == tmp_path / "deep" / "er" / "weights.h5"
    assert path.read_bytes() == CONTENT
    assert fetch(server.url, cache=tmp_path / "deep" / "er", **checks) == path
    assert len(server.ranges) == 1
    assert left_over(path.parent) == ["weights.h5"]


def test_a_transfer_that_is_cut_off_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cut_after = [400_000, 300_000]
    assert fetch(server.url, sha256=SHA256, cache=tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=400000-", "bytes=700000-"]


def test_a_later_call_goes_on_where_the_first_gave_up(server: Server, tmp_path: Path) -> None:
    server.cut_after = [100_000, 100_000, 100_000]
    with pytest.raises(UserError, match=r"cut off after 300000 of 1280000 bytes; run again to go on"):
        fetch(server.url, md5=MD5, cache=tmp_path)
    assert left_over(tmp_path) == ["weights.h5.part"]
    assert fetch(server.url, md5=MD5, cache=tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=300000-"


def test_without_a_checksum_a_cut_off_transfer_is_not_put_together(server: Server, tmp_path: Path) -> None:
    server.cut_after = [100_000]
    with pytest.raises(UserError, match="try again"):
        fetch(server.url, cache=tmp_path)
    assert fetch(server.url, cache=tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, None]


def test_a_server_that_ignores_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.cut_after = [400_000]
    assert fetch(server.url, sha256=SHA256, cache=tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=400000-"]


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.h5.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url, sha256=SHA256, cache=tmp_path).read_bytes() == CONTENT


def test_a_part_of_another_file_is_found_out_and_deleted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.h5.part").write_bytes(b"other" * 1000)
    with pytest.raises(UserError, match=f"wrong content: sha256 .* expected {SHA256}"):
        fetch(server.url, sha256=SHA256, cache=tmp_path)
    assert left_over(tmp_path) == []
    assert fetch(server.url, sha256=SHA256, cache=tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("checks", [{"sha256": SHA256}, {"md5": MD5}, {"size": len(CONTENT)}])
def test_wrong_bytes_are_refused_and_never_appear(server: Server, tmp_path: Path, checks: dict) -> None:
    server.content = b"<html>log in first</html>"
    with pytest.raises(UserError, match="wrong content"):
        fetch(server.url, cache=tmp_path, **checks)
    assert left_over(tmp_path) == []


def test_a_damaged_file_in_the_cache_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_bytes(b"damaged")
    assert fetch(server.url, sha256=SHA256, cache=tmp_path).read_bytes() == CONTENT


def test_a_length_that_the_server_does_not_tell_is_no_fault(server: Server, tmp_path: Path) -> None:
    server.tells_length = False
    assert fetch(server.url, sha256=SHA256, cache=tmp_path).read_bytes() == CONTENT


def test_an_empty_file_is_a_file(server: Server, tmp_path: Path) -> None:
    server.content = b""
    assert fetch(server.url, size=0, cache=tmp_path).read_bytes() == b""


def test_404_names_the_address_and_where_to_put_the_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"/missing/a\.h5: the server answers 404 Not Found; put the file at .*a\.h5"):
        fetch(server.url.replace("files/weights.h5", "missing/a.h5"), cache=tmp_path)


def test_no_network_is_one_clear_line(server: Server, tmp_path: Path) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"cannot be fetched \(.*refused.*\); check the network"):
        fetch(url, cache=tmp_path)


@pytest.mark.parametrize(
    "url", ["ftp://host/a.h5", "http://host/", "http://host/..", "weights.h5", "file:///etc/passwd"]
)
def test_addresses_that_are_no_file_on_the_web_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not an address of a file"):
        fetch(url, cache=tmp_path)


def test_a_folder_that_cannot_be_made_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot write .*MASKRCNN_CACHE"):
        fetch(server.url, cache=tmp_path / "file" / "cache")


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("MASKRCNN_CACHE")
    assert cache_folder().name in ("maskrcnn", "Cache")


def test_imagenet_weights_come_from_the_table(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("maskrcnn.downloads.keras_files.KERAS_FILES", server.url.removesuffix("files/weights.h5"))
    monkeypatch.setitem(downloads.KERAS_APPLICATIONS, "ResNet50", ("resnet/r_notop.h5", MD5))
    assert keras_application_weights("ResNet50", cache=tmp_path).name == "r_notop.h5"
    with pytest.raises(UserError, match="published for 'ResNet51'"):
        keras_application_weights("ResNet51", cache=tmp_path)


def test_the_resnets_checksums_are_those_of_the_paper_notes() -> None:
    # PAPER §5.6
    assert downloads.KERAS_APPLICATIONS["ResNet50"][1] == "4d473c1dd8becc155b73f8504c6f6626"
    assert downloads.KERAS_APPLICATIONS["ResNet101"][1] == "88cf7a10940856eca736dc7b7e228a21"
    assert downloads.KERAS_APPLICATIONS["ResNet152"][1] == "ee4c566cf9a93f14d82f913c2dc6dd0c"
