"""Exported models in the runtimes of their own formats, each as the same function of images and sizes."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from maskrcnn.prediction.network import Network, Outputs

_QUIET = 3
"""Errors alone, on ONNX Runtime's scale."""


def open_exported(name: str, path: Path) -> Network:
    """The model of format `name` at `path` as a function of images `[B, H, W, 3]` and sizes `[B, 2]`."""
    call = _OPENERS[name](path)

    def run(images: np.ndarray, sizes: np.ndarray) -> Outputs:
        return call(images.astype(np.float32, copy=False), sizes.astype(np.int32, copy=False))

    return run


def _saved_model(path: Path) -> Network:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))

    def run(images: np.ndarray, sizes: np.ndarray) -> Outputs:
        # Through the model, not its endpoint alone: that does not keep the variables alive.
        outputs = model.serve({"images": tf.constant(images), "sizes": tf.constant(sizes)})
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def _onnx(path: Path) -> Network:
    import onnxruntime

    onnxruntime.set_default_logger_severity(_QUIET)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images, sizes: dict(zip(names, session.run(names, {"images": images, "sizes": sizes}), strict=True))


def _openvino(path: Path) -> Network:
    import openvino

    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    outputs = {output.get_any_name(): output for output in model.outputs}

    def run(images: np.ndarray, sizes: np.ndarray) -> Outputs:
        found = model({"images": images, "sizes": sizes})
        return {name: np.array(found[output]) for name, output in outputs.items()}

    return run


def _litert(path: Path) -> Network:
    """One image at a time; the results of several are put together again."""
    runner = _litert_interpreter()(model_path=str(path)).get_signature_runner()

    def run(images: np.ndarray, sizes: np.ndarray) -> Outputs:
        found = [runner(images=images[i : i + 1], sizes=sizes[i : i + 1]) for i in range(len(images))]
        return {name: np.concatenate([outputs[name] for outputs in found]) for name in found[0]}

    return run


def _litert_interpreter() -> Callable[..., Any]:
    with contextlib.suppress(ImportError):
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow says at each use that LiteRT is to be used instead.
        return tf.lite.Interpreter


_OPENERS: Mapping[str, Callable[[Path], Network]] = MappingProxyType(
    {"saved_model": _saved_model, "onnx": _onnx, "openvino": _openvino, "litert": _litert}
)
