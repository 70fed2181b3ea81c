from __future__ import annotations

import importlib.util

import pytest

from maskrcnn import export
from maskrcnn.errors import UserError


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("", 2, "run=: is missing"),
        ("run=last", 2, "format=: is missing; known: saved_model, onnx, openvino, litert"),
        ("run=last format=onxx", 2, "did you mean format=onnx?"),
        ("run=last format=tensorrt", 2, "there is no such format"),
        ("run=last format=onnx output=x", 2, "did you mean out=…?"),
        ("run=last format=onnx --out=x", 2, "write out=x"),
        ("run=last format=litert size=128", 2, "write size=480x640"),
        ("run=last format=litert size=0x64", 2, "is not HEIGHTxWIDTH"),
        ("run=last format=onnx count=0", 2, "is not from 1"),
        ("run=last format=saved_model images=no.jpg", 1, "there is no such file or folder"),
        ("run=nothere format=saved_model", 1, "no run 'nothere'"),
    ],
)
def test_mistakes_are_one_line(line: str, code: int, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export, "check_packages", lambda name: None)  # whether extras are there is another test
    with pytest.raises(UserError) as raised:
        export.main(line.split())
    assert raised.value.exit_code == code
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_format_without_its_packages_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"tf2onnx and onnxruntime are not installed; install the extra"):
        export.main(["run=last", "format=onnx"])
    assert list(tmp_path.iterdir()) == []
