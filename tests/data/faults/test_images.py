"""Damaged and odd images: entries of the list, paths, files."""

from __future__ import annotations

import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from maskrcnn.data.faults.decoding import check_picture, complaint, decode_all
from maskrcnn.data.faults.pictures import MAX_PIXELS, read_header

NAN = float("nan")


def put(number=11, **values):
    return lambda e: e.image(number).update(values)


def drop(key):
    return lambda e: e.image(11).pop(key)


def append(**values):
    return lambda e: e.document["images"].append({**e.image(11), "id": 14, **values})


def outside(e):
    (e.folder.parent / "secret.png").write_bytes((e.folder / "a.png").read_bytes())
    return e.folder.parent / "secret.png"


def link(target):
    def damage(e):
        found = target(e)
        (e.folder / "a.png").unlink()
        (e.folder / "a.png").symlink_to(found)

    return damage


def linked_folder(e):
    shutil.move(e.folder / "sub", e.folder.parent / "elsewhere")
    (e.folder / "sub").symlink_to(e.folder.parent / "elsewhere")


ENTRY_FAULTS = {
    "not an object": (lambda e: e.document["images"].append("x.png"), "images[3]"),
    "null entry": (lambda e: e.document["images"].append(None), "images[3]"),
    "no id": (drop("id"), "images[0] (a.png)"),
    "id null": (put(id=None), "images[0] (a.png)"),
    "id text": (put(id="11"), "images[0] (a.png)"),
    "id true": (put(id=True), "images[0] (a.png)"),
    "id fraction": (put(id=11.5), "images[0] (a.png)"),
    "id absurd": (put(id=2**70), "images[0] (a.png)"),
    "duplicate id": (put(id=12), "image 12"),
    "no file_name": (drop("file_name"), "image 11"),
    "file_name null": (put(file_name=None), "image 11"),
    "file_name number": (put(file_name=7), "image 11"),
    "file_name list": (put(file_name=["a.png"]), "image 11"),
    "file_name empty": (put(file_name=""), "image 11"),
    "file_name blank": (put(file_name="  "), "image 11"),
    "file_name with a zero byte": (put(file_name="a\x00.png"), "image 11"),
    "file_name with half a surrogate": (put(file_name="a\ud800.png"), "image 11"),
    "file_name of 5000 letters": (put(file_name="a" * 5000), "image 11"),
    "no width": (drop("width"), "image 11 (a.png)"),
    "no height": (drop("height"), "image 11 (a.png)"),
    "width null": (put(width=None), "image 11 (a.png)"),
    "width text": (put(width="40"), "image 11 (a.png)"),
    "width true": (put(width=True), "image 11 (a.png)"),
    "width 0": (put(width=0), "image 11 (a.png)"),
    "height negative": (put(height=-30), "image 11 (a.png)"),
    "height fraction": (put(height=30.5), "image 11 (a.png)"),
    "height NaN": (put(height=NAN), "image 11 (a.png)"),
    "size absurd": (put(height=10**12, width=10**12), "image 11 (a.png)"),
    "width absurd": (put(width=10**400), "image 11 (a.png)"),
    "size of another picture": (put(height=60, width=80), "image 11 (a.png): the file is 40 x 30"),
    "size off by one": (put(width=41), "image 11 (a.png)"),
    "size swapped": (put(height=40, width=30), "image 11 (a.png)"),
}

