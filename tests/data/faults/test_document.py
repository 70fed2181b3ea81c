"""Annotation files that are no COCO file at all, and odd ones that are."""

from __future__ import annotations

import json
import os

import pytest


def text(value):
    return lambda e: setattr(e, "text", value)


def edited(change):
    return lambda e: setattr(e, "text", change(json.dumps(e.document)))


def folder_instead(e):
    e.path.mkdir()


def missing(e):
    e.path = e.path.with_name("no").joinpath("such.json")


FAULTS = {
    "empty": text(b""),
    "white space": text(" \n\n "),
    "zero bytes": text(b"\x00" * 100),
    "binary": text(os.urandom(20) + b"\x00"),
    "a picture": text(b"\x89PNG\r\n\x1a\n\x00\x00"),
    "gzip": text(b"\x1f\x8b\x08\x00rest"),
    "zip": text(b"PK\x03\x04rest"),
    "LFS pointer": text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"),
    "HTML": text("<html><body>404</body></html>"),
    "latin-1": text(b'{"images": [], "name": "\xe4"}'),
    "UTF-16": text('{"images": []}'.encode("utf-16")),
    "truncated": edited(lambda text: text[: len(text) // 2]),
    "truncated at the end": edited(lambda text: text[:-1]),
    "trailing comma": edited(lambda text: text[:-1] + ",}"),
    "single quotes": edited(lambda text: text.replace('"', "'")),
    "trailing garbage": edited(lambda text: text + "}"),
    "two documents": edited(lambda text: text + text),
    "comment": edited(lambda text: "// COCO\n" + text),
    "top level list": text("[]"),
    "top level number": text("7"),
    "top level text": text('"COCO"'),
    "top level null": text("null"),
    "top level NaN": text("NaN"),
    "results file": text('[{"image_id": 11, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}]'),
    "empty object": text("{}"),
    "nesting bomb": text("[" * 100_000),
    "nested objects": text('{"a":' * 100_000),
    "nested inside": edited(lambda text: text[:-1] + ', "x": ' + "[" * 5000 + "]" * 5000 + "}"),
    "no images": lambda e: e.document.pop("images"),
    "no annotations": lambda e: e.document.pop("annotations"),
    "no categories": lambda e: e.document.pop("categories"),
    "images null": lambda e: e.document.update(images=None),
    "images object": lambda e: e.document.update(images={"11": {}}),
    "annotations object": lambda e: e.document.update(annotations={}),
    "annotations null": lambda e: e.document.update(annotations=None),
    "categories text": lambda e: e.document.update(categories="person"),
    "another key": lambda e: e.document.update(annotation=e.document.pop("annotations")),
    "empty images": lambda e: e.document.update(images=[]),
    "empty annotations": lambda e: e.document.update(annotations=[]),
    "two lists of annotations": edited(lambda text: text[:-1] + ', "annotations": []}'),
    "a folder": folder_instead,
    "missing": missing,
}

NAMED_INSIDE = {
    "repeated key in an annotation": (
        edited(lambda text: text.replace('"id": 101,', '"id": 101, "bbox": [1, 1, 2, 2],')),
        "annotation 101",
    ),
    "repeated key in an image": (edited(lambda text: text.replace('"id": 11,', '"id": 11, "width": 4,')), "image 11"),
    "number of 5000 digits": (edited(lambda text: text.replace("[4, 5,", f"[{'9' * 5000}, 5,", 1)), "annotation 101"),
    "float beyond range": (edited(lambda text: text.replace("[4, 5,", "[1e999, 5,", 1)), "annotation 101"),
    "id of 5000 digits": (edited(lambda text: text.replace('"id": 101', f'"id": {"9" * 5000}')), "annotations[0]"),
}

SILENT = {
    "byte order mark": lambda e: setattr(e, "text", b"\xef\xbb\xbf" + json.dumps(e.document).encode()),
    "not ASCII": lambda e: setattr(e, "text", json.dumps({**e.document, "info": {"by": "Ä"}}, ensure_ascii=False)),
    "indented": lambda e: setattr(e, "text", json.dumps(e.document, indent=4)),
    "line ends of Windows": lambda e: setattr(
        e, "text", json.dumps(e.document, indent=1).replace("\n", "\r\n").encode()
    ),
    "info and licenses": lambda e: e.document.update(info={}, licenses=[{"id": 1}], extra=None),
    "repeated key elsewhere": edited(lambda text: text[:-1] + ', "info": {"a": 1, "a": 2}}'),
}


@pytest.mark.parametrize("name", FAULTS)
def test_file_that_is_no_coco_file_is_a_fault(judge, name):
    judge(FAULTS[name], "fault", "")


@pytest.mark.parametrize("name", NAMED_INSIDE)
def test_fault_of_the_text_is_named_where_it_stands(judge, name):
    judge(NAMED_INSIDE[name][0], "fault", NAMED_INSIDE[name][1])


@pytest.mark.parametrize("name", SILENT)
def test_odd_but_legal_file_is_passed_in_silence(judge, name):
    judge(SILENT[name], "silent", "")


def test_nan_where_nobody_reads_it_is_a_warning(judge):
    judge(edited(lambda text: text[:-1] + ', "info": NaN}'), "warning", "NaN")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(example):
    os.mkfifo(example.path)
    example.write = lambda: None
    assert "regular file" in str(example.examine("mask").faults[0])


def test_message_of_broken_json_gives_line_and_column(example):
    example.text = '{"images": [],\n "annotations": [}'
    assert "line 2, column 18" in str(example.examine("mask").faults[0])


def test_each_finding_is_one_line(example):
    example.image(11)["file_name"] = "a\nb\x1b[31m\u2028.png"
    example.category(2)["name"] = "per\nson"
    report = example.examine("mask")
    assert len(report.faults) == 1
    assert all(line.isprintable() for line in report.lines())
