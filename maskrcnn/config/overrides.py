"""Judges the overrides of a command line by the schema: every unknown key, option and type at once, in plain words.

Works on parsed overrides (`maskrcnn.config.compose` parses them with Hydra) and knows nothing of Hydra itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maskrcnn.config.groups import GROUPS, options
from maskrcnn.config.keys import accepts, describe, is_text, leaf_types, nearest_key, sections
from maskrcnn.config.names import known, nearest
from maskrcnn.errors import Problem


@dataclass(frozen=True)
class Override:
    """One parsed argument: `key=values[0]`, or several values in a sweep (none where Hydra makes them later)."""

    text: str
    """As typed, such as `+optimizer.ema=0.99`."""
    key: str
    sign: str
    """"" | + | ++ | ~."""
    values: tuple[Any, ...]
    sweep: bool = False


Options = Callable[[str], Sequence[str]]
"""The options of a group of Hydra's own, such as `hydra/launcher`."""


def find_problems(overrides: Sequence[Override], hydra_options: Options, *, multirun: bool) -> list[Problem]:
    """All that is wrong with the overrides, in their order; nothing is composed for it."""
    problems = [problem for override in overrides for problem in _judge(override, hydra_options, multirun)]
    return problems + _duplicates(overrides)


def completions(overrides: Sequence[Override]) -> list[str]:
    """Overrides that follow from those given.

    Typed epochs replace the schedule's steps, and the other way round; a detector's file comes with a large network.
    """
    given = {override.key: override.values for override in overrides}
    added = []
    for typed, other in (("schedule.epochs", "schedule.steps"), ("schedule.steps", "schedule.epochs")):
        if given.get(typed, (None,)) != (None,) and other not in given:
            added.append(f"{other}=null")
    if given.get("weights.file", (None,)) != (None,) and not given.keys() & {"backbone", "experiment", "from_run"}:
        # The file decides the architecture; the small network's values for sampling are not meant for it.
        added.append("backbone=resnet50_fpn")
    return added


def _judge(override: Override, hydra_options: Options, multirun: bool) -> Iterator[Problem]:
    key = override.key
    if override.sweep and not multirun:
        yield Problem(override.text, "several values for one run", _sweep_hint(override))
    elif key.startswith("hydra/"):
        yield from _judge_option(key, override, hydra_options(key))
    elif key.startswith("hydra.") or key == "hydra":
        return  # Hydra judges its own keys when it composes.
    elif "@" in key:
        yield Problem(override.text, "groups have their place and take no @", f"write {key.partition('@')[0]}=…")
    elif override.sign == "~":
        hint = "leave it out" if key in GROUPS or key in sections() else f"for none write {key}=null"
        yield Problem(override.text, "nothing can be removed from the configuration", hint)
    elif key in GROUPS:
        yield from _judge_sign(override)
        yield from _judge_option(key, override, options(key))
    else:
        yield from _judge_value(override)


def _sweep_hint(override: Override) -> str:
    key, _, value = override.text.partition("=")
    if key in leaf_types() and "list" in describe(leaf_types()[key]):
        return f"add -m for a sweep, or write a list: {key}=[{value}]"
    if is_text(leaf_types().get(key)):
        return f"add -m for a sweep, or quote the value: '{key}=\"{value}\"'"
    return "add -m for a sweep"


def _judge_option(group: str, override: Override, names: Sequence[str]) -> Iterator[Problem]:
    if not names:
        yield Problem(override.text, f"there is no group {group}", _hydra_hint(group))
        return
    for value in override.values:
        if value is None and group == "experiment":
            continue
        word = "null" if value is None else str(value)
        if value == "":
            yield Problem(override.text, "no value after the =", f"one of {known(names)}")
        elif isinstance(value, list | dict):
            yield Problem(override.text, f"{group} takes one option", f"one of {known(names)}")
        elif word not in names:
            yield Problem(override.text, f"{group} has no option {word!r}", _option_hint(group, word, names))


