"""The index of an annotation file: what it holds, when it is made anew, and who makes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from maskrcnn.data import coco_scan
from maskrcnn.data.coco_index import index_file, open_index
from maskrcnn.data.faults import json_stream
from maskrcnn.errors import UserError

ROOT = Path(__file__).parents[2]


def content(num: int = 5) -> dict:
    images = [{"id": row, "file_name": f"{row}.jpg", "height": 9, "width": 9} for row in range(num)]
    annotations = [
        {"id": row, "image_id": row, "category_id": 1, "bbox": [1, 1, 2, 2], "area": 4.0 + row, "iscrowd": row % 2}
        for row in range(num)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "caffè ☕"}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.json").write_text(json.dumps(content()))
    return tmp_path / "a.json"


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were scanned."""
    scanned: list[Path] = []
    scan = coco_scan.scan_file

    def note(path: Path) -> object:
        scanned.append(path)
        return scan(path)

    monkeypatch.setattr(coco_scan, "scan_file", note)
    return scanned


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_entries_are_read_from_where_they_stand(tmp_path, monkeypatch, chunk, mark, ascii_only):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    document = content()
    document["images"][2]["file_name"] = "größe.jpg"
    document["annotations"][1]["note"] = "日本"
    path = tmp_path / "a.json"
    path.write_bytes(mark + json.dumps(document, ensure_ascii=ascii_only, indent=1).encode())
    index = open_index(path, tmp_path / "cache")
    everything = np.arange(5)
    assert [entry for _, entry in index.image_entries(everything)] == document["images"]
    assert [entry for _, entry in index.annotation_entries(everything)] == document["annotations"]
    assert index.categories == tuple(document["categories"])
    assert index.annotation_areas.tolist() == [4, 5, 6, 7, 8]
    assert index.annotation_crowds.tolist() == [False, True, False, True, False]


def test_the_second_start_scans_nothing(path, tmp_path, scans):
    first, second = (open_index(path, tmp_path / "cache") for _ in range(2))
    assert scans == [path]
    for name in ("image_ids", "annotation_images", "annotation_starts", "annotation_good", "category_ids"):
        assert getattr(first, name).tolist() == getattr(second, name).tolist()
        assert getattr(first, name).dtype == getattr(second, name).dtype
    assert (second.categories, second.findings) == (first.categories, first.findings)


def change_a_byte(path: Path) -> None:
    text = path.read_bytes()
    facts = path.stat()
    path.write_bytes(text.replace(b'"area": 4.0', b'"area": 9.0'))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def grow(path: Path) -> None:
    path.write_text(json.dumps(content(7)))


def replace_by_older(path: Path) -> None:
    other = path.with_name("b.json")
    other.write_text(json.dumps(content(3)))
    os.utime(other, (1, 1))
    os.replace(other, path)


@pytest.mark.parametrize("change", [change_a_byte, grow, replace_by_older])
def test_a_file_that_changed_is_indexed_anew_in_the_same_place(path, tmp_path, scans, change):
    open_index(path, tmp_path / "cache")
    change(path)
    index = open_index(path, tmp_path / "cache")
    assert len(scans) == 2
    document = json.loads(path.read_text())
    assert index.annotation_areas.tolist() == [entry["area"] for entry in document["annotations"]]
    assert len(list((tmp_path / "cache" / "coco-index").glob("*.npz"))) == 1


@pytest.mark.parametrize("damage", [b"", b"PK", b"nonsense" * 50, None])
def test_a_damaged_index_is_made_anew(path, tmp_path, scans, damage):
    open_index(path, tmp_path / "cache")
    place = index_file(path, tmp_path / "cache")
    place.write_bytes(place.read_bytes()[:-200] if damage is None else damage)
    open_index(path, tmp_path / "cache")
    open_index(path, tmp_path / "cache")
    assert len(scans) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("[]", "holds a list"),
        ("{", "is truncated"),
        (json.dumps(content())[:-40], "is truncated"),
        (json.dumps(content() | {"images": []}), "the list is empty"),
        ('{"images": [], "annotations": []}', "has no list 'categories'"),
        (json.dumps(content())[:-1] + ', "annotations": []}', "has 'annotations' 2 times"),
        ("<html>", "Expecting value"),
    ],
)
def test_a_file_that_is_none_of_coco_is_refused_and_not_indexed(tmp_path, text, words):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        open_index(path, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.npz"))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.json: cannot be read \(No such file"):
        open_index(tmp_path / "none.json", tmp_path / "cache")


def test_a_file_that_changes_while_it_is_read_is_refused(path, tmp_path, monkeypatch):
    scan = coco_scan.scan_file

    def meddle(name: Path) -> object:
        index = scan(name)
        grow(name)
        return index

    monkeypatch.setattr(coco_scan, "scan_file", meddle)
    with pytest.raises(UserError, match="has changed while it was read; run again"):
        open_index(path, tmp_path / "cache")


def test_entries_of_a_file_that_changed_behind_its_index_are_not_made_up(path, tmp_path):
    index = open_index(path, tmp_path / "cache")
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(UserError, match="has changed while it was read"):
        list(index.annotation_entries(np.arange(5)))


def test_processes_at_once_make_one_index(path, tmp_path):
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from maskrcnn.data import coco_scan
        from maskrcnn.data.coco_index import open_index
        scan = coco_scan.scan_file
        def note(path):
            print("scanned", flush=True)
            return scan(path)
        coco_scan.scan_file = note
        assert len(open_index(Path(sys.argv[1]), Path(sys.argv[2])).image_ids) == 5
    """)
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "cache")]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert "".join(answers).count("scanned") == 1
    assert not list((tmp_path / "cache").rglob("*.part"))
