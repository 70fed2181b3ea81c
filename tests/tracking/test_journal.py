"""The journal: whole lines, in order, readable after any kind of end."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn.tracking.journal import (
    JOURNAL,
    Journal,
    Position,
    count_unsent,
    encode_entry,
    last_steps,
    metric_values,
    read_entries,
)
from maskrcnn.tracking.names import clean_image_key, clean_name, clean_path


def entries(folder: Path, offset: int = 0) -> list[dict[str, Any]]:
    return [entry for entry, _ in read_entries(folder, offset)]


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    journal.append("metrics", step=1, values={"a": 1.0})
    journal.append("tags", tags={"ü": "ß"})
    assert [entry["kind"] for entry in entries(journal.path.parent)] == ["metrics", "tags"]
    assert entries(journal.path.parent)[1]["tags"] == {"ü": "ß"}


@pytest.mark.parametrize("torn", [b"{", b'{"kind":"metrics"', b"\xff" * 9000, b""])
def test_a_torn_last_line_is_ignored_and_then_cut_off(tmp_path: Path, torn: bytes) -> None:
    journal = Journal(tmp_path)
    journal.append("one")
    journal.close()
    with journal.path.open("ab") as file:
        file.write(torn)
    assert [entry["kind"] for entry in entries(tmp_path)] == ["one"]
    again = Journal(tmp_path)
    again.append("two")
    assert [entry["kind"] for entry in entries(tmp_path)] == ["one", "two"]


def test_a_journal_of_one_torn_line_becomes_empty(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(b'{"kind":"sta')
    Journal(tmp_path)
    assert (tmp_path / JOURNAL).read_bytes() == b""


@given(value=st.floats(), step=st.integers(-5, 2**40))
def test_any_figure_survives_the_journal(value: float, step: int) -> None:
    import json

    line = encode_entry({"kind": "metrics", "step": step, "values": {"x": value}})
    back = metric_values(json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON")))["x"]
    assert back == value or (math.isnan(back) and math.isnan(value))
    assert line.count(b"\n") == 1


def test_reading_goes_on_behind_an_offset(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for kind in ("a", "b", "c"):
        journal.append(kind)
    offsets = [offset for _, offset in read_entries(tmp_path)]
    assert [entry["kind"] for entry in entries(tmp_path, offsets[0])] == ["b", "c"]
    assert count_unsent(tmp_path, Position(offset=offsets[1])) == 1


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    def write(kind: str) -> None:
        for step in range(200):
            journal.append(kind, step=step, filler="x" * 500)

    threads = [threading.Thread(target=write, args=(kind,)) for kind in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = entries(tmp_path)
    assert len(found) == 800
    assert [entry["step"] for entry in found if entry["kind"] == "a"] == list(range(200))


def test_a_full_disk_is_said_once_and_not_raised(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path)
    journal._file.close()
    journal._file = open("/dev/full", "ab")  # noqa: SIM115
    journal.append("one")
    journal.append("two")
    assert len(caplog.records) == 1


def test_the_last_steps_of_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append("metrics", step=5, values={"a": 1.0, "b": 1.0})
    journal.append("metrics", step=7, values={"a": 1.0})
    journal.append("image", step=6, key="val/masks", file="x.png")
    assert last_steps(tmp_path) == {("metrics", "a"): 7, ("metrics", "b"): 5, ("image", "val/masks"): 6}


def test_a_position_belongs_to_one_store(tmp_path: Path) -> None:
    Position(store="http://one", run_id="r", offset=9).save(tmp_path)
    assert Position.load(tmp_path, "http://one").offset == 9
    assert Position.load(tmp_path, "http://two") == Position(store="http://two")
    (tmp_path / "journal.position.json").write_text("{", encoding="utf-8")
    assert Position.load(tmp_path, "http://one") == Position(store="http://one")


@given(st.text(max_size=300))
def test_any_name_becomes_one_that_mlflow_takes(name: str) -> None:
    import posixpath
    import re

    cleaned = clean_name(name)
    assert re.fullmatch(r"[/\w.\- ]+", cleaned)
    assert posixpath.normpath(cleaned) == cleaned
    assert not cleaned.startswith(("/", ".."))
    assert len(cleaned) <= 250
    assert re.fullmatch(r"[a-zA-Z0-9_\-./ ]+", clean_image_key(name))


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [("../../x", "x"), ("/etc/passwd", "etc/passwd"), ("a\\b", "a/b"), ("", "_"), ("Bär/1.txt", "Bär/1.txt")],
)
def test_a_path_cannot_leave_its_folder(path: str, cleaned: str) -> None:
    assert clean_path(path) == cleaned
