"""A detector as one `.keras` file: weights, settings, conventions, categories, joints and image size.

Loading builds registered classes of this package and nothing else: a file that names another class, however deep in
its configuration, is refused before Keras sees it, and Keras' safe mode stays on.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from maskrcnn.archives import RefusedFileError, open_h5, open_zip
from maskrcnn.errors import UserError

SUFFIX = ".keras"
CONFIG_LIMIT_BYTES = 64 * 2**20
_DETECTOR = "maskrcnn>Detector"
_WEIGHTS = "model.weights.h5"
_MEMBERS = frozenset({"metadata.json", "config.json", _WEIGHTS})
_HINT = "give a .keras file that this program has saved"


def save_detector(detector: keras.Model, path: Path) -> None:
    """Writes the detector to `path` (ends in `.keras`), whole or not at all.

    Raises:
        UserError: another suffix, or the folder cannot be written to.
    """
    if path.suffix != SUFFIX:
        raise UserError(f"a model file ends in {SUFFIX}", str(path))
    partial = path.with_name(f".{path.stem}.{os.getpid()}{SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        detector.save(partial)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"model file cannot be written ({error.strerror or error})", str(path)) from None
    finally:
        partial.unlink(missing_ok=True)


def load_detector(path: Path) -> Any:
    """The detector of a `.keras` file, for inference (its optimizer is not restored).

    Raises:
        UserError: missing, no model file, cut off, damaged, or not one of this program's detectors.
    """
    config = read_config(path)
    _check_classes(config, str(path))
    # Imported late: an unreadable file is refused before the layers are.
    import maskrcnn.models.detector  # noqa: F401  (registers the classes)

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"model file does not fit this version ({reason[0][:200]})", str(path)) from error


def read_config(path: Path) -> dict[str, Any]:
    """The architecture part of a `.keras` file as plain data, after checking that the file is whole.

    Raises:
        UserError: missing, no model file, cut off or damaged.
    """
    where = str(path)
    if not path.exists():
        raise UserError("model file is missing", where, _HINT)
    if not path.is_file():
        raise UserError("model file expected, found a folder", where, _HINT)
    _check_beginning(path)
    try:
        with path.open("rb") as file, open_zip(file) as archive:
            _check_kind(archive, where)
            damaged = archive.testzip()
            if damaged is not None:
                raise UserError(f"model file is damaged ({damaged})", where, "copy or download it again")
            config = _read_json(archive, where)
            _check_weights(archive)
            return config
    except RefusedFileError as error:
        raise UserError(f"model file refused: {error.what}", where, error.hint or _HINT) from None
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"model file is cut off or damaged ({error})", where, "copy or download it again") from None


def _check_kind(archive: zipfile.ZipFile, where: str) -> None:
    """A `.keras` file with nothing but what `save_detector` writes: Keras would unpack assets to disk."""
    if "config.json" not in archive.namelist() or _WEIGHTS not in archive.namelist():
        raise UserError("a zip archive, but not a .keras file", where, _HINT)
    for name in archive.namelist():
        if name not in _MEMBERS:
            raise RefusedFileError(f"it holds {name[:80]!r}, which no model of this program has")


def _check_weights(archive: zipfile.ZipFile) -> None:
    """The weights' own file must not lead to other files, nor declare absurd sizes."""
    with open_h5(io.BytesIO(archive.read(_WEIGHTS))):
        pass


def _check_beginning(path: Path) -> None:
    """Names what a file is that cannot be a model: empty, a web page, anything but a zip archive."""
    with path.open("rb") as file:
        start = file.read(512)
    where = str(path)
    if not start:
        raise UserError("model file is empty", where, _HINT)
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise UserError("this is a web page, not a model file", where, "download the file itself")
    if not start.startswith(b"PK"):
        raise UserError("not a .keras file", where, _HINT)


def _read_json(archive: zipfile.ZipFile, where: str) -> dict[str, Any]:
    if archive.getinfo("config.json").file_size > CONFIG_LIMIT_BYTES:
        raise UserError("model file with an absurdly large configuration", where, _HINT)
    try:
        config = json.loads(archive.read("config.json"))
    except (ValueError, RecursionError):
        raise UserError("model file with a configuration that cannot be read", where, _HINT) from None
    if not isinstance(config, dict):
        raise UserError("model file with a configuration that cannot be read", where, _HINT)
    return config


def _check_classes(config: dict[str, Any], where: str) -> None:
    """Refuses a file of another program's model, and one that hides a class inside ours."""
    if config.get("registered_name") != _DETECTOR:
        raise UserError(f"a Keras model of class {config.get('class_name')!r}, not a detector of ours", where, _HINT)
    for nested in _class_names(config.get("config")):
        raise UserError(f"model file names the class {nested!r} inside the detector; not loaded", where, _HINT)


def _class_names(value: Any) -> Iterator[str]:
    """Names of serialized Keras objects anywhere in plain data."""
    if isinstance(value, dict):
        if "class_name" in value and ("config" in value or "module" in value):
            yield str(value["class_name"])
        for part in value.values():
            yield from _class_names(part)
    elif isinstance(value, list):
        for part in value:
            yield from _class_names(part)
