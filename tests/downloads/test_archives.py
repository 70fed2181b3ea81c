"""A file out of an archive: whole, checked, at its own place; hostile archives are refused in one line."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from maskrcnn.downloads import archives, extract_member
from maskrcnn.errors import UserError

MEMBER = "annotations/instances_val2017.json"
CONTENT = os.urandom(50_000) + b"[1, 2]" * 10_000


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refuse(archive: Path, target: Path, words: str) -> None:
    before = sorted(target.parent.parent.rglob("*")) if target.parent.parent.exists() else []
    with pytest.raises(UserError, match=words) as caught:
        extract_member(archive, MEMBER, target)
    assert "\n" not in str(caught.value)
    left = [path for path in target.parent.parent.rglob("*") if path.suffix != ".lock" and path != target.parent]
    assert left == [path for path in before if path != target.parent]


def test_the_member_is_unpacked_and_nothing_else(tmp_path):
    archive = pack(tmp_path / "a.zip", {MEMBER: CONTENT, "annotations/captions_val2017.json": b"x", "../evil": b"x"})
    target = extract_member(archive, MEMBER, tmp_path / "out" / "a.json")
    assert target.read_bytes() == CONTENT
    assert sorted(path.name for path in target.parent.iterdir()) == ["a.json", "a.json.lock"]
    assert not (tmp_path.parent / "evil").exists()


def test_a_file_that_is_there_is_not_unpacked_again(tmp_path):
    (tmp_path / "a.json").write_bytes(b"mine")
    assert extract_member(tmp_path / "none.zip", MEMBER, tmp_path / "a.json").read_bytes() == b"mine"


def test_a_member_that_is_not_there_is_named_with_those_that_are(tmp_path):
    archive = pack(tmp_path / "a.zip", {"annotations/instances_val2014.json": b"x"})
    refuse(archive, tmp_path / "out" / "a.json", r"has no .*val2017.* \(it has annotations/instances_val2014.json\)")


def test_an_archive_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>")
    refuse(tmp_path / "a.zip", tmp_path / "out" / "a.json", "cannot be unpacked .*; delete .* and run again")


def test_a_damaged_archive_is_found_out_by_its_crc(tmp_path):
    archive = pack(tmp_path / "a.zip", {MEMBER: CONTENT})
    data = bytearray(archive.read_bytes())
    data[20_000] ^= 1
    archive.write_bytes(data)
    refuse(archive, tmp_path / "out" / "a.json", "cannot be unpacked")


def test_a_truncated_archive_is_refused(tmp_path):
    archive = pack(tmp_path / "a.zip", {MEMBER: CONTENT})
    archive.write_bytes(archive.read_bytes()[:30_000])
    refuse(archive, tmp_path / "out" / "a.json", "cannot be unpacked")


def test_a_bomb_is_refused_by_what_it_declares(tmp_path):
    archive = pack(tmp_path / "a.zip", {MEMBER: bytes(30 << 20)})
    refuse(archive, tmp_path / "out" / "a.json", "declares 31,457,280 bytes out of")


def test_a_bomb_that_lies_about_its_size_stops_at_it(tmp_path):
    archive = pack(tmp_path / "a.zip", {MEMBER: bytes(8 << 20)})
    data = archive.read_bytes()
    place = data.rindex(b"PK\x01\x02")
    archive.write_bytes(data[: place + 24] + struct.pack("<L", 5000) + data[place + 28 :])
    refuse(archive, tmp_path / "out" / "a.json", "cannot be unpacked")


def test_a_member_that_is_a_link_is_refused(tmp_path):
    entry = zipfile.ZipInfo(MEMBER)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    refuse(tmp_path / "a.zip", tmp_path / "out" / "a.json", "is no file")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_stands_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(MEMBER, b"one")
        archive.writestr(MEMBER, b"two")
    refuse(tmp_path / "a.zip", tmp_path / "out" / "a.json", "2 times")


def test_an_encrypted_member_is_refused(tmp_path):
    archive = pack(tmp_path / "a.zip", {MEMBER: CONTENT})
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    refuse(archive, tmp_path / "out" / "a.json", "cannot be unpacked .*encrypted")


def test_a_disk_without_room_is_named_before_anything_is_written(tmp_path, monkeypatch):
    archive = pack(tmp_path / "a.zip", {MEMBER: CONTENT})
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: usage)
    refuse(archive, tmp_path / "out" / "a.json", "the disk is full: 0 MiB are needed")
