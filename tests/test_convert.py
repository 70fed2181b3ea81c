"""`python -m maskrcnn.convert`: the command line, what it writes, and what it never leaves behind."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskrcnn import convert
from maskrcnn.errors import UsageError, UserError
from maskrcnn.prediction.predictor import load_predictor
from maskrcnn.weights.files import HINT

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = runpy.run_path(str(Path(__file__).parent / "weights" / "published.py"))
tiny_state: Callable[[], dict[str, np.ndarray]] = PUBLISHED["state"]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("", "weights=: is missing"),
        ("weights=a.pth", "out=: is missing"),
        ("weights=a.pth out=b.h5", "a model file ends in .keras"),
        ("weights=a.pth out=b.keras unmatched=maybe", "neither error nor skip"),
        ("weights=a.pth out=b.keras min_size", "is not KEY=VALUE"),
        ("weights=a.pth out=b.keras weight=3", "did you mean weights=…?"),
        ("weights=a.pth out=b.keras min_size=3 min_size=4", "min_size is given twice"),
        ("weights=a.pth weights=b.pth out=b.keras", "weights is given twice"),
        ("--out b.keras", "write out=VALUE"),
    ],
)
def test_wrong_usage_is_told_in_one_line(line: str, answer: str) -> None:
    with pytest.raises(UsageError, match=answer.replace("?", r"\?").replace("…", ".")):
        convert.main(line.split())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("640", 640),
        ("0.5", 0.5),
        ("[0.5, 0.4]", [0.5, 0.4]),
        ("true", True),
        ("null", None),
        ("BGR", "BGR"),
        ("(1,", "(1,"),
        ("__import__('os')", "__import__('os')"),
    ],
)
def test_settings_are_read_as_values_and_never_run(text: str, value: object) -> None:
    assert convert.read_settings([f"x={text}"]) == {"x": value}


def test_a_refused_file_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(UserError, match=r"page\.pth: this is a web page, not a weight file"):
        convert.main([f"weights={tmp_path}/page.pth", f"out={tmp_path}/out.keras"])
    assert [path.name for path in tmp_path.iterdir()] == ["page.pth"]


def test_an_unknown_source_names_those_that_exist(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(2))
    with pytest.raises(UserError, match=r"unknown source 'caffe'.*torchvision"):
        convert.main([f"weights={tmp_path}/x.npz", f"out={tmp_path}/out.keras", "source=caffe"])


def test_a_published_file_becomes_a_model_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "published.npz", **tiny_state())
    out = tmp_path / "models" / "ours.keras"
    assert convert.main([f"weights={tmp_path}/published.npz", f"out={out}", "min_size=64", "max_size=96"]) == 0
    printed = capsys.readouterr().out
    assert "backbone.body" in printed
    assert "torchvision: resnet18, 3 categories" in printed
    predictor = load_predictor(out)
    assert (predictor.image.short_side, predictor.image.long_side) == (64, 96)
    assert [p.name for p in out.parent.iterdir()] == ["ours.keras"]


def test_unmatched_skip_goes_on_and_says_what_stays_random(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = tiny_state()
    del values["rpn.head.bbox_pred.bias"]
    np.savez(tmp_path / "published.npz", **values)
    line = [f"weights={tmp_path}/published.npz", f"out={tmp_path}/ours.keras"]
    with pytest.raises(UserError, match=r"1 tensors missing: rpn\.head\.bbox_pred\.bias"):
        convert.main(line)
    assert convert.main([*line, "unmatched=skip"]) == 0
    assert "missing: stay random (1)\n  rpn.head.bbox_pred.bias" in capsys.readouterr().out


def test_a_bad_file_is_refused_before_tensorflow_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    program = (
        "import sys; from maskrcnn import convert; from maskrcnn.errors import UserError\n"
        f"try: convert.main(['weights={tmp_path}/empty.pth', 'out=x.keras'])\n"
        "except UserError as error: print(error, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip().endswith("empty.pth: the file is empty; " + HINT + " False")
