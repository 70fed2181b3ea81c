"""The keys of the typed configuration: their names, their types, and which of them a misspelt key may have meant."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from maskrcnn.config.names import nearest
from maskrcnn.config.schema import Config

ALIASES = {
    "lr": "optimizer.learning_rate",
    "wd": "optimizer.weight_decay",
    "clip": "optimizer.global_clipnorm",
    "iterations": "schedule.steps",
    "max_steps": "schedule.steps",
    "keypoints": "num_keypoints",
    "kp": "num_keypoints",
    "model": "backbone",
    "network": "backbone.network",
    "data": "dataset",
    "data_dir": "dataset.root",
    "config": "experiment",
    "recipe": "experiment",
    "optim": "optimizer",
    "loss": "box_head.loss_weight",
}
"""What people type who know other programs."""

PATHS = {
    "dataset.root": "folder",
    "dataset.train.annotations": "file",
    "dataset.train.images": "folder",
    "dataset.val.annotations": "file",
    "dataset.val.images": "folder",
    "dataset.test.annotations": "file",
    "dataset.test.images": "folder",
    "dataset.write_subset": "new folder",
    "weights.backbone": "file",
    "weights.file": "file",
    "from_run": "run",
}
"""Keys whose values are paths (`weights.backbone` may also be imagenet, `from_run` a run's id)."""

_TRUTH = ("yes", "y", "on", "true", "no", "n", "off", "false")


@functools.cache
def leaf_types() -> Mapping[str, Any]:
    """The type of each value, by full key such as `optimizer.learning_rate`."""
    return types.MappingProxyType(dict(_walk(Config, "")))


@functools.cache
def sections() -> frozenset[str]:
    """The keys that hold other keys, such as `optimizer` or `dataset.train`."""
    return frozenset(name.rpartition(".")[0] for name in leaf_types() if "." in name) | {"dataset"}


def _walk(kind: type, prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, hint in get_type_hints(kind).items():
        found += _walk(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else [(prefix + name, hint)]  # type: ignore[arg-type]
    return found


def flatten(config: object, prefix: str = "") -> dict[str, Any]:
    """The values of a (nested) settings dataclass by full key; lists and dicts are values."""
    values: dict[str, Any] = {}
    for item in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            values |= flatten(value, f"{prefix}{item.name}.")
        else:
            values[prefix + item.name] = value
    return values


def nearest_key(key: str) -> str | None:
    """The full key that `key` most likely means: one that ends like it, an alias, or the most similar one."""
    names = [*leaf_types(), *sorted(sections())]
    section, _, last = key.rpartition(".")
    if not section:
        return ALIASES.get(key) or _by_ending(key, names) or _by_last_word(key, names)
    return _in_section(section, last, names) or nearest(key, names) or nearest_key(last)


def _by_ending(word: str, names: list[str]) -> str | None:
    endings = [name for name in names if name.endswith("." + word)]
    # The training's own keys before those of evaluation and data.
    return min(endings, key=lambda name: (not name.startswith("training."), name.count("."), name), default=None)


def _by_last_word(word: str, names: list[str]) -> str | None:
    """A whole key of about this length, else any key whose last part is like the word."""
    whole = nearest(word, names)
    if whole is not None and abs(len(whole) - len(word)) <= 2:
        return whole
    last = nearest(word, (name.rpartition(".")[2] for name in names))
    return (_by_ending(last, names) or last) if last else None


def _in_section(section: str, last: str, names: list[str]) -> str | None:
    """A key of the section that is meant, with a last part like `last`."""
    meant = section if section in sections() else nearest(section, sections())
    siblings = {name.rpartition(".")[2]: name for name in names if name.rpartition(".")[0] == meant}
    alias = ALIASES.get(last)
    if alias in siblings.values():
        return alias
    word = nearest(last, siblings)
    return siblings[word] if word else None


def describe(hint: Any) -> str:
    """A type in plain words: «a number», «a list of whole numbers or null»."""
    if get_origin(hint) in (Union, types.UnionType):
        parts = [describe(part) for part in get_args(hint)]
        return " or ".join(sorted(parts, key=lambda part: part == "null"))
    if get_origin(hint) is list:
        return f"a list of {_PLURALS.get(get_args(hint)[0], 'lists of numbers')}"
    return _SINGULARS.get(hint, "any value")


_SINGULARS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
}
_PLURALS: dict[Any, str] = {int: "whole numbers", float: "numbers", str: "names"}


def accepts(value: Any, hint: Any) -> bool:
    """Whether a parsed value of the command line (or of YAML) fits the type; `${…}` fits any."""
    if hint is Any or (isinstance(value, str) and "${" in value):
        return True
    if get_origin(hint) in (Union, types.UnionType):
        return any(accepts(value, part) for part in get_args(hint))
    if get_origin(hint) is list:
        return isinstance(value, list) and all(accepts(item, get_args(hint)[0]) for item in value)
    return _accepts_scalar(value, hint)


def _accepts_scalar(value: Any, hint: Any) -> bool:
    if hint is type(None):
        return value is None
    if hint is str:
        return isinstance(value, str | int | float)
    if hint is bool:
        return value in _TRUTH if isinstance(value, str) else isinstance(value, bool)
    if isinstance(value, str):
        return _is_number(value, hint)
    numbers = (int,) if hint is int else (int, float)
    return isinstance(value, numbers) and not isinstance(value, bool)


def _is_number(text: str, kind: type) -> bool:
    try:
        number = kind(text)
    except ValueError:
        return False
    return math.isfinite(number)


def is_text(hint: Any) -> bool:
    """Whether values of this type are plain text (or null)."""
    return hint is str or (get_origin(hint) in (Union, types.UnionType) and str in get_args(hint))
