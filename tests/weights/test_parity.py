"""Imported torchvision detectors against torchvision, stage by stage, on the parity sets of `../shared/golden/parity`.

Limits are those of that folder's README; the measuring is that of `experiments/001-parity-torchvision`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "../shared/golden/parity"
MEASURE = ROOT / "experiments/001-parity-torchvision/measure.py"


@pytest.fixture(scope="module")
def measuring() -> Any:
    if not FOLDER.exists():
        pytest.skip("needs the parity sets in ../shared/golden/parity")
    spec = importlib.util.spec_from_file_location("parity_measure", MEASURE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(
    "name",
    [
        "mask_r18_fpn",
        pytest.param("mask_r50_fpn", marks=pytest.mark.slow),
        pytest.param("faster_r50_fpn", marks=pytest.mark.slow),
        pytest.param("keypoint_r50_fpn", marks=pytest.mark.slow),
        pytest.param("mask_r50_fpn_v2", marks=pytest.mark.slow),
    ],
)
def test_every_stage_is_within_the_limits_of_float32(measuring: Any, name: str) -> None:
    rows = list(measuring.measure(FOLDER, name))
    stages = {row.stage for row in rows}
    assert {"batch", "stem", "c2", "c5", "p2", "p6", "rpn_logits", "proposals", "detections"} <= stages
    assert ("mask pixels" in stages) == name.startswith("mask")
    assert [row for row in rows if not row.passed] == []


@pytest.mark.slow
def test_a_wrong_batch_norm_epsilon_would_be_seen(measuring: Any) -> None:
    rows = list(measuring.compare_maps(measuring.ParitySet(FOLDER, "mask_r18_fpn", bn_epsilon=1e-3)))
    assert {"stem", "c2", "c5", "p2"} <= {row.stage for row in rows if not row.passed}
