"""COCO's server: what is asked of it for which file."""

from __future__ import annotations

import io
import zipfile

import pytest

from maskrcnn.downloads import CATEGORIES, CocoServer, annotation_name, safe_names
from maskrcnn.downloads.coco import ARCHIVE_BYTES, ARCHIVE_MD5, OFFICIAL
from maskrcnn.errors import UserError
from maskrcnn.weights.coco_names import COCO_NAMES


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name in names:
            opened.writestr(f"annotations/{name}", f"content of {name}")
    return file.getvalue()


def test_one_archive_serves_all_annotation_files_of_a_year(server, tmp_path):
    names = [annotation_name(split, keypoints=kind) for split in ("train2017", "val2017") for kind in (False, True)]
    server.files["/annotations/annotations_trainval2017.zip"] = archive(*names)
    coco = CocoServer(server.url + "/", tmp_path)
    for name in names:
        path = coco.annotations(name, 2017)
        assert path == coco.folder / "annotations" / name
        assert path.read_text() == f"content of {name}"
    assert server.asked == ["/annotations/annotations_trainval2017.zip"]


def test_an_annotation_file_that_is_there_needs_no_server(tmp_path):
    coco = CocoServer("http://127.0.0.1:1", tmp_path)
    path = coco.folder / "annotations" / "instances_val2014.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert coco.annotations(path.name, 2014) == path


def test_images_come_one_by_one_into_the_folder_of_their_split(server, tmp_path):
    server.files |= {"/val2014/COCO_val2014_000000000042.jpg": b"42", "/val2014/a%20b.jpg": b"ab"}
    names = {"COCO_val2014_000000000042.jpg": lambda path: "", "a b.jpg": lambda path: ""}
    folder = CocoServer(server.url, tmp_path).images("val2014", names, "images")
    assert sorted(path.name for path in folder.glob("*.jpg")) == sorted(names)
    assert (folder / "a b.jpg").read_bytes() == b"ab"


def test_the_published_checksum_holds_for_the_official_server_alone():
    assert CocoServer(OFFICIAL, None).is_official
    assert CocoServer("https://images.cocodataset.org/", None).is_official
    assert not CocoServer("http://mirror.example/coco", None).is_official
    # PAPER §3.6
    assert ARCHIVE_MD5[2017] == "f4bbac642086de4f52a3fdda2de5fa2c"
    assert ARCHIVE_BYTES[2017] == 252_907_541
    assert ARCHIVE_MD5[2014] == "0a379cfc70b0e71301e0f377548639bd"


def test_an_archive_of_another_content_is_refused_on_the_official_server(server, tmp_path, monkeypatch):
    monkeypatch.setattr("maskrcnn.downloads.coco.OFFICIAL", server.url)
    server.files["/annotations/annotations_trainval2017.zip"] = archive("instances_val2017.json")
    coco = CocoServer(server.url, tmp_path)
    with pytest.raises(UserError, match=r"wrong content: \d+ bytes, expected 252907541"):
        coco.annotations("instances_val2017.json", 2017)
    server.always = lambda handler, content: handler.answer(200, b"", length=252_907_542)
    with pytest.raises(UserError, match="more than the 252907541 bytes of the file"):
        coco.annotations("instances_val2017.json", 2017)


def test_each_address_has_a_folder_of_its_own(tmp_path):
    official, mirror, other = (CocoServer(url, tmp_path) for url in (OFFICIAL, "http://a/coco", "http://b/coco"))
    assert official.folder == tmp_path / "coco"
    assert len({official.folder, mirror.folder, other.folder}) == 3
    assert CocoServer("http://a/coco/", tmp_path).folder == mirror.folder


def test_the_older_archive_is_known_by_its_checksum_alone(server, tmp_path, monkeypatch):
    monkeypatch.setattr("maskrcnn.downloads.coco.OFFICIAL", server.url)
    server.files["/annotations/annotations_trainval2014.zip"] = archive("instances_val2014.json")
    with pytest.raises(UserError, match=r"wrong content: md5 .* expected 0a379cfc70b0e71301e0f377548639bd"):
        CocoServer(server.url, tmp_path).annotations("instances_val2014.json", 2014)


def test_names_that_lead_elsewhere_are_not_fetched():
    names = ["a.jpg", "../a.jpg", "/etc/passwd", "b/c.jpg", "..", "", "d\\e.jpg", "."]
    assert safe_names(names) == ["a.jpg"]


def test_the_categories_are_those_of_the_published_detectors():
    assert dict(CATEGORIES) == {number: name for number, name in enumerate(COCO_NAMES, start=1) if name != "N/A"}
