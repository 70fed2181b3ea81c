"""Strict filling: each kind of fault is named, and then nothing has changed."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from maskrcnn.errors import ProblemsError
from maskrcnn.weights.assign import assign, check_covered
from maskrcnn.weights.layout import dense
from maskrcnn.weights.rules import Rule


@pytest.fixture
def rules() -> list[Rule]:
    kernel, bias = keras.Variable(np.zeros((3, 2), "float32")), keras.Variable(np.zeros(2, "float32"))
    return [Rule("a.weight", kernel, dense), Rule("a.bias", bias)]


def state(**changed: object) -> dict[str, np.ndarray]:
    values = {"a.weight": np.arange(6.0).reshape(2, 3), "a.bias": np.ones(2)}
    return {**values, **{name.replace("__", "."): np.asarray(value) for name, value in changed.items()}}


def test_tensors_are_laid_out_and_become_float32(rules: list[Rule]) -> None:
    assign(rules, state())
    np.testing.assert_array_equal(rules[0].variable, np.arange(6.0).reshape(2, 3).T)
    np.testing.assert_array_equal(rules[1].variable, np.ones(2))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"b__weight": [1.0]}, "1 tensors that the architecture does not have: b.weight"),
        ({"a__bias": [1.0]}, r"of the wrong shape: a.bias \(1,\) for \(2,\)"),
        ({"a__weight": [1.0, 2.0]}, r"of the wrong shape: a.weight \(2,\) for \(3, 2\)"),
        ({"a__bias": [1.0, np.nan]}, "not finite: a.bias"),
        ({"a__bias": [1.0, 1e300]}, "not finite: a.bias"),
        ({"a__bias": ["x", "y"]}, "of the wrong shape: a.bias"),
        ({"a__bias": np.array([None, None])}, "of the wrong shape: a.bias"),
        ({"a__bias": np.array([1j, 1j])}, "of the wrong shape: a.bias"),
    ],
)
def test_faults_are_named_and_nothing_is_filled(rules: list[Rule], changed: dict, message: str) -> None:
    with pytest.raises(ProblemsError, match=message):
        assign(rules, state(**changed))
    for rule in rules:
        np.testing.assert_array_equal(rule.variable, 0)


def test_missing_and_broken_tensors_are_reported_together(rules: list[Rule]) -> None:
    with pytest.raises(ProblemsError) as caught:
        assign(rules, {"a.weight": np.full((2, 3), np.inf)})
    assert [p.what for p in caught.value.problems] == [
        "1 tensors missing: a.bias",
        "1 tensors with values that are not finite: a.weight",
    ]


def test_long_lists_are_cut_and_counted(rules: list[Rule]) -> None:
    with pytest.raises(ProblemsError, match=r"12 tensors that .* and 2 more"):
        assign(rules, state(**{f"x{i}": [0.0] for i in range(12)}))


def test_a_variable_without_a_rule_is_our_own_bug(rules: list[Rule]) -> None:
    check_covered(rules, [rule.variable for rule in rules])
    with pytest.raises(AssertionError):
        check_covered(rules, [keras.Variable(np.zeros(1))])
