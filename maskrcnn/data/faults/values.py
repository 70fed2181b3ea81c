"""Values out of a JSON file, read strictly: what is a number, an id, a name, and how a value is shown in a message."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class UnfitError(ValueError):
    """A value that cannot be used; the message continues «annotation 7: »."""


class RepeatedKeys(dict):  # type: ignore[type-arg]
    """A JSON object in which a key stands twice: the parser keeps the last value, what was meant is unknown."""

    repeated: tuple[str, ...] = ()


def whole(value: Any) -> int | None:
    """The int64 that `value` is, 3.0 included; None for everything else (true, "3", 2.5, null)."""
    if type(value) is int:
        return value if -(2**63) <= value < 2**63 else None
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return None


def finite(value: Any) -> float | None:
    """The finite float that `value` is; None for everything else (true, "3", NaN, null)."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is int:
        return float(value) if abs(value) < 2**1000 else None
    return None


def numbers(value: Any, name: str) -> np.ndarray:
    """A JSON list of finite numbers as float64 [n]. Raises UnfitError for anything else; empty lists pass."""
    if not isinstance(value, list):
        raise UnfitError(f"{name} is {show(value)}, expected a list of numbers")
    if not set(map(type, value)) <= {int, float}:
        wrong = next(item for item in value if type(item) not in (int, float))
        raise UnfitError(f"{name} holds {show(wrong)}, expected numbers only")
    try:
        array = np.array(value, dtype=np.float64)
    except OverflowError as error:
        raise UnfitError(f"{name} holds a number of absurd size") from error
    if not np.isfinite(array).all():
        raise UnfitError(f"{name} holds {show(next(item for item in value if not math.isfinite(item)))}")
    return array


def is_name(value: Any) -> bool:
    """Whether `value` is a text that says something and can be written as UTF-8 (half a surrogate pair cannot)."""
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def show(value: Any) -> str:
    """A value on one short line for a message: control characters escaped, long values cut."""
    if isinstance(value, str):
        text = repr(value[:200])
    elif isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    elif isinstance(value, int):
        text = str(value) if abs(value) < 10**30 else f"a number of {value.bit_length() // 3.32:.0f} digits"
    elif isinstance(value, float):
        text = f"{value:g}" if math.isfinite(value) else ("NaN" if value != value else "an infinite number")
    elif isinstance(value, list):
        text = f"a list of {len(value)}"
    elif isinstance(value, dict):
        text = "an object"
    else:
        text = type(value).__name__
    return text if len(text) <= 120 else text[:117] + "…"


def name_file(file_name: str) -> str:
    """A file name as it can be printed on one line; quoted only where that is needed."""
    if file_name and file_name.isprintable() and file_name == file_name.strip() and "  " not in file_name:
        return file_name if len(file_name) <= 300 else file_name[:297] + "…"
    return show(file_name)
