"""One argument of the command line, read by Hydra's grammar where it can be and quoted where it should.

The grammar refuses letters outside ASCII, unbalanced brackets and much else in plain values, and takes a comma for a
sweep: file names hold all of these. A value that can only be text is therefore quoted when it cannot be read as it is.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override as HydraOverride
from hydra.core.override_parser.types import OverrideType
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from maskrcnn.config.arguments import quote
from maskrcnn.config.groups import GROUPS, options
from maskrcnn.config.keys import PATHS, is_text, leaf_types, nearest_key, sections
from maskrcnn.config.overrides import Override
from maskrcnn.config.paths import IMAGENET
from maskrcnn.errors import Problem

MOST_VALUES = 1000
"""Values of one sweep that are looked at."""

_SIGNS = {OverrideType.CHANGE: "", OverrideType.ADD: "+", OverrideType.FORCE_ADD: "++", OverrideType.DEL: "~"}


@dataclass(frozen=True)
class Argument:
    """An override as Hydra wants it (`text`), what it says, and the texts of the single values of a sweep."""

    text: str
    override: Override
    alternatives: tuple[str, ...]


def parse(argument: str, *, multirun: bool) -> Argument | Problem:
    """The argument, read; or what is wrong with it."""
    argument = _short_form(argument)
    left, equals, value = argument.partition("=")
    key = left.lstrip("+~")
    if not equals and not argument.startswith("~"):
        return _no_equals(argument)
    if not re.fullmatch(r"[A-Za-z_][\w/-]*(\.\w+)*(@[\w.:]+)?", key, re.ASCII):
        return Problem(argument, f"{key!r} is no key", _key_hint(key, value))
    parsed = _read(argument)
    if key in PATHS and not multirun and (parsed is None or parsed.is_sweep_override()):
        return _quoted(left, key, value)
    if parsed is None:
        return _unreadable(argument, left, key, value)
    return _from_hydra(argument, key, parsed)


def _short_form(argument: str) -> str:
    """`weights=FILE` is `weights.file=FILE`, although `weights` is a section."""
    key, equals, value = argument.partition("=")
    short = key == "weights" and value and value != IMAGENET and not value.startswith("{")
    return f"weights.file={value}" if equals and short else argument


def _from_hydra(argument: str, key: str, parsed: HydraOverride) -> Argument:
    package = f"@{parsed.package}" if parsed.package else ""
    sign = _SIGNS[parsed.type]
    name = parsed.key_or_group + package
    if parsed.is_sweep_override():
        texts = _sweep_texts(parsed)
        singles = [_read(f"{sign}{name}={text}") for text in texts]
        values = tuple(single.value() for single in singles if single is not None)
        alternatives = tuple(f"{sign}{name}={_render(key, value, text)}" for value, text in zip(values, texts))
        joined = f"{sign}{name}={','.join(a.partition('=')[2] for a in alternatives)}"
        text = joined if _has_nested_numbers(key) and alternatives else argument
        return Argument(text, Override(argument, name, sign, values, sweep=True), alternatives)
    value = None if parsed.type is OverrideType.DEL else parsed.value()
    text = f"{sign}{name}={_render(key, value, '')}" if _has_nested_numbers(key) and _is_nested(value) else argument
    return Argument(text, Override(argument, name, sign, (value,)), (text,))


def _sweep_texts(parsed: HydraOverride) -> list[str]:
    if not (parsed.is_choice_sweep() or parsed.is_range_sweep()) or parsed.config_loader is not None:
        return []
    try:
        return list(itertools.islice(parsed.sweep_string_iterator(), MOST_VALUES))
    except HydraException:
        return []  # A glob: only Hydra knows the options.


def _has_nested_numbers(key: str) -> bool:
    return leaf_types().get(key) == list[list[float]]


def _is_nested(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, list) and all(isinstance(x, int | float) and not isinstance(x, bool) for x in row)
        for row in value
    )


def _render(key: str, value: Any, text: str) -> str:
    """OmegaConf takes no whole numbers for numbers in lists of lists: [[16]] becomes [[16.0]]."""
    if _has_nested_numbers(key) and _is_nested(value):
        return str([[float(x) for x in row] for row in value]).replace(" ", "")
    return text


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _read(argument: str) -> HydraOverride | None:
    try:
        return _parser().parse_override(argument)
    except (HydraException, OmegaConfBaseException, RecursionError):
        return None


def _quoted(left: str, key: str, value: str) -> Argument:
    text = f"{left}={quote(value)}"
    sign = left[: len(left) - len(key)]
    return Argument(text, Override(f"{left}={value}", key, sign, (value,)), (text,))


def _unreadable(argument: str, left: str, key: str, value: str) -> Argument | Problem:
    """What Hydra cannot read: text is quoted, an option is judged as it stands, the rest is a mistake."""
    if is_text(leaf_types().get(key)) or key in GROUPS:
        return _quoted(left, key, value)
    if key not in leaf_types() and key not in sections() and not key.startswith("hydra"):
        near = nearest_key(key)
        return Problem(argument, f"there is no key {key!r}", f"did you mean {near}?" if near else "see --cfg job")
    if value.startswith("="):
        return Problem(argument, "one = is enough", f"write {left}={value.lstrip('=')}")
    return Problem(
        argument,
        f"the value {value!r} cannot be read",
        f"check brackets and quotes, or quote it: '{left}={quote(value)}'",
    )


def _key_hint(key: str, value: str) -> str:
    """For keys with blanks, dashes, indices in brackets or letters outside ASCII."""
    if not key.strip():
        return "write KEY=VALUE"
    plain = re.sub(r"\[(\d+)\]", r".\1", key.strip()).replace("-", "_").replace(":", "").strip(".")
    base = re.sub(r"(\.\d+)+$", "", plain)
    if base in leaf_types() and base != plain and "list" not in str(leaf_types()[base]):
        plain = base
    if base in leaf_types() or plain in GROUPS:
        return f"write {plain}={value}"
    near = nearest_key(plain)
    return f"did you mean {near}?" if near else "write KEY=VALUE"


def _no_equals(argument: str) -> Problem:
    """A word alone: a key without its value, an option without its group, or a colon for the equals sign."""
    what = "is not KEY=VALUE"
    key, colon, value = argument.partition(":")
    if colon and (key in leaf_types() or key in GROUPS):
        return Problem(argument, what, f"write {key}={value}")
    if argument in leaf_types() or argument in GROUPS or argument in sections():
        return Problem(argument, what, f"write {argument}=VALUE")
    for group in GROUPS:
        if argument in options(group):
            return Problem(argument, what, f"did you mean {group}={argument}?")
    near = nearest_key(argument) if argument else None
    return Problem(argument or "''", what, f"did you mean {near}=VALUE?" if near else "see --help")
