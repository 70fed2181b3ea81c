"""Damaged and odd annotations: ids, boxes, areas, crowd flags."""

from __future__ import annotations

import pytest

NAN, INF = float("nan"), float("inf")


def boxed(box):
    return lambda e: e.set(bbox=box)


def put(**values):
    return lambda e: e.set(**values)


def drop(key):
    return lambda e: e.annotation().pop(key)


def append(**values):
    return lambda e: e.document["annotations"].append({**e.annotation(), "id": 500, **values})


FAULTS = {
    # ids
    "not an object": (lambda e: e.document["annotations"].append(7), "annotations[4]"),
    "null entry": (lambda e: e.document["annotations"].append(None), "annotations[4]"),
    "no id": (drop("id"), "annotations[0]"),
    "id null": (put(id=None), "annotations[0]"),
    "id text": (put(id="101x"), "annotations[0]"),
    "id true": (put(id=True), "annotations[0]"),
    "id fraction": (put(id=1.5), "annotations[0]"),
    "id NaN": (put(id=NAN), "annotations[0]"),
    "id absurd": (put(id=10**40), "annotations[0]"),
    "id list": (put(id=[1]), "annotations[0]"),
    "duplicate id": (append(id=102), "annotation 102"),
    "duplicate id as float": (append(id=102.0), "annotation 102"),
    "no image_id": (drop("image_id"), "annotation 101"),
    "image_id null": (put(image_id=None), "annotation 101"),
    "image_id text": (put(image_id="11"), "annotation 101"),
    "image_id true": (put(image_id=True), "annotation 101"),
    "image_id list": (put(image_id=[11]), "annotation 101"),
    "unknown image": (put(image_id=999), "annotation 101: belongs to image 999"),
    "no category_id": (drop("category_id"), "annotation 101"),
    "category_id null": (put(category_id=None), "annotation 101"),
    "category_id text": (put(category_id="2"), "annotation 101"),
    "category_id name": (put(category_id="person"), "annotation 101"),
    "unknown category": (put(category_id=77), "annotation 101: is of category 77"),
    # boxes
    "no bbox": (drop("bbox"), "annotation 101"),
    "bbox null": (boxed(None), "annotation 101"),
    "bbox text": (boxed("4,5,12,16"), "annotation 101"),
    "bbox object": (boxed({"x": 4}), "annotation 101"),
    "bbox empty": (boxed([]), "annotation 101"),
    "bbox of three": (boxed([4, 5, 12]), "annotation 101"),
    "bbox of five": (boxed([4, 5, 12, 16, 1]), "annotation 101"),
    "bbox of texts": (boxed(["4", "5", "12", "16"]), "annotation 101"),
    "bbox with null": (boxed([4, 5, None, 16]), "annotation 101"),
    "bbox with true": (boxed([4, 5, True, 16]), "annotation 101"),
    "bbox nested": (boxed([[4, 5], [12, 16]]), "annotation 101"),
    "bbox nested four": (boxed([[4], [5], [12], [16]]), "annotation 101"),
    "bbox with NaN": (boxed([4, 5, NAN, 16]), "annotation 101"),
    "bbox with inf": (boxed([4, 5, INF, 16]), "annotation 101"),
    "bbox with -inf": (boxed([-INF, 5, 12, 16]), "annotation 101"),
    "bbox all NaN": (boxed([NAN] * 4), "annotation 101"),
    "negative width": (boxed([16, 5, -12, 16]), "annotation 101"),
    "negative height": (boxed([4, 21, 12, -16]), "annotation 101"),
    "tiny negative side": (boxed([4, 5, -0.001, 16]), "annotation 101"),
    "absurd integer": (boxed([4, 5, 10**400, 16]), "annotation 101"),
    "absurd float": (boxed([4, 5, 1e300, 16]), "annotation 101"),
    "huge": (boxed([4, 5, 1e6, 16]), "annotation 101"),
    "right of the image": (boxed([41, 5, 12, 16]), "annotation 101"),
    "at the right border": (boxed([40, 5, 12, 16]), "annotation 101"),
    "below the image": (boxed([4, 31, 12, 16]), "annotation 101"),
    "left of the image": (boxed([-20, 5, 12, 16]), "annotation 101"),
    "above the image": (boxed([4, -20, 12, 16]), "annotation 101"),
    "zero-size far outside": (boxed([100, 100, 0, 0]), "annotation 101"),
    # area and crowd
    "area NaN": (put(area=NAN), "annotation 101"),
    "area inf": (put(area=INF), "annotation 101"),
    "area negative": (put(area=-5), "annotation 101"),
    "area text": (put(area="192"), "annotation 101"),
    "area null": (put(area=None), "annotation 101"),
    "area true": (put(area=True), "annotation 101"),
    "area list": (put(area=[192]), "annotation 101"),
    "area absurd": (put(area=10**400), "annotation 101"),
    "iscrowd 2": (put(iscrowd=2), "annotation 101"),
    "iscrowd negative": (put(iscrowd=-1), "annotation 101"),
    "iscrowd text": (put(iscrowd="0"), "annotation 101"),
    "iscrowd null": (put(iscrowd=None), "annotation 101"),
    "iscrowd half": (put(iscrowd=0.5), "annotation 101"),
    "iscrowd list": (put(iscrowd=[]), "annotation 101"),
}

