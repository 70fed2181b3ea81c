"""The formats that a detector can be exported to: their files, what they need, and what they cannot hold.

Plain data, so that the command can answer questions about formats before anything large is imported.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from maskrcnn.errors import UserError

EXTRA = "export"
SAVED_MODEL = "saved_model.pb"
"""The file that makes a folder a SavedModel."""
OUTSIDE = (
    "images go in resized and padded, float32 RGB from 0 to 255, with their sizes (height, width) before padding",
    "masks come out as probabilities inside their boxes, joints as heat maps: pasting and decoding stay outside",
)
"""Limits of every format: no format resamples bytes as the readers do, and none makes run-length codes."""


@dataclass(frozen=True)
class Format:
    """One export format.

    Attributes:
        keras_name: what Keras' exporter calls it.
        file: name of the file, or of the folder where `suffix` is empty.
        packages: modules that writing and running it needs; each entry names alternatives.
        portable: its graph must be made of portable operators alone (`ops.forms`).
        fixed_shape: one image of one size; else any number of any size.
        limits: what it cannot hold, beside `OUTSIDE`.
    """

    keras_name: str
    file: str
    packages: tuple[tuple[str, ...], ...] = ()
    portable: bool = False
    fixed_shape: bool = False
    limits: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        return Path(self.file).suffix


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "saved_model": Format("tf_saved_model", "saved_model", limits=("the endpoint is called serve",)),
        "onnx": Format(
            "onnx",
            "model.onnx",
            packages=(("tf2onnx",), ("onnxruntime",)),
            limits=(
                "each box is cut out by a step of a loop, so that it is slower than the original",
                "the converter needs memory of about twenty times the size of the weights",
            ),
        ),
        "openvino": Format(
            "openvino",
            "model.xml",
            packages=(("openvino",),),
            portable=True,
            limits=(
                "model.bin belongs to model.xml",
                "compile it with INFERENCE_PRECISION_HINT=f32: some processors use half precision otherwise",
                "boxes are suppressed one by one in a loop, so that it is slower than the original",
            ),
        ),
        "litert": Format(
            "litert",
            "model.tflite",
            packages=(("ai_edge_litert", "tensorflow"),),
            portable=True,
            fixed_shape=True,
            limits=(
                "one image of one size at a time, smaller ones padded",
                "all slots of detections are computed, empty ones too",
                "boxes are suppressed one by one in a loop, so that it is slower than the original",
            ),
        ),
    }
)


def check_packages(name: str) -> None:
    """Refuses a format whose packages are not installed.

    Raises:
        UserError: names the packages and the extra that brings them.
    """
    missing = [names[0] for names in FORMATS[name].packages if not any(_installed(module) for module in names)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        what = f"{' and '.join(missing)} {verb} not installed"
        raise UserError(what, f"format={name}", f"install the extra: pip install 'maskrcnn[{EXTRA}]'")


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def target_of(name: str, out: Path) -> Path:
    """The file (or SavedModel folder) to write for `out=`: a file of the format's suffix, or a folder to put it in.

    A folder that holds anything but a SavedModel is never replaced: a new one is made in it.

    Raises:
        UserError: a file of another suffix.
    """
    chosen = FORMATS[name]
    if not chosen.suffix:
        if out.is_file():
            raise UserError("is a file; this format is a folder", f"out={out}")
        return out / chosen.file if out.is_dir() and not (out / SAVED_MODEL).is_file() else out
    if out.suffix.lower() == chosen.suffix and not out.is_dir():
        return out
    if out.suffix and not out.is_dir():
        raise UserError(f"a file of format {name} ends in {chosen.suffix}", f"out={out}")
    return out / chosen.file
