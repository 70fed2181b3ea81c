"""Damaged and odd keypoints, joints and bones."""

from __future__ import annotations

import pytest

NAN, INF = float("nan"), float("inf")
GOOD = [8, 6, 2, 6, 7, 1, 0, 0, 0]


def points(value, number=101, **more):
    return lambda e: e.set(number, keypoints=value, **more)


def put(**values):
    return lambda e: e.set(**values)


def without_labels(e):
    for annotation in e.document["annotations"]:
        annotation.update(keypoints=[0] * 9, num_keypoints=0)


def two_schemas(names):
    def damage(e):
        e.category(5)["keypoints"] = names
        e.set(104, keypoints=[8, 6, 2] * len(names), num_keypoints=len(names))

    return damage


FAULTS = {
    "missing": (lambda e: e.annotation().pop("keypoints"), "annotation 101"),
    "null": (points(None), "annotation 101"),
    "empty": (points([]), "annotation 101"),
    "too short": (points(GOOD[:-1]), "annotation 101"),
    "too long": (points([*GOOD, 1]), "annotation 101"),
    "one joint too many": (points([*GOOD, 1, 1, 1]), "annotation 101"),
    "pairs without visibility": (points([8, 6, 6, 7, 0, 0]), "annotation 101"),
    "nested": (points([[8, 6, 2], [6, 7, 1], [0, 0, 0]]), "annotation 101"),
    "text": (points("8,6,2"), "annotation 101"),
    "object": (points({"nose": [8, 6, 2]}), "annotation 101"),
    "number": (points(9), "annotation 101"),
    "texts inside": (points(["8", "6", "2", *GOOD[3:]]), "annotation 101"),
    "null inside": (points([None, 6, 2, *GOOD[3:]]), "annotation 101"),
    "true inside": (points([8, 6, True, *GOOD[3:]]), "annotation 101"),
    "NaN": (points([NAN, 6, 2, *GOOD[3:]]), "annotation 101"),
    "inf": (points([8, INF, 2, *GOOD[3:]]), "annotation 101"),
    "NaN of an unlabelled joint": (points([*GOOD[:6], NAN, NAN, 0]), "annotation 101"),
    "absurd integer": (points([10**400, 6, 2, *GOOD[3:]]), "annotation 101"),
    "visibility 3": (points([8, 6, 3, *GOOD[3:]]), "annotation 101"),
    "visibility negative": (points([8, 6, -1, *GOOD[3:]]), "annotation 101"),
    "visibility half": (points([8, 6, 0.5, *GOOD[3:]]), "annotation 101"),
    "visibility in percent": (points([8, 6, 0.98, 6, 7, 0.4, 0, 0, 0]), "annotation 101"),
    "far outside": (points([800, 6, 2, *GOOD[3:]]), "annotation 101"),
    "far before": (points([8, -600, 2, *GOOD[3:]]), "annotation 101"),
    "area 0": (put(area=0), "annotation 101"),
    "num_keypoints text": (put(num_keypoints="2"), "annotation 101"),
    "num_keypoints null": (put(num_keypoints=None), "annotation 101"),
    "num_keypoints NaN": (put(num_keypoints=NAN), "annotation 101"),
    "num_keypoints negative": (put(num_keypoints=-1), "annotation 101"),
    "none labelled at all": (without_labels, "labelled keypoint"),
    "no category with joints": (lambda e: e.category(2).pop("keypoints"), "declares keypoints"),
    "joints null": (lambda e: e.category(2).update(keypoints=None), "declares keypoints"),
    "joints empty": (lambda e: e.category(2).update(keypoints=[]), "declares keypoints"),
    "joints text": (lambda e: e.category(2).update(keypoints="nose"), "category 2"),
    "joints numbers": (lambda e: e.category(2).update(keypoints=[1, 2, 3]), "category 2"),
    "joint without name": (lambda e: e.category(2).update(keypoints=["nose", "", "ear"]), "category 2"),
    "joint null": (lambda e: e.category(2).update(keypoints=["nose", None, "ear"]), "category 2"),
    "one joint fewer than the lists": (lambda e: e.category(2)["keypoints"].pop(), "annotation 101"),
    "two numbers of joints": (two_schemas(["head", "tail"]), "category 5"),
    "two lists of joints": (two_schemas(["head", "tail", "paw"]), "category 5"),
    "bone too high": (lambda e: e.category(2).update(skeleton=[[1, 9]]), "category 2"),
    "bone negative": (lambda e: e.category(2).update(skeleton=[[1, -1]]), "category 2"),
    "bone of three": (lambda e: e.category(2).update(skeleton=[[1, 2, 3]]), "category 2"),
    "bone of texts": (lambda e: e.category(2).update(skeleton=[["nose", "left_eye"]]), "category 2"),
    "bone NaN": (lambda e: e.category(2).update(skeleton=[[1, NAN]]), "category 2"),
    "bone number": (lambda e: e.category(2).update(skeleton=[7]), "category 2"),
    "skeleton flat": (lambda e: e.category(2).update(skeleton=[1, 2]), "category 2"),
    "skeleton text": (lambda e: e.category(2).update(skeleton="1-2"), "category 2"),
    "skeleton object": (lambda e: e.category(2).update(skeleton={"a": 1}), "category 2"),
}

