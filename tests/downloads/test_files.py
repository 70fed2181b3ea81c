"""Many files side by side: what is there stays, what fails is named, and one process at a time writes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from maskrcnn.downloads import Wanted, fetch_all
from maskrcnn.errors import UserError

NAMES = [f"{number:03d}.bin" for number in range(40)]


def right(path: Path) -> str:
    return "" if path.read_bytes() == content(path.name.strip(".").split(".")[0] + ".bin") else "other bytes"


def content(name: str) -> bytes:
    return name.encode() * 50


def wanted(server, folder: Path, names: list[str]) -> list[Wanted]:
    server.files |= {f"/x/{name}": content(name) for name in names}
    return [Wanted(f"{server.url}/x/{name}", folder / name, right) for name in names]


def test_all_arrive_and_are_asked_for_once(server, tmp_path):
    assert fetch_all(wanted(server, tmp_path, NAMES), tmp_path, label="files") == 40
    assert all((tmp_path / name).read_bytes() == content(name) for name in NAMES)
    assert sorted(server.asked) == [f"/x/{name}" for name in NAMES]
    assert fetch_all(wanted(server, tmp_path, NAMES), tmp_path, label="files") == 0
    assert len(server.asked) == 40


def test_what_is_there_already_is_left_alone(server, tmp_path):
    (tmp_path / NAMES[3]).write_bytes(b"the user's own")
    assert fetch_all(wanted(server, tmp_path, NAMES[:5]), tmp_path, label="files") == 4
    assert (tmp_path / NAMES[3]).read_bytes() == b"the user's own"


def test_an_empty_file_of_a_lost_power_supply_is_fetched_again(server, tmp_path):
    (tmp_path / NAMES[3]).touch()
    fetch_all(wanted(server, tmp_path, NAMES[:5]), tmp_path, label="files")
    assert (tmp_path / NAMES[3]).read_bytes() == content(NAMES[3])


def test_what_a_killed_process_left_is_swept_away(server, tmp_path):
    (tmp_path / ".000.bin.1234.part").write_bytes(b"half")
    fetch_all(wanted(server, tmp_path, NAMES[:2]), tmp_path, label="files")
    assert not list(tmp_path.glob(".*.part"))


def test_one_missing_file_is_named_and_the_others_stay_for_the_next_call(server, tmp_path):
    files = wanted(server, tmp_path, NAMES)
    del server.files["/x/020.bin"]
    with pytest.raises(UserError, match=r"/x/020\.bin: the server answers 404"):
        fetch_all(files, tmp_path, label="files", connections=2)
    arrived = sorted(path.name for path in tmp_path.glob("*.bin"))
    assert set(NAMES[:18]) <= set(arrived)
    before = len(server.asked)
    server.files["/x/020.bin"] = content("020.bin")
    fetch_all(files, tmp_path, label="files")
    assert len(server.asked) - before == 40 - len(arrived)
    assert all((tmp_path / name).read_bytes() == content(name) for name in NAMES)


def test_without_a_server_one_line_ends_it_all(server, tmp_path):
    files = wanted(server, tmp_path, NAMES)
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"cannot be fetched \(.*refused.*\); check the network"):
        fetch_all(files, tmp_path, label="files")


def test_two_at_once_fetch_each_file_once(server, tmp_path):
    files = wanted(server, tmp_path, NAMES)
    threads = [threading.Thread(target=fetch_all, args=(files, tmp_path), kwargs={"label": ""}) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 40
