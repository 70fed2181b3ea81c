"""Damaged and odd masks; golden/pycocotools_observed.json shows what pycocotools does with them."""

from __future__ import annotations

import pytest

NAN, INF = float("nan"), float("inf")
SQUARE = [4, 5, 16, 5, 16, 21, 4, 21]


def polygons(*value):
    return lambda e: e.set(segmentation=list(value))


def whole(value):
    return lambda e: e.set(segmentation=value)


def code(**values):
    return lambda e: e.set(104, segmentation={**e.annotation(104)["segmentation"], **values})


def cut(e):
    e.annotation(104)["segmentation"]["counts"] = e.annotation(104)["segmentation"]["counts"][:-3]


def without(key):
    return lambda e: e.annotation(104)["segmentation"].pop(key)


POLYGON_FAULTS = {
    "missing": lambda e: e.annotation().pop("segmentation"),
    "null": whole(None),
    "empty list": whole([]),
    "list of an empty list": polygons([]),
    "text": whole("4,5,16,5"),
    "number": whole(7),
    "true": whole(True),
    "flat list": whole(SQUARE),
    "list of pairs": polygons([[4, 5], [16, 5], [16, 21]]),
    "list of null": polygons(None),
    "two numbers": polygons([4, 5]),
    "four numbers": polygons([4, 5, 16, 21]),
    "five numbers": polygons([4, 5, 16, 5, 16]),
    "seven numbers": polygons([4, 5, 16, 5, 16, 21, 4]),
    "second polygon short": polygons(SQUARE, [4, 5, 16, 21]),
    "second polygon empty": polygons(SQUARE, []),
    "NaN": polygons([4, 5, 16, 5, 16, NAN]),
    "inf": polygons([4, 5, 16, 5, 16, INF]),
    "1e9": polygons([4, 5, 16, 5, 1e9, 21]),
    "1e6": polygons([4, 5, 16, 5, 1e6, 21]),
    "-1e8": polygons([4, 5, 16, 5, -1e8, 21]),
    "absurd integer": polygons([4, 5, 16, 5, 10**400, 21]),
    "texts": polygons(["4", "5", "16", "5", "16", "21"]),
    "letters": polygons(list("abcdef")),
    "null inside": polygons([4, 5, 16, 5, None, 21]),
    "true inside": polygons([4, 5, 16, 5, True, 21]),
    "object inside": polygons([4, 5, 16, 5, {}, 21]),
    "wholly outside": polygons([100, 100, 120, 100, 120, 120]),
    "empty object": whole({}),
}

CODE_FAULTS = {
    "runs too short": code(counts=[10, 5]),
    "runs too long": code(counts=[10, 5, 20_000]),
    "negative run": code(counts=[10, -5, 1195]),
    "empty list": code(counts=[]),
    "empty text": code(counts=""),
    "null counts": code(counts=None),
    "number": code(counts=1200),
    "fractions": code(counts=[10.5, 5, 1184.5]),
    "NaN": code(counts=[NAN, 1200]),
    "texts among runs": code(counts=["1200"]),
    "true among runs": code(counts=[True, 1199]),
    "nested runs": code(counts=[[1200]]),
    "absurd run": code(counts=[10**400]),
    "truncated text": cut,
    "garbage text": code(counts="~~~~~~~~"),
    "unending text": code(counts="o" * 40),
    "text outside ASCII": code(counts="äöü"),
    "text with spaces": code(counts="0 1 2"),
    "no counts": without("counts"),
    "no size": without("size"),
    "size of another image": code(size=[60, 80]),
    "size swapped": code(size=[40, 30]),
    "size zero": code(size=[0, 0], counts=[]),
    "size negative": code(size=[-30, -40]),
    "size huge": code(size=[100_000, 100_000], counts=[10**10]),
    "size overflow": code(size=[2**32 + 30, 40]),
    "size absurd": code(size=[10**400, 1]),
    "size of one": code(size=[30]),
    "size text": code(size=["30", "40"]),
    "size null": code(size=None),
    "size number": code(size=1200),
}

WARNINGS = {
    "empty mask": (code(counts=[1200]), "annotation 104"),
    "polygon without area": (polygons([4, 5, 16, 21, 4, 5]), "annotation 101"),
    "polygon of equal points": (polygons([4.0, 5.0] * 3), "annotation 101"),
    "mask away from its box": (polygons([22, 20, 34, 20, 34, 28, 22, 28]), "annotation 101"),
}

SILENT = {
    "self-crossing": lambda e: e.set(segmentation=[[4, 5, 16, 21, 16, 5, 4, 21]], area=96),
    "several pieces": lambda e: e.set(segmentation=[[4, 5, 16, 5, 16, 12, 4, 12], [4, 12, 16, 12, 16, 21, 4, 21]]),
    "slightly outside": lambda e: e.set(bbox=[-1, 5, 17, 16], segmentation=[[-1, 5, 16, 5, 16, 21, -1, 21]], area=256),
    "closed ring": polygons([*SQUARE, 4, 5]),
    "repeated point": polygons([4, 5, 4, 5, 16, 5, 16, 21, 4, 21]),
    "whole floats as runs": lambda e: e.annotation(103)["segmentation"].update(
        size=[30.0, 40.0], counts=[float(run) for run in e.annotation(103)["segmentation"]["counts"]]
    ),
    "run lengths without crowd": lambda e: e.set(103, iscrowd=0),
    "runs of zero": lambda e: e.set(
        103, segmentation={"size": [30, 40], "counts": [*e.annotation(103)["segmentation"]["counts"], 0, 0]}
    ),
    "extra keys in a code": code(format="coco"),
}


@pytest.mark.parametrize("name", POLYGON_FAULTS)
@pytest.mark.parametrize("head", ["mask", "mask_keypoint"])
def test_damaged_polygon_is_a_fault_that_names_its_annotation(judge, name, head):
    judge(POLYGON_FAULTS[name], "fault", "annotation 101", head)


@pytest.mark.parametrize("name", CODE_FAULTS)
def test_damaged_run_length_code_is_a_fault_that_names_its_annotation(judge, name):
    judge(CODE_FAULTS[name], "fault", "annotation 104")


@pytest.mark.parametrize("name", WARNINGS)
def test_suspicious_mask_is_a_warning_that_names_its_annotation(judge, name):
    judge(WARNINGS[name][0], "warning", WARNINGS[name][1])


@pytest.mark.parametrize("name", SILENT)
def test_legal_mask_is_passed_in_silence(judge, name):
    judge(SILENT[name], "silent", "")


@pytest.mark.parametrize("name", ["missing", "null", "empty list"])
def test_head_without_masks_needs_no_mask(judge, name):
    judge(POLYGON_FAULTS[name], "silent", "", head="box")


@pytest.mark.parametrize("head", ["box", "keypoint"])
def test_damaged_mask_is_only_a_warning_where_no_mask_is_learned(judge, head):
    judge(POLYGON_FAULTS["1e9"], "warning", "annotation 101", head)


def test_swapped_size_is_said_to_be_swapped(example):
    CODE_FAULTS["size swapped"](example)
    assert "swapped" in str(example.examine("mask").faults[0])
