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
    filled, wrong, broken = [], [], []
    for rule in (rule for rule in rules if rule.source in state):
        values = state[rule.source]
        if not fits(rule, values):
            wrong.append(f"{rule.source} {tuple(values.shape)} for {tuple(rule.variable.shape)}")
        elif not is_finite(values):
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
    last = {rule.source: rule for rule in filled}
    for rule in filled:
        rule.variable.assign(np.asarray(rule.layout(state[rule.source]), dtype="float32"))
        if isinstance(state, Consumable) and last[rule.source] is rule:
            del state[rule.source]
    return Assignment(tuple(rule.source for rule in filled), tuple(missing), tuple(unused), tuple(wrong))


def check_finite(state: Mapping[str, np.ndarray]) -> None:
    """Refuses tensors that hold NaN or infinity, before a model is built for them.

    Raises:
        ProblemsError: names them.
    """
    broken = [name for name, values in state.items() if not is_finite(values)]
    problems = _listed("with values that are not finite", broken)
    if problems:
        raise ProblemsError(problems)


def check_covered(rules: Sequence[Rule], variables: Sequence[Any]) -> None:
    """A name map that forgets a variable of the model is our own bug."""
    known = {id(rule.variable) for rule in rules}
    forgotten = [variable.path for variable in variables if id(variable) not in known]
    if forgotten:
        raise AssertionError(f"no rule fills {forgotten}")


def fits(rule: Rule, values: np.ndarray) -> bool:
    """Whether the tensor holds numbers and has the variable's shape once it is laid out."""
    if values.dtype.kind not in "fiu":
        return False
    try:
        # Tried on single bytes: a large tensor is not copied for a question about shapes.
        found = rule.layout(np.zeros(values.shape, np.int8)).shape
    except (ValueError, IndexError):  # the layout expects another number of axes or another size
        return False
    return tuple(found) == tuple(rule.variable.shape)


def is_finite(values: np.ndarray) -> bool:
    """Whether all values are finite as float32; what it cannot hold counts as infinite."""
    if values.dtype.kind != "f":
        return True
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.asarray(values, dtype="float32")).all())


def _listed(what: str, names: Collection[str]) -> list[Problem]:
    if not names:
        return []
    shown = ", ".join(list(names)[:MAX_NAMES])
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return [Problem("weights", f"{len(names)} tensors {what}: {shown}{more}")]
