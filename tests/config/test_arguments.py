from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.config.arguments import quote, read_numbers, split_pairs, take_flags
from maskrcnn.config.ranges import Range
from maskrcnn.errors import UsageError


@settings(deadline=None)
@given(st.text(st.characters(blacklist_characters="\x00$", blacklist_categories=["Cs"]), min_size=1))
def test_quoted_text_is_read_back_as_it_was(text):
    assert OverridesParser.create().parse_override(f"key={quote(text)}").value() == text


def test_own_keys_are_split_at_the_first_equals_sign():
    pairs, rest = split_pairs(["run=a=b, (ü)", "seed=3", "images"], ["run", "images"])
    assert pairs == {"run": "a=b, (ü)"}
    assert rest == ["seed=3", "images"]


@pytest.mark.parametrize("arguments", [["run=a", "run=b"], ["run="]])
def test_a_key_given_twice_or_without_value_is_wrong_usage(arguments):
    with pytest.raises(UsageError, match="run"):
        split_pairs(arguments, ["run"])


def test_unknown_flags_are_wrong_usage():
    assert take_flags(["-h", "a"], {"-h": "help"}) == ({"help"}, ["a"])
    with pytest.raises(UsageError, match="did you mean --help"):
        take_flags(["--hepl"], {"--help": "help"})


@pytest.mark.parametrize(("text", "numbers"), [("0.5,2", [0.5, 2.0]), ("[1.5]", [1.5]), ("[]", [])])
def test_a_list_of_numbers_is_read_with_and_without_brackets(text, numbers):
    assert read_numbers({"scales": text}, "scales", Range(0.1, 10)) == numbers
    assert read_numbers({}, "scales", Range(0.1, 10)) == []


@pytest.mark.parametrize(
    ("text", "words"), [("0.5,x", "not a list of numbers"), ("0.5,99", "99 is not from 0.1 to 10")]
)
def test_a_list_with_a_wrong_number_is_wrong_usage(text, words):
    with pytest.raises(UsageError, match=words):
        read_numbers({"scales": text}, "scales", Range(0.1, 10))