WARNINGS = {
    "zero width": (boxed([4, 5, 0, 16]), "annotation 101"),
    "zero height": (boxed([4, 5, 12, 0]), "annotation 101"),
    "zero size": (boxed([4, 5, 0, 0]), "annotation 101"),
    "beyond the border": (boxed([4, 5, 50, 16]), "annotation 101"),
    "starts before the border": (boxed([-6, 5, 22, 16]), "annotation 101"),
    "no area": (drop("area"), "annotation 101"),
    "no iscrowd": (drop("iscrowd"), "annotation 101"),
    "area zero": (put(area=0), "annotation 101"),
    "area far too large": (put(area=5000), "annotation 101"),
    "area huge": (put(area=2e10), "annotation 101"),
    "area far too small": (put(area=10), "annotation 101"),
    "crowd with polygons": (put(iscrowd=1), "annotation 101"),
    "category without instances": (lambda e: e.set(104, category_id=2), "dog"),
    "marked twice": (append(), "annotation 500"),
    "only crowds": (lambda e: [a.update(iscrowd=1) for a in e.document["annotations"]], "all are crowds"),
    "image without annotations": (lambda e: e.document["annotations"].pop(), "sub/c.png"),
    "box of another object": (boxed([25, 20, 10, 8]), "annotation 101"),
}

SILENT = {
    "healthy": lambda e: None,
    "gaps in ids": lambda e: e.set(id=10**12),
    "id 0": lambda e: e.set(id=0),
    "negative id": lambda e: e.set(id=-3),
    "whole float ids": lambda e: e.set(id=101.0, image_id=11.0, category_id=2.0),
    "iscrowd false": lambda e: e.set(iscrowd=False),
    "iscrowd true": lambda e: e.set(103, iscrowd=True),
    "iscrowd 0.0": lambda e: e.set(iscrowd=0.0),
    "extra keys": lambda e: e.set(color="#fff", metadata={}, isbbox=False, attributes=[1]),
    "touches the border": lambda e: e.set(
        104, bbox=[20, 5, 20, 25], segmentation=[[20, 5, 40, 5, 40, 30, 20, 30]], area=500
    ),
    "passes the border by rounding": lambda e: e.set(bbox=[4, 5, 12, 16.5]),
    "integer area": lambda e: e.set(area=192),
    "small": lambda e: e.set(
        bbox=[4, 5, 1, 1], segmentation=[[4, 5, 5, 5, 5, 6, 4, 6]], area=1, keypoints=[0] * 9, num_keypoints=0
    ),
    "crowd with run lengths": lambda e: None,
    "another order": lambda e: e.document["annotations"].reverse(),
}


@pytest.mark.parametrize("name", FAULTS)
def test_damaged_annotation_is_a_fault_that_names_it(judge, name):
    damage, words = FAULTS[name]
    judge(damage, "fault", words)


@pytest.mark.parametrize("name", WARNINGS)
def test_suspicious_annotation_is_a_warning_that_names_it(judge, name):
    damage, words = WARNINGS[name]
    judge(damage, "warning", words)


@pytest.mark.parametrize("name", SILENT)
def test_legal_oddity_is_passed_in_silence(judge, name):
    judge(SILENT[name], "silent", "")


def test_every_fault_is_named_at_once(example):
    example.set(101, bbox=[NAN] * 4, iscrowd=7, segmentation=[[1]])
    example.set(102, area=-1)
    example.set(104, category_id=99)
    report = example.examine("mask")
    assert [fault.kind for fault in report.faults] == [
        "broken iscrowd",
        "broken box",
        "broken segmentation",
        "broken area",
        "unknown category",
    ]
    assert report.counts["annotations dropped"] == 3


def test_boxes_in_shares_of_the_image_are_suspicious(judge):
    def damage(e):
        for annotation in e.document["annotations"]:
            annotation.update(bbox=[0.1, 0.2, 0.4, 0.5], segmentation=[], area=0.2)

    judge(damage, "warning", "within the first pixel", head="box")


def test_boxes_given_as_corners_are_suspicious(judge):
    def damage(e):
        for annotation in e.document["annotations"]:
            annotation.update(bbox=[20, 15, 36, 28], segmentation=[], area=208)

    judge(damage, "warning", "x1, y1, x2, y2", head="box")
