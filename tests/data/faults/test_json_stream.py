"""Reading item by item gives what the standard library reads at once, wherever the text is cut into chunks."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskrcnn.data.faults import json_stream
from maskrcnn.data.faults.json_stream import VALUE, JsonError, JsonReader
from maskrcnn.data.faults.values import RepeatedKeys


def read(text):
    """The object that the items make up."""
    content = {}
    for key, index, item in JsonReader(io.BytesIO(text.encode())).items():
        if index == VALUE:
            content[key] = item if item != [] else []
        else:
            content[key].append(item)
    return content


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=6), st.just("\U0001f600é")
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text(max_size=4), VALUES, max_size=4),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_items_are_those_of_the_standard_library(monkeypatch, content, chunk, indent, ascii_only):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only)
    assert read(text) == json.loads(text)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "{]",
        "{}}",
        "{} {}",
        '{"a"}',
        '{"a":}',
        '{"a" 1}',
        '{"a": 1,}',
        '{"a": 1 "b": 2}',
        '{"a": [1,]}',
        '{"a": [,1]}',
        '{"a": [1 2]}',
        '{"a": [1}',
        '{"a": [1',
        '{"a": "text',
        '{"a": nul}',
        '{"a": -}',
        '{"a": 1.}',
        '{"a": 01}',
        '{"a": "\\x"}',
        '{"a": "\\u12"}',
        "{'a': 1}",
        '{"a": "line\nbreak"}',
        "{1: 2}",
        "{,}",
        "[]",
        "null",
    ],
)
def test_what_is_no_json_object_is_refused(monkeypatch, chunk, text):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    with pytest.raises(JsonError):
        read(text)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_errors_name_line_and_column(monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    text = '{"a": [1,\n 2,\n   oops' + " " * 50 + "]}"
    with pytest.raises(JsonError, match="line 3, column 4"):
        read(text)


@pytest.mark.parametrize("number", ["1.5", "1e+30", "-0.25E-3", "12345678901234567890", "-Infinity", "NaN"])
@pytest.mark.parametrize("chunk", range(1, 9))
def test_numbers_are_whole_wherever_they_are_cut(monkeypatch, number, chunk):
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    assert repr(read(f'{{"a": [{number}, {number}]}}')["a"]) == repr([json.loads(number)] * 2)


def test_repeated_keys_and_constants_are_noticed_once(monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK", 3)
    reader = JsonReader(io.BytesIO(b'{"a": [{"x": NaN, "x": 2}], "a": Infinity}'))
    items = list(reader.items())
    assert reader.keys == ["a", "a"]
    assert reader.constants == ["NaN", "Infinity"]
    assert isinstance(items[1][2], RepeatedKeys)
    assert items[1][2].repeated == ("x",)


def test_an_item_beyond_the_limit_is_refused_and_not_read(monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK", 64)
    monkeypatch.setattr(json_stream, "LARGEST_ITEM", 2**20)
    with pytest.raises(JsonError, match="more than 1 MiB"):
        read('{"a": [' + "[" + "0," * 2**20 + "0]]}")
