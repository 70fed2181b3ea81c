"""A run's configuration as a file: written by the run, read back by `from_run=…`, `evaluate` and `predict`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from maskrcnn.config.keys import leaf_types, nearest_key
from maskrcnn.config.schema import Config
from maskrcnn.errors import UserError

FILE_NAME = "config.yaml"


def to_yaml(config: Config) -> str:
    """The whole configuration, every default included, in the order of the schema."""
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True)


def read_stored(path: Path) -> dict[str, Any]:
    """The values of a stored configuration: `path` is the file or the run's folder.

    Raises:
        UserError: there is none, or it is not a configuration of this program.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"no stored configuration can be read ({reason})", str(file)) from error
    if not isinstance(values, dict) or "backbone" not in values or "dataset" not in values:
        raise UserError("is not the configuration of a run", str(file), f"name a run's folder or its {FILE_NAME}")
    return values


def known_values(stored: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A copy with whole numbers made floats where the schema's lists of lists hold floats.

    Raises:
        UserError: a key that this version does not know, with the nearest that it does.
    """
    values: dict[str, Any] = {}
    for name, value in stored.items():
        key = f"{prefix}{name}"
        if key in leaf_types():
            values[name] = _as_floats(value) if leaf_types()[key] == list[list[float]] else value
        elif isinstance(value, Mapping) and any(known.startswith(key + ".") for known in leaf_types()):
            values[name] = known_values(value, key + ".")
        else:
            near = nearest_key(key)
            hint = f"it may be called {near} now" if near else ""
            raise UserError("the stored configuration has a key that this version does not know", key, hint)
    return values


def _as_floats(rows: Any) -> Any:
    return [[float(x) for x in row] for row in rows]