PATH_FAULTS = {
    "missing": (put(file_name="nowhere.png"), "nowhere.png"),
    "in another case": (put(file_name="A.png"), "there is a.png"),
    "missing folder": (put(file_name="x/a.png"), "x/a.png"),
    "file as folder": (put(file_name="a.png/b.png"), "a.png/b.png"),
    "a folder": (put(file_name="sub"), "image 11 (sub)"),
    "the image folder itself": (put(file_name="."), "image 11"),
    "address": (put(file_name="http://images.cocodataset.org/a.jpg"), "is an address"),
    "backslash": (put(13, file_name="sub\\c.png"), "backslashes"),
    "above the folder": (lambda e: (outside(e), e.image(11).update(file_name="../secret.png")), "../secret.png"),
    "above and back": (lambda e: (outside(e), e.image(11).update(file_name="sub/../../secret.png")), "secret.png"),
    "absolute": (lambda e: e.image(11).update(file_name=str(outside(e))), "outside the image folder"),
    "system file": (put(file_name="/etc/passwd"), "/etc/passwd"),
    "link outside": (link(outside), "image 11 (a.png): lies outside"),
    "broken link": (link(lambda e: "nowhere.png"), "image 11 (a.png): is a broken link"),
    "link to itself": (link(lambda e: e.folder / "a.png"), "image 11 (a.png)"),
    "linked folder": (linked_folder, "image 13 (sub/c.png): lies outside"),
    "device": (link(lambda e: "/dev/zero"), "image 11 (a.png)"),
    "no image folder": (lambda e: setattr(e, "folder", e.folder / "nowhere"), "nowhere"),
    "image folder is a file": (lambda e: setattr(e, "folder", e.folder / "a.png"), "a.png"),
}

WARNINGS = {
    "listed twice": (append(), "image 14 (a.png)"),
    "listed twice with another spelling": (append(file_name="./a.png"), "image 14 (./a.png)"),
}

SILENT = {
    "id 0": lambda e: (e.image(11).update(id=0), e.set(101, image_id=0)),
    "negative id": lambda e: (e.image(11).update(id=-5), e.set(101, image_id=-5)),
    "id of a video": lambda e: (e.image(11).update(id=2**62), e.set(101, image_id=2**62)),
    "whole floats": lambda e: e.image(11).update(id=11.0, width=40.0, height=30.0),
    "extra keys": lambda e: e.image(11).update(license=1, coco_url="http://x/a.png", path="/data/a.png", date=None),
    "sub-folder": lambda e: None,
    "dot in front": put(file_name="./a.png"),
    "back and forth": put(file_name="sub/../a.png"),
    "link inside": lambda e: (e.folder / "d.png").symlink_to("a.png") or e.image(11).update(file_name="d.png"),
}


def renamed(name):
    def damage(e):
        (e.folder / "a.png").rename(e.folder / name)
        e.image(11)["file_name"] = name

    return damage


@pytest.mark.parametrize("name", ENTRY_FAULTS)
def test_damaged_entry_is_a_fault_that_names_it(judge, name):
    judge(ENTRY_FAULTS[name][0], "fault", ENTRY_FAULTS[name][1])


@pytest.mark.parametrize("name", PATH_FAULTS)
def test_file_that_is_missing_or_foreign_is_a_fault_that_names_it(judge, name):
    judge(PATH_FAULTS[name][0], "fault", PATH_FAULTS[name][1])


@pytest.mark.parametrize("name", WARNINGS)
def test_suspicious_entry_is_a_warning(judge, name):
    judge(WARNINGS[name][0], "warning", WARNINGS[name][1])


@pytest.mark.parametrize("name", SILENT)
def test_legal_entry_is_passed_in_silence(judge, name):
    judge(SILENT[name], "silent", "")


