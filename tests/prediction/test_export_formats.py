from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from maskrcnn.errors import UserError
from maskrcnn.prediction.export_formats import FORMATS, check_packages, target_of


@pytest.mark.parametrize(
    ("name", "out", "target"),
    [
        ("onnx", "a/b.onnx", "a/b.onnx"),
        ("onnx", "new", "new/model.onnx"),
        ("onnx", "folder", "folder/model.onnx"),
        ("openvino", "folder/x.xml", "folder/x.xml"),
        ("litert", "new", "new/model.tflite"),
        ("saved_model", "new", "new"),
        ("saved_model", "folder", "folder/saved_model"),
        ("saved_model", "old", "old"),
    ],
)
def test_a_file_or_a_folder_can_be_named(tmp_path: Path, name: str, out: str, target: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "saved_model.pb").touch()
    assert target_of(name, tmp_path / out) == tmp_path / target


@pytest.mark.parametrize(
    ("name", "out", "words"), [("onnx", "a.tflite", r"ends in \.onnx"), ("saved_model", "file", "is a file")]
)
def test_a_target_of_another_kind_is_refused(tmp_path: Path, name: str, out: str, words: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=words):
        target_of(name, tmp_path / out)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(UserError, match=r"onnxruntime is not installed; install the extra: .*\[export\]"):
        check_packages("onnx")
    check_packages("openvino")


def test_one_of_two_alternatives_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "tensorflow" else None)
    check_packages("litert")
    check_packages("saved_model")


def test_every_format_has_a_runtime() -> None:
    from maskrcnn.prediction.export_runtimes import _OPENERS

    assert set(_OPENERS) == set(FORMATS)
