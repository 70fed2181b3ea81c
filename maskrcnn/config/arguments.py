"""What a command's arguments are before Hydra reads them: flags, `key=value` of the command itself, quoted values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from maskrcnn.config.groups import GROUPS
from maskrcnn.config.keys import leaf_types, nearest_key
from maskrcnn.config.names import known, nearest
from maskrcnn.config.ranges import Range
from maskrcnn.errors import UsageError

HELP_FLAGS = {"-h": "help", "--help": "help"}


def quote(value: str) -> str:
    """The value in double quotes, as Hydra's grammar reads them back: backslashes count only before a quote."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f'"{escaped}{escaped[len(escaped) - trailing :]}"' if trailing else f'"{escaped}"'


def split_pairs(arguments: Sequence[str], keys: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Takes the arguments `key=value` of the given keys off, at the first `=`, whatever the value holds.

    Paths may hold letters, commas and brackets that Hydra's grammar refuses, so a command takes its own paths first.

    Returns:
        The values by key, and all other arguments in their order.

    Raises:
        UsageError: a key is given twice or without a value.
    """
    pairs: dict[str, str] = {}
    rest = []
    own = set(keys)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in own:
            rest.append(argument)
            continue
        if key in pairs:
            raise UsageError(f"{key} is given twice, also as {pairs[key]!r}", argument, "keep one")
        if not value:
            raise UsageError("no value after the =", argument, f"write {key}=VALUE")
        pairs[key] = value
    return pairs, rest


def override_key(text: str) -> str:
    """The key of an override such as `+optimizer.ema=0.99`."""
    return text.partition("=")[0].lstrip("+~")


def typed_keys(overrides: Iterable[str]) -> frozenset[str]:
    """The keys of overrides, as typed."""
    return frozenset(map(override_key, overrides))


def refuse_rest(rest: Sequence[str], keys: Iterable[str]) -> None:
    """For commands that have keys of their own alone: any other argument is a mistake.

    Raises:
        UsageError: names the first such argument and the nearest key.
    """
    names = list(keys)
    for argument in rest:
        key, equals, _ = argument.partition("=")
        near = nearest(key.lstrip("-+~"), names)
        hint = (f"did you mean {near}=…? " if near else "") + f"keys: {known(names)}"
        raise UsageError(f"there is no key {key!r}" if equals else "is not KEY=VALUE", argument or "''", hint)


def take_flags(
    arguments: Sequence[str], flags: Mapping[str, str], keys: Sequence[str] = ()
) -> tuple[set[str], list[str]]:
    """Takes flags without values off: `flags` maps every spelling to the flag's name; `keys` are the command's own.

    Raises:
        UsageError: an argument that begins with `-` and is none of them.
    """
    found = set()
    rest = []
    for argument in arguments:
        if argument in flags:
            found.add(flags[argument])
        elif argument.startswith("-"):
            raise unknown_flag(argument, flags, keys)
        else:
            rest.append(argument)
    return found, rest


def unknown_flag(argument: str, flags: Iterable[str], keys: Sequence[str] = ()) -> UsageError:
    """The error for an option that does not exist; people who know other programs write `--key value`."""
    name, equals, value = argument.partition("=")
    near = nearest(name, flags)
    key = name.lstrip("-").replace("-", "_")
    meant = nearest(key, keys) if keys else key if key in GROUPS or key in leaf_types() else nearest_key(key)
    if near:
        hint = f"did you mean {near}?"
    elif meant:
        hint = f"settings have no dashes: write {meant}={value if equals else 'VALUE'}"
    else:
        hint = "settings are written key=value, without dashes"
    return UsageError("there is no such option", argument, hint)


def read_number(pairs: Mapping[str, str], key: str, default: float, *, low: float, high: float) -> float:
    """The number of `key`, or the default.

    Raises:
        UsageError: not a number within `low` and `high`.
    """
    text = pairs.get(key)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a number", f"{key}={text}", f"from {low:g} to {high:g}") from None
    if not low <= number <= high:
        raise UsageError(f"is not from {low:g} to {high:g}", f"{key}={text}")
    return number


def read_numbers(pairs: Mapping[str, str], key: str, allowed: Range) -> list[float]:
    """The numbers of `key`, parted by commas, with or without brackets; none without it.

    Raises:
        UsageError: one of them is no number, or out of range.
    """
    text = pairs.get(key, "")
    parts = [part.strip() for part in text.strip("[]() ").split(",") if part.strip()]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        raise UsageError("is not a list of numbers", f"{key}={text}", f"write {key}=0.75,1.5") from None
    wrong = next((number for number in numbers if not allowed.holds(number)), None)
    if wrong is not None:
        raise UsageError(f"{wrong:g} is not {allowed}", f"{key}={text}")
    return numbers


def read_truth(pairs: Mapping[str, str], key: str) -> bool:
    """Whether `key` is true; absent means false.

    Raises:
        UsageError: neither true nor false.
    """
    text = pairs.get(key, "false")
    if text.lower() not in ("true", "false"):
        raise UsageError(f"{text!r} is not true or false", f"{key}={text}", f"write {key}=true")
    return text.lower() == "true"