@pytest.mark.parametrize(
    "name", ["Straße 1 – 犬.png", "with spaces.png", "quote'\".png", "a=b,[c]{d}.png", "noending", "UPPER.PNG"]
)
def test_any_file_name_is_legal(judge, name):
    judge(renamed(name), "silent", "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_among_the_images_is_not_waited_for(judge):
    def damage(e):
        (e.folder / "a.png").unlink()
        os.mkfifo(e.folder / "a.png")

    judge(damage, "fault", "image 11 (a.png)", decode_images=True)


def png_bomb(width, height):
    """A PNG of a few bytes that claims to be huge."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\x00")) + chunk(b"IEND", b"")


def damaged_files(png: bytes, jpeg: bytes) -> dict[str, bytes]:
    middle = len(png) // 2
    return {
        "empty.png": b"",
        "zeros.png": b"\x00" * 500,
        "text.jpg": b"this is not a picture",
        "page.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n",
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"></svg>',
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n",
        "paper.pdf": b"%PDF-1.4\n",
        "head.jpg": jpeg[:20],
        "header.jpg": jpeg[:300],
        "half.jpg": jpeg[: len(jpeg) // 2],
        "tail.jpg": jpeg[:-30],
        "signature.png": png[:8],
        "header.png": png[:30],
        "half.png": png[:middle],
        "tail.png": png[:-30],
        "end.png": png[:-12],
        "flipped.png": png[:middle] + bytes([png[middle] ^ 255]) + png[middle + 1 :],
        "zeroed.png": png[:middle] + b"\x00" * (len(png) - middle),
        "zeroed.jpg": jpeg[: len(jpeg) // 2] + b"\x00" * (len(jpeg) - len(jpeg) // 2),
        "bomb.png": png_bomb(40_000, 40_000),
        "wide.png": png_bomb(2**31 - 1, 1),
        "garbage.jpg": b"\xff\xd8\xff\xe0" + np.random.default_rng(0).bytes(2000),
    }


def test_every_broken_picture_is_named_and_nothing_else(example):
    png, jpeg = ((example.folder / name).read_bytes() for name in ("a.png", "b.jpg"))
    files = damaged_files(png, jpeg)
    for number, (name, data) in enumerate(files.items(), start=1000):
        (example.folder / name).write_bytes(data)
        example.document["images"].append({"id": number, "file_name": name, "height": 30, "width": 40})
    report = example.examine("mask", decode_images=True)
    named = {fault.where.partition("(")[2].rstrip(")") for fault in report.faults}
    assert named == set(files)
    assert len(report.faults) == len(files)
    example.check_dropping("mask")


def legal_pictures(folder):
    """Pictures of 40 x 30 of every legal kind, written into `folder`; their names."""
    noise = np.random.default_rng(1).integers(0, 256, (30, 40, 4), dtype=np.uint8)
    colour, rgba = Image.fromarray(noise[..., :3]), Image.fromarray(noise)
    pictures = {
        "grey.png": colour.convert("L"),
        "grey.jpg": colour.convert("L"),
        "palette.png": colour.quantize(16),
        "bits.png": colour.convert("1"),
        "alpha.png": rgba,
        "grey-alpha.png": rgba.convert("LA"),
        "deep.png": Image.fromarray(noise[..., 0].astype(np.uint16) * 257),
        "cmyk.jpg": colour.convert("CMYK"),
        "bitmap.bmp": colour,
        "graphic.gif": colour.quantize(16),
        "photo.webp": colour,
        "scan.tif": colour,
        "map.ppm": colour,
        "png-inside.jpg": None,
        "trailing.jpg": None,
        "progressive.jpg": None,
    }
    for name, image in pictures.items():
        if image is not None:
            image.save(folder / name)
    colour.save(folder / "png-inside.jpg", "PNG")
    colour.save(folder / "trailing.jpg")
    with open(folder / "trailing.jpg", "ab") as file:
        file.write(b"thumbnail" * 10)
    colour.save(folder / "progressive.jpg", progressive=True)
    return list(pictures)


def test_every_legal_kind_of_picture_is_passed_in_silence(example):
    for number, name in enumerate(legal_pictures(example.folder), start=1000):
        example.document["images"].append({"id": number, "file_name": name, "height": 30, "width": 40})
        example.document["annotations"].append({**example.annotation(104), "id": number, "image_id": number})
    assert list(example.examine("mask", decode_images=True).lines()) == []


@pytest.mark.parametrize(("height", "width"), [(30, 40), (40, 30)])
def test_exif_rotation_is_a_warning_whether_the_size_is_as_stored_or_as_shown(example, height, width):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(example.folder / "b.jpg").save(example.folder / "turned.jpg", exif=exif)
    example.document["images"].append({"id": 20, "file_name": "turned.jpg", "height": height, "width": width})
    report = example.examine("mask", decode_images=True)
    assert not report.faults
    assert [w.kind for w in report.warnings] == ["EXIF rotation", "image without annotations"]


def test_several_frames_are_a_warning(example):
    frames = [Image.new("RGB", (40, 30), color) for color in ("red", "blue")]
    frames[0].save(example.folder / "film.gif", save_all=True, append_images=frames[1:])
    example.document["images"].append({"id": 20, "file_name": "film.gif", "height": 30, "width": 40})
    assert "2 frames" in "\n".join(example.examine("mask").lines())


def test_files_that_no_image_names_are_one_warning(example):
    for number in range(20):
        shutil.copy(example.folder / "a.png", example.folder / f"extra{number:02}.png")
    report = example.examine("mask", decode_images=True)
    assert len(report.warnings) == 1
    assert "20 not in the annotation file: extra00.png" in str(report.warnings[0])


def test_annotations_of_a_broken_image_are_not_blamed_for_it(example):
    (example.folder / "a.png").write_bytes(b"")
    report = example.examine("mask")
    assert [fault.where for fault in report.faults] == ["image 11 (a.png)"]
    assert report.counts["annotations dropped"] == 1


def test_faults_of_annotations_on_a_broken_image_are_named_too(example):
    (example.folder / "a.png").unlink()
    example.set(101, bbox=[1, 2, -3, 4])
    assert [fault.kind for fault in example.examine("mask").faults] == ["missing or foreign image file", "broken box"]


def test_headers_tell_the_size_without_decoding(tmp_path):
    (tmp_path / "a.png").write_bytes(png_bomb(9_000, 9_000))
    assert MAX_PIXELS > 9_000**2
    header = read_header(tmp_path / "a.png")
    assert (header.height, header.width) == (9_000, 9_000)


def test_pictures_are_decoded_in_order_and_each_is_counted(tmp_path):
    paths = []
    for number in range(20):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (8, 8)).save(paths[-1])
    (tmp_path / "7.png").write_bytes(b"x")
    counted = []
    answers = decode_all(paths, [64] * 19 + [10**8], done=lambda: counted.append(1))
    assert [bool(answer) for answer in answers] == [number == 7 for number in range(20)]
    assert len(counted) == 20


def test_a_picture_that_ends_the_decoder_is_blamed_and_the_others_are_decoded(tmp_path, monkeypatch):
    # a child that dies at the sight of the word: stands for a library that crashes
    program = (
        "import json, os, sys\n"
        "for line in sys.stdin:\n"
        "    os._exit(1) if 'deadly' in line else print(json.dumps(''), flush=True)\n"
    )
    monkeypatch.setattr("maskrcnn.data.faults.decoding.CHILD", ("-c", program))
    answers = decode_all(["a", "deadly", "b"], [1, 1, 1], done=lambda: None)
    assert answers == ["", "ends or blocks the decoder", ""]


def test_check_picture_answers_for_every_kind_of_failure(tmp_path):
    assert "No such file" in check_picture(str(tmp_path / "nowhere.png"))
    assert check_picture(str(tmp_path))


@pytest.mark.parametrize(
    ("log", "damaged"),
    [
        (b"Corrupt JPEG data: premature end of data segment\n", True),
        (b"Corrupt JPEG data: bad Huffman code\n", True),
        (b"libpng warning: iCCP: known incorrect sRGB profile\n", False),
        (b"Corrupt JPEG data: 18 extraneous bytes before marker 0xd9\n", False),
        (b"", False),
    ],
)
def test_only_complaints_about_pixels_count(log, damaged):
    assert bool(complaint(log)) == damaged
