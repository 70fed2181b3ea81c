"""Strict filling of variables: every tensor is used, every variable is filled, or nothing is changed.

Skipped mismatches are the classic way to a detector whose heads stay random (PAPER §6 row 44).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskrcnn.errors import Problem, ProblemsError
from maskrcnn.weights.rules import Rule

MAX_NAMES = 10
"""Names that a message lists in full; the rest is counted."""


class Consumable(dict[str, np.ndarray]):
    """Tensors that nobody needs afterwards."""


@dataclass(frozen=True)
class Assignment:
    """What became of the tensors of a source; each a name, `mismatched` with both shapes."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()


def assign(rules: Sequence[Rule], state: Mapping[str, np.ndarray], *, strict: bool = True) -> Assignment:
    """Fill the variables of all rules, in float32.

    Args:
        state: a dict that loses each tensor once it is used if it is a `Consumable`, so that memory holds a large
            model once and not twice.
        strict: False leaves variables as they are whose tensor is missing or of another shape, and other tensors out.

    Raises:
        ProblemsError: one line for each kind of fault, with the names: values that are not finite and, if strict,
            tensors that are missing, that no rule uses, or of the wrong shape. The variables are then untouched.
    """
    # Everything is converted twice, first to judge it: keeping the results would hold a large model three times.
    filled, wrong, broken = [], [], []
    for rule in rules:
        if rule.source not in state:
            continue
        values = convert(rule, state[rule.source])
        if values is None:
            wrong.append(f"{rule.source} {tuple(state[rule.source].shape)} for {tuple(rule.variable.shape)}")
        elif not np.isfinite(values).all():
            broken.append(rule.source)
        else:
            filled.append(rule)
    wanted = {rule.source for rule in rules}
    missing = [rule.source for rule in rules if rule.source not in state]
    unused = sorted(set(state) - wanted)
    problems = _listed("with values that are not finite", broken)
    if strict:
        names = _listed("missing", missing) + _listed("that the architecture does not have", unused)
        problems = names + _listed("of the wrong shape", wrong) + problems
    if problems:
        raise ProblemsError(problems)
    for rule in filled:
        rule.variable.assign(convert(rule, state[rule.source]))
        if isinstance(state, Consumable):
            del state[rule.source]
    return Assignment(tuple(rule.source for rule in filled), tuple(missing), tuple(unused), tuple(wrong))


def check_finite(state: Mapping[str, np.ndarray]) -> None:
    """Refuses tensors that hold NaN or infinity, before a model is built for them.

    Raises:
        ProblemsError: names them.
    """
    broken = [name for name, values in state.items() if values.dtype.kind == "f" and not np.isfinite(values).all()]
    problems = _listed("with values that are not finite", broken)
    if problems:
        raise ProblemsError(problems)


def check_covered(rules: Sequence[Rule], variables: Sequence[Any]) -> None:
    """A name map that forgets a variable of the model is our own bug."""
    known = {id(rule.variable) for rule in rules}
    forgotten = [variable.path for variable in variables if id(variable) not in known]
    if forgotten:
        raise AssertionError(f"no rule fills {forgotten}")


def convert(rule: Rule, values: np.ndarray) -> np.ndarray | None:
    """The tensor in the variable's layout and float32; None where it does not fit."""
    if values.dtype.kind not in "fiu":
        return None
    try:
        converted = rule.layout(values)
    except (ValueError, IndexError):  # the layout expects another number of axes or another size
        return None
    if tuple(converted.shape) != tuple(rule.variable.shape):
        return None
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        return np.asarray(converted, dtype="float32")


def _listed(what: str, names: Collection[str]) -> list[Problem]:
    if not names:
        return []
    shown = ", ".join(list(names)[:MAX_NAMES])
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return [Problem("weights", f"{len(names)} tensors {what}: {shown}{more}")]
