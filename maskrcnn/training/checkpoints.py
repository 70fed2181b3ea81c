"""The whole state of a training in one file, so that a resumed run ends with the same bits as an uninterrupted one.

The model holds no random state and the reader's position is the step, so weights, optimizer and step are everything.
Keras' own weight files restore the optimizer only after it was built, and silently (FACTS 4.4); here every variable
is matched by its path and shape or refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from maskrcnn.errors import UserError


@dataclass
class Progress:
    """Where a training stands."""

    step: int = 0
    """Steps done."""
    evaluated: int = 0
    """Step of the last evaluation that was finished."""
    best_value: float | None = None
    best_step: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent so far, by kind."""


def save_checkpoint(path: Path, model: keras.Model, progress: Progress) -> None:
    """Write the state to `path` (.npz); a crash in between leaves the former file whole."""
    arrays = {f"v{i}": np.asarray(value) for i, (_, value) in enumerate(_state(model))}
    header = {"paths": [name for name, _ in _state(model)], "progress": asdict(progress)}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path, model: keras.Model) -> Progress:
    """Restore model and optimizer (which must be built) from `path`; where the training stood.

    Raises:
        UserError: if the file is damaged or of another model or optimizer.
    """
    model.optimizer.build(model.trainable_variables)
    header, values = _read(path)
    state = list(_state(model))
    names = [name for name, _ in state]
    if names != header["paths"] or any(tuple(v.shape) != a.shape for (_, v), a in zip(state, values)):
        raise UserError("holds another model or optimizer", str(path), "resume with the run's own configuration")
    for (_, variable), value in zip(state, values):
        variable.assign(value)
    return Progress(**header["progress"])


def read_progress(path: Path) -> Progress:
    """Where the training of a checkpoint stood.

    Raises:
        UserError: if the file is damaged.
    """
    return Progress(**_read(path, values=False)[0]["progress"])


def _read(path: Path, values: bool = True) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The header, and the arrays in its order if asked for."""
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(bytes(file["header"]).decode())
            return header, [file[f"v{i}"] for i in range(len(header["paths"]))] if values else []
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot be read ({error})", str(path), "delete it to start anew") from error


def weights_digest(model: keras.Model) -> str:
    """SHA-256 over the bytes of all weights: equal digests are bit-equal models."""
    digest = hashlib.sha256()
    for variable in model.variables:
        digest.update(np.ascontiguousarray(variable).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """The moving average of the weights in place of the weights, where the optimizer keeps one."""
    optimizer = model.optimizer
    if optimizer is None or not optimizer.use_ema or not optimizer.built:
        yield
        return
    kept = [np.array(variable) for variable in model.trainable_variables]
    for variable, average in zip(model.trainable_variables, optimizer._model_variables_moving_average):
        variable.assign(average)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, kept):
            variable.assign(value)


def _state(model: keras.Model) -> list[tuple[str, Any]]:
    metrics = {id(v) for metric in model.metrics for v in metric.variables}
    own = [v for v in model.variables if id(v) not in metrics]
    named = [("model", v) for v in own] + [("optimizer", v) for v in model.optimizer.variables]
    return [(f"{owner}/{_path_inside(v)}", v) for owner, v in named]


def _path_inside(variable: Any) -> str:
    """The variable's path below its model or optimizer, whose own name Keras numbers within a process."""
    return variable.path.partition("/")[2] or variable.path
