"""Settings of a source: unknown names and values of another kind are refused, the rest overlays the defaults."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn.errors import UserError
from maskrcnn.weights.options import overlay

DEFAULTS: dict[str, Any] = {"size": 800, "score": 0.05, "mean": (0.4, 0.5, 0.6), "eps": None}


def test_given_values_overlay_the_defaults_and_none_keeps_them() -> None:
    found = overlay({"size": 640.0, "mean": [1, 2, 3], "eps": 0.0, "score": None}, DEFAULTS, "x")
    assert found == {"size": 640, "score": 0.05, "mean": (1.0, 2.0, 3.0), "eps": 0.0}


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({"sizes": 3}, "sizes: not a setting that an imported x model has; did you mean size"),
        ({"size": "big"}, "size: 'big' is not a number"),
        ({"size": 2.5}, "size: 2.5 is not a whole number"),
        ({"score": True}, "score: True is not a number"),
        ({"score": float("nan")}, "score: nan is not a number"),
        ({"score": -1}, "score: -1 is not a number"),
        ({"mean": 3}, "mean: 3 is not a list of 3 numbers"),
        ({"mean": [1, 2]}, "is not a list of 3 numbers"),
    ],
)
def test_other_names_and_kinds_are_refused(given: dict[str, Any], answer: str) -> None:
    with pytest.raises(UserError, match=answer.replace("[", r"\[")):
        overlay(given, DEFAULTS, "x")
