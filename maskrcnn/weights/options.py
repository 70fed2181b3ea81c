"""Settings of a source, in its own names, overlaid on its defaults; only what the source has, and of its kind."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from maskrcnn.errors import UserError


def overlay(given: Mapping[str, Any], defaults: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The defaults with the given values; None stands for the default.

    Raises:
        UserError: for a name that `defaults` does not have, and a value that is no number (or no list of as many).
    """
    options = dict(defaults)
    for name, value in given.items():
        if name not in defaults:
            near = min(defaults, key=lambda known: -_likeness(name, known))
            raise UserError(f"not a setting that an imported {model} model has", name, f"did you mean {near}?")
        if value is not None:
            options[name] = _checked(name, value, defaults[name])
    return options


def _likeness(name: str, known: str) -> float:
    return difflib.SequenceMatcher(None, name.lower(), known.lower()).ratio()


def _checked(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        if not isinstance(value, tuple | list) or len(value) != len(default) or not all(map(_is_number, value)):
            raise UserError(f"{value!r} is not a list of {len(default)} numbers", name, f"such as {list(default)}")
        return tuple(float(part) for part in value)
    if not _is_number(value):
        raise UserError(f"{value!r} is not a number", name)
    if isinstance(default, int) and value != int(value):
        raise UserError(f"{value!r} is not a whole number", name)
    return int(value) if isinstance(default, int) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
