"""Any value in any place: the doctor answers with findings, never with an exception."""

from __future__ import annotations

import copy
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskrcnn.data.coco import load_coco

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2, 0.5, 1e308, -1e9, 10**25, 2**63, float("nan"), float("inf"), -0.0, 40, 30]),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["", ".", "..", "/", "sub", "a.png", "\x00", "\ud800", "0P2", "person"]),
    st.lists(st.one_of(st.integers(-5, 50), st.floats(), st.none(), st.text(max_size=2)), max_size=9),
    st.lists(st.lists(st.floats(-100, 100), max_size=8), max_size=3),
    st.dictionaries(st.sampled_from(["size", "counts", "id", "name"]), st.one_of(st.integers(), st.none()), max_size=3),
    st.fixed_dictionaries({"size": st.just([30, 40]), "counts": st.one_of(st.text(max_size=6), st.just([1200]))}),
)


def _places(value, path=()):
    """The path of every value in a JSON document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _replace(document, path, value):
    if not path:
        return value
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return document


@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_value_in_any_place_is_judged(example, data):
    document = copy.deepcopy(example.document)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(_places(document))))
        document = _replace(document, path, copy.deepcopy(data.draw(ODD)))
    example.text = json.dumps(document)
    head = data.draw(st.sampled_from(["mask", "box", "keypoint", "mask_keypoint"]))
    report = example.examine(head)
    assert all(line.isprintable() for line in report.lines())
    assert bool(report.faults) == any(level == "fault" for level, _ in report.kinds)
    if report.faults:
        example.check_dropping(head)
    else:
        load_coco(example.path, example.folder, head=head)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_damage_to_the_text_is_judged(example, data):
    text = json.dumps(example.document).encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    example.text = text[:start] + data.draw(st.binary(max_size=6)) + text[end:]
    report = example.examine("mask")
    if not report.faults:
        load_coco(example.path, example.folder, head="mask")


def test_dropping_never_keeps_what_was_named(example):
    example.set(101, bbox=[1, 1, -1, 1])
    example.set(104, segmentation=[[1]])
    example.write()
    dataset, report = load_coco(example.path, example.folder, head="mask", faults="drop")
    assert [a.id for image in dataset.images for a in image.annotations] == [102, 103]
    assert {fault.where.split()[1] for fault in report.faults} == {"101", "104"}