def _hydra_hint(group: str) -> str:
    near = nearest(group, ("hydra/launcher", "hydra/sweeper", "hydra/job_logging", "hydra/hydra_logging"))
    return f"did you mean {near}?" if near else "see --help for the groups"


def _option_hint(group: str, word: str, names: Sequence[str]) -> str:
    if group == "dataset" and "/" in word:
        return "for files write dataset=coco_json dataset.train.annotations=FILE dataset.train.images=FOLDER"
    near = nearest(word, names)
    return (f"did you mean {group}={near}? " if near else "") + f"known: {known(names)}"


def _judge_sign(override: Override) -> Iterator[Problem]:
    if override.sign in ("+", "++"):
        yield Problem(override.text, "the key exists already", f"write it without {override.sign}")


def _judge_value(override: Override) -> Iterator[Problem]:
    key = override.key
    base, hint = _typed_base(key)
    if hint is None and base not in sections():
        yield unknown_key(override.text, key)
        return
    if hint is Any and key != base:
        yield Problem(override.text, f"{base} is one value", f"write it whole: {base}={{{key[len(base) + 1 :]}: …}}")
        return
    yield from _judge_sign(override)
    for value in override.values:
        if value == "???" or value == "":
            yield from _judge_missing(override.text, key, value, hint)
        elif hint is None:
            yield from _judge_section(override.text, key, value)
        else:
            yield from judge_type(override.text, value, _element_type(key, base, hint))


def _judge_missing(text: str, key: str, value: str, hint: Any) -> Iterator[Problem]:
    kind = describe(hint) if hint is not None else "a section"
    nothing = f"{key}=null stands for none, " if hint is not None and accepts(None, hint) else ""
    what = "??? is no value" if value else "no value after the ="
    yield Problem(
        text, what, f"{nothing}expected {kind}" if hint is not None else f"{key} is a section: {key}.NAME=VALUE"
    )


def _typed_base(key: str) -> tuple[str, Any]:
    """The schema's key that `key` is, or lies in: elements of lists (`anchors.sizes.0`) and of free values."""
    types = leaf_types()
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        base = ".".join(parts[:end])
        hint = types.get(base)
        inside = parts[end:]
        if hint is not None and (not inside or hint is Any or all(part.isdigit() for part in inside)):
            return base, hint
    return key, None


def _element_type(key: str, base: str, hint: Any) -> Any:
    return hint if key == base else Any


def judge_type(text: str, value: Any, hint: Any) -> Iterator[Problem]:
    """A problem where `value` does not fit the type."""
    if not accepts(value, hint):
        advice = _list_advice(text, value, hint)
        yield Problem(text, f"{_show(value)} is not {describe(hint)}", advice)


def _list_advice(text: str, value: Any, hint: Any) -> str:
    """A bare word where a list is wanted is the commonest mistake."""
    wants_list = "list" in describe(hint)
    fits = wants_list and accepts([value], hint)
    return f"write {text.partition('=')[0]}=[{value}]" if fits else ""


def _show(value: Any) -> str:
    return {None: "null", True: "true", False: "false"}.get(value, repr(value)) if _is_plain(value) else repr(value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _judge_section(text: str, key: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        example = next(name for name in leaf_types() if name.startswith(key + "."))
        yield Problem(text, f"{key} is a section, not a value", f"set its keys, such as {example}=…")
        return
    for name, part in value.items():
        inner = f"{key}.{name}"
        yield from _judge_value(Override(f"{inner} in {text}", inner, "", (part,)))


def unknown_key(text: str, key: str) -> Problem:
    """The problem of a key that the schema does not have, with the nearest that it has."""
    near = nearest_key(key)
    hint = f"did you mean {near}?" if near else "see --cfg job for all keys"
    return Problem(text, f"there is no key {key!r}", hint)


def _duplicates(overrides: Sequence[Override]) -> list[Problem]:
    seen: dict[str, str] = {}
    problems = []
    for override in overrides:
        if override.key in seen:
            problems.append(
                Problem(override.text, f"{override.key} is given twice, also as {seen[override.key]!r}", "keep one")
            )
        seen.setdefault(override.key, override.text)
    return problems
