"""Damaged and odd lists of categories."""

from __future__ import annotations

import pytest

FAULTS = {
    "empty": (lambda e: e.document.update(categories=[]), "categories"),
    "not an object": (lambda e: e.document["categories"].append("cat"), "categories[2]"),
    "null entry": (lambda e: e.document["categories"].append(None), "categories[2]"),
    "no id": (lambda e: e.category(5).pop("id"), "categories[1]"),
    "id null": (lambda e: e.category(5).update(id=None), "categories[1]"),
    "id text": (lambda e: e.category(5).update(id="5"), "categories[1]"),
    "id true": (lambda e: e.category(5).update(id=True), "categories[1]"),
    "id fraction": (lambda e: e.category(5).update(id=5.5), "categories[1]"),
    "no name": (lambda e: e.category(5).pop("name"), "category 5"),
    "name null": (lambda e: e.category(5).update(name=None), "category 5"),
    "name number": (lambda e: e.category(5).update(name=5), "category 5"),
    "name empty": (lambda e: e.category(5).update(name=""), "category 5"),
    "name with half a surrogate": (lambda e: e.category(5).update(name="d\ud800g"), "category 5"),
    "name list": (lambda e: e.category(5).update(name=["dog"]), "category 5"),
    "duplicate id": (lambda e: e.document["categories"].append({"id": 5, "name": "cat"}), "category 5"),
    "duplicate name": (lambda e: e.document["categories"].append({"id": 6, "name": "dog"}), "category 6"),
    "one is missing": (lambda e: e.document["categories"].pop(), "annotation 104"),
}

WARNINGS = {
    "never used": (lambda e: e.document["categories"].append({"id": 6, "name": "cat"}), "category 6 (cat)"),
    "group name": (lambda e: e.document["categories"].insert(0, {"id": 0, "name": "all"}), "category 0 (all)"),
}

SILENT = {
    "id 0": lambda e: (e.category(5).update(id=0), e.set(104, category_id=0)),
    "large id": lambda e: (e.category(5).update(id=10**9), e.set(104, category_id=10**9)),
    "whole float id": lambda e: e.category(5).update(id=5.0),
    "not sorted": lambda e: e.document["categories"].reverse(),
    "non-ASCII name": lambda e: e.category(5).update(name="собака 犬"),
    "extra keys": lambda e: e.category(5).update(color="#fff", metadata={}),
    "supercategory null": lambda e: e.category(5).update(supercategory=None),
}


@pytest.mark.parametrize("name", FAULTS)
def test_damaged_category_is_a_fault_that_names_it(judge, name):
    judge(FAULTS[name][0], "fault", FAULTS[name][1])


@pytest.mark.parametrize("name", WARNINGS)
def test_unused_category_is_a_warning_that_names_it(judge, name):
    judge(WARNINGS[name][0], "warning", WARNINGS[name][1])


@pytest.mark.parametrize("name", SILENT)
def test_legal_category_is_passed_in_silence(judge, name):
    judge(SILENT[name], "silent", "")


def test_annotations_of_a_faulty_category_are_not_blamed_for_it(example):
    example.category(5).pop("name")
    assert len(example.examine("mask").faults) == 1
