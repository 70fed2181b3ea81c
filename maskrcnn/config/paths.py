"""Paths in the configuration: made absolute once, where the user typed them."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

from maskrcnn.config.keys import PATHS
from maskrcnn.config.schema import Config

IMAGENET = "imagenet"
"""The value of `weights.backbone` that is no path."""


def absolute_paths(config: Config, base: Path) -> Config:
    """A copy whose paths are absolute: relative ones start at `base`, `~` is the home folder."""
    changed = copy.deepcopy(config)
    for key in PATHS:
        owner, name = owner_of(changed, key)
        value = getattr(owner, name)
        if value and not _is_name(key, value, base):
            setattr(owner, name, absolute(value, base))
    return changed


def absolute(path: str, base: Path) -> str:
    """`path` made absolute from `base`; links stay as they are."""
    return os.path.normpath(base / Path(path).expanduser())


def _is_name(key: str, value: str, base: Path) -> bool:
    """Values that only look like paths: the name of weights, the id of a run."""
    if key == "from_run":
        return not os.path.exists(absolute(value, base))
    return key == "weights.backbone" and value == IMAGENET


def owner_of(config: Config, key: str) -> tuple[Any, str]:
    """The part of the configuration that holds `key`, and its name there."""
    *sections, name = key.split(".")
    owner: Any = config
    for section in sections:
        owner = getattr(owner, section)
    return owner, name
