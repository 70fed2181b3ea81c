"""A detector's inference graph in other formats, written by Keras' exporters and read back by each format's runtime.

The graph begins with resized and padded pixels and ends with boxes, scores, labels, masks inside their boxes and heat
maps: normalisation, proposals, both non-maximum suppressions and the heads are inside. What stays outside, and what
each format cannot hold, stands in `export_formats`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from maskrcnn.errors import UserError
from maskrcnn.ops.forms import portable_forms
from maskrcnn.prediction.export_formats import FORMATS, OUTSIDE, Format
from maskrcnn.prediction.export_runtimes import open_exported
from maskrcnn.prediction.network import Network

DESCRIPTION = "model.json"


def export_detector(detector: Any, name: str, target: Path, size: tuple[int, int] | None = None) -> None:
    """Writes the detector as `target` in the format `name`, whole or not at all, with a description beside it.

    Args:
        target: a file, or a folder for a SavedModel (`export_formats.target_of`). What is there is replaced.
        size: height and width of the one input size, for formats of a fixed shape.

    Raises:
        UserError: the format cannot hold this detector (the reason is the converter's), or the folder cannot be
            written to.
    """
    chosen = FORMATS[name]
    if keras.backend.backend() != "tensorflow":
        raise UserError("exports are made with TensorFlow", f"format={name}", "set KERAS_BACKEND=tensorflow")
    shape = (1, *_fixed_size(name, size)) if chosen.fixed_shape else (None, None, None)
    with _staging(target) as folder:
        written = folder / (target.name if chosen.suffix else chosen.file)
        _convert(detector, name, chosen, written, shape)
        _describe(detector, name, size if chosen.fixed_shape else None, written)
        _move(folder, target, chosen)


def _fixed_size(name: str, size: tuple[int, int] | None) -> tuple[int, int]:
    if size is None:
        raise ValueError(f"the format {name} needs the size of its images")
    return size


def _convert(detector: Any, name: str, chosen: Format, written: Path, shape: tuple[int | None, ...]) -> None:
    batch = {
        "images": keras.InputSpec(shape=(*shape, 3), dtype="float32", name="images"),
        "sizes": keras.InputSpec(shape=(shape[0], 2), dtype="int32", name="sizes"),
    }
    forms = portable_forms() if chosen.portable else contextlib.nullcontext()
    try:
        with forms, _prompt_collection(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            detector.export(str(written), format=chosen.keras_name, input_signature=[batch], verbose=False)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror or error})", f"out={written.parent.parent}") from None
    except Exception as error:  # Converters raise whatever their operators raise; each means that they cannot.
        raise UserError(f"the format {name} cannot hold this model ({_reason(error)})", f"format={name}") from error


@contextlib.contextmanager
def _prompt_collection() -> Iterator[None]:
    """Lets Python collect a converter's garbage as soon as it lies there.

    tf2onnx copies the whole graph, weights included, before each of its passes, and the copies hold each other; Python
    looks at old objects only once a quarter as many new ones have outlived a collection, and all that TensorFlow has
    made count as old. Frozen they do not count (experiments/008).
    """
    gc.freeze()
    gc.collect()  # counts anew
    try:
        yield
    finally:
        gc.unfreeze()


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


@contextlib.contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A folder beside the target, which is removed at the end."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=".export-", dir=target.parent)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror or error})", f"out={target}") from None
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _describe(detector: Any, name: str, size: tuple[int, int] | None, written: Path) -> None:
    """What a user of the file must know, as JSON: inputs, outputs, categories, joints."""
    conventions = detector.settings.conventions
    facts = {
        "format": name,
        "size": size,
        "inputs": {"images": "float32 [B, H, W, 3], RGB, 0..255", "sizes": "int32 [B, 2], height and width"},
        "outputs": {
            "boxes": "float32 [B, D, 4], x1, y1, x2, y2 in input pixels",
            "scores": "float32 [B, D]",
            "labels": "int32 [B, D], 0 = no detection, k = the k-th category",
            **({"masks": "float32 [B, D, m, m], inside the box"} if detector.mask_head is not None else {}),
            **({"keypoint_logits": "float32 [B, D, m, m, K]"} if detector.keypoint_head is not None else {}),
        },
        "resize": {**(detector.metadata.get("image") or {}), "rule": conventions.resize},
        "pad_multiple": conventions.pad_multiple,
        "mask_paste": conventions.mask_paste,
        "keypoint_score": conventions.keypoint_score,
        "categories": detector.metadata.get("categories"),
        "keypoints": detector.metadata.get("schema"),
        "limits": [*OUTSIDE, *FORMATS[name].limits],
    }
    folder = written if written.is_dir() else written.parent
    (folder / DESCRIPTION).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _move(folder: Path, target: Path, chosen: Format) -> None:
    """Puts what was written where it belongs."""
    if not chosen.suffix:
        if target.exists():
            shutil.rmtree(target)
        os.replace(folder / chosen.file, target)
        return
    for file in sorted(folder.iterdir()):
        own_name = f"{target.stem}.json" if file.name == DESCRIPTION else file.name
        os.replace(file, target.parent / own_name)


def exported_network(name: str, target: Path) -> Network:
    """The exported model in its own runtime, as a function of images and sizes."""
    return open_exported(name, target)