WARNINGS = {
    "num_keypoints disagrees": (put(num_keypoints=3), "annotation 101"),
    "num_keypoints missing": (lambda e: e.annotation().pop("num_keypoints"), "annotation 101"),
    "position without label": (points([8, 6, 2, 6, 7, 1, 9, 9, 0]), "annotation 101"),
    "somewhat outside": (points([50, 6, 2, *GOOD[3:]]), "annotation 101"),
    "skeleton from 0": (lambda e: e.category(2).update(skeleton=[[0, 1], [0, 2]]), "category 2"),
    "joint named twice": (lambda e: e.category(2).update(keypoints=["eye", "nose", "eye"]), "category 2"),
}

SILENT = {
    "healthy": lambda e: None,
    "whole floats": points([8.0, 6.5, 2.0, 6.0, 7.0, 1.0, 0.0, 0.0, 0.0]),
    "some objects without labels": points([0] * 9, num_keypoints=0),
    "on the border": points([39, 29, 2, *GOOD[3:]]),
    "crowd without keypoints": lambda e: e.annotation(103).pop("keypoints"),
    "no skeleton": lambda e: e.category(2).pop("skeleton"),
    "empty skeleton": lambda e: e.category(2).update(skeleton=[]),
    "category without joints": lambda e: None,
}


@pytest.mark.parametrize("name", FAULTS)
def test_damaged_keypoints_are_a_fault_that_is_named(judge, name):
    judge(FAULTS[name][0], "fault", FAULTS[name][1], head="keypoint")


@pytest.mark.parametrize("name", WARNINGS)
def test_suspicious_keypoints_are_a_warning_that_is_named(judge, name):
    judge(WARNINGS[name][0], "warning", WARNINGS[name][1], head="keypoint")


@pytest.mark.parametrize("name", SILENT)
def test_legal_keypoints_are_passed_in_silence(judge, name):
    judge(SILENT[name], "silent", "", head="mask_keypoint")


@pytest.mark.parametrize("name", ["too short", "NaN", "visibility 3", "joints text", "bone too high"])
def test_damaged_keypoints_are_only_a_warning_where_none_are_learned(judge, name):
    judge(FAULTS[name][0], "warning", FAULTS[name][1], head="mask")


def test_missing_keypoints_do_not_matter_where_none_are_learned(judge):
    judge(FAULTS["missing"][0], "silent", "", head="mask")


def test_keypoint_head_leaves_out_categories_without_joints(example):
    report = example.examine("keypoint")
    assert report.counts["annotations excluded"] == 1
    assert report.counts["categories excluded"] == 1


def test_both_heads_together_keep_all_categories(example):
    assert example.examine("mask_keypoint").counts["annotations excluded"] == 0
