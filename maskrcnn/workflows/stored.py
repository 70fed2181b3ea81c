"""The configuration that made a run or a model file, as plain values: what `from_run=` and `evaluate` begin with."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from maskrcnn.config.stored import read_stored
from maskrcnn.errors import UserError
from maskrcnn.tracking.read import resolve_run


def stored_values(run: str, *, uri: str | None = None) -> dict[str, Any]:
    """The values of the configuration of `run`: an id, `runs:/ID`, a folder, a name, `last`, or a model file.

    Raises:
        UserError: there is no such run, or it keeps no configuration.
    """
    found = resolve_run(run, Path.cwd(), uri)
    if found.model_file is not None and not found.config.is_file():
        return _values_in_model(found.model_file)
    return read_stored(found.config)


def _values_in_model(file: Path) -> dict[str, Any]:
    """Reads the metadata out of a `.keras` archive without building the model."""
    try:
        with zipfile.ZipFile(file) as archive:
            description = json.loads(archive.read("config.json"))
        values = description["config"]["metadata"]["config"]
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        raise UserError("holds no configuration", str(file), "name the run's id or folder") from error
    if not isinstance(values, dict):
        raise UserError("holds no configuration", str(file), "name the run's id or folder")
    return values
