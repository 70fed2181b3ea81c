"""Imported Detectron2 detectors against Detectron2, stage by stage, on the parity sets of `../shared/golden/parity_d2`.

Limits are those of that folder's README; the measuring is that of `experiments/006-parity-detectron2`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "../shared/golden/parity_d2"
MEASURE = ROOT / "experiments/006-parity-detectron2/measure.py"
FIRST = {"stem", "res2", "res4", "rpn_logits", "rpn_deltas", "anchors", "box_pooled", "box_logits", "box_deltas"}
STAGES = {
    "d2_mask_r50_fpn": FIRST | {"p2", "p6", "box levels", "mask_logits", "mask pixels"},
    "d2_mask_r50_c4": FIRST | {"box_res5", "mask_res5", "mask_logits", "mask pixels"},
    "d2_keypoint_r50_fpn": FIRST | {"p2", "p6", "kp_logits", "keypoints", "keypoint_scores"},
    "d2_mask_r50_dc5": FIRST | {"res5", "box_hidden", "mask_logits", "mask pixels"},
    "d2_faster_r50_fpn": FIRST | {"p2", "p6", "box levels"},
    "d2_predictor_mask_r50_fpn": {"batch", "res4", "p3", "mask pixels"},
}
"""What must have been compared, beside proposals and detections."""


@pytest.fixture(scope="module")
def measuring() -> Iterator[Any]:
    if not FOLDER.exists():
        pytest.skip("needs the parity sets in ../shared/golden/parity_d2")
    spec = importlib.util.spec_from_file_location("parity_d2_measure", MEASURE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(STAGES))
def test_every_stage_is_within_the_limits_of_float32(measuring: Any, name: str) -> None:
    rows = list(measuring.measure(FOLDER, name))
    assert STAGES[name] | {"proposals", "detections"} <= {row.stage for row in rows}
    assert [row for row in rows if not row.passed] == []


@pytest.mark.slow
def test_a_wrong_channel_order_would_be_seen(measuring: Any) -> None:
    parity = measuring.ParitySet(FOLDER, "d2_mask_r50_fpn", channel_order="rgb")
    batch, sizes, images = parity.batches()[0]
    rows = list(measuring.compare_maps(parity, parity.maps(batch, sizes), images))
    assert {"batch", "stem", "res2", "p2"} <= {row.stage for row in rows if not row.passed}
