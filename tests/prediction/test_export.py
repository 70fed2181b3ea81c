"""Tests of exports: a tiny detector with all heads in each format's own runtime, beside the original."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.models.detector import Detector
from maskrcnn.ops.forms import portable_forms
from maskrcnn.prediction.export import export_detector, exported_network
from maskrcnn.prediction.export_check import compare
from maskrcnn.prediction.export_formats import check_packages
from maskrcnn.prediction.network import compile_network
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.prediction.tta import ViewBatch

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports are made with TensorFlow")
SIZE = (128, 128)


@pytest.fixture(scope="module")
def batches(tiny_detector: Detector, photos: list[np.ndarray]) -> list[ViewBatch]:
    """The photos as the network takes them, all padded to one size."""
    predictor = Predictor(tiny_detector)
    found = [predictor.prepare([photo]) for photo in photos]
    return [
        ViewBatch(np.pad(b.images, [(0, 0), *((0, s - n) for s, n in zip(SIZE, b.images.shape[1:3])), (0, 0)]), b.sizes)
        for b in found
    ]


def check(detector: Detector, name: str, target: Path, batches: list[ViewBatch]) -> None:
    try:
        check_packages(name)
    except UserError as error:
        pytest.skip(str(error))
    export_detector(detector, name, target, SIZE)
    found = compare(compile_network(detector), exported_network(name, target), batches)
    assert found.detections > 0
    assert found.unmatched == 0, str(found)
    assert found.passed, str(found)


def test_a_saved_model_gives_the_same_detections(
    tiny_detector: Detector, batches: list[ViewBatch], tmp_path: Path
) -> None:
    check(tiny_detector, "saved_model", tmp_path / "model", batches)
    facts = json.loads((tmp_path / "model" / "model.json").read_text(encoding="utf-8"))
    assert [category["name"] for category in facts["categories"]] == ["person", "cup"]
    assert facts["resize"] == {"short_side": 64, "long_side": 128, "rule": "opencv"}
    assert set(facts["outputs"]) == {"boxes", "scores", "labels", "masks", "keypoint_logits"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["onnx/m.onnx", "openvino/m.xml", "litert/m.tflite"])
def test_other_formats_give_the_same_detections(
    tiny_detector: Detector, batches: list[ViewBatch], tmp_path: Path, file: str
) -> None:
    check(tiny_detector, Path(file).parent.name, tmp_path / file, batches)
    assert json.loads((tmp_path / file).with_suffix(".json").read_text(encoding="utf-8"))["limits"]


def test_portable_forms_give_the_same_detections(tiny_detector: Detector, batches: list[ViewBatch]) -> None:
    fast = compile_network(tiny_detector)
    with portable_forms():
        portable = compile_network(tiny_detector)
        portable(*batches[0])  # traced here
    found = compare(fast, portable, batches)
    assert found.detections > 0
    assert found.unmatched == 0
    assert found.passed, str(found)


def test_a_model_that_the_converter_refuses_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    class Refusing(keras.Model):
        mask_head = keypoint_head = None

        def export(self, *arguments: object, **options: object) -> None:
            raise ValueError("no kernel\nfor this")

    with pytest.raises(UserError, match=r"format=onnx: the format onnx cannot hold this model \(no kernel\)"):
        export_detector(Refusing(), "onnx", tmp_path / "a" / "m.onnx")
    assert list((tmp_path / "a").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, tiny_detector: Detector) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        export_detector(tiny_detector, "onnx", tmp_path / "file" / "m.onnx")
