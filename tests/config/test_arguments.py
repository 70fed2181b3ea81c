from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.config.arguments import quote, split_pairs, take_flags
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
