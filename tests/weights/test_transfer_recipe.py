"""Fine-tuning from a published detector begins with the logits of the classes that are kept (issue 11, must show 5).

Weights are those of the parity recipes: 90 rows in torchvision's files, 80 in Detectron2's.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from maskrcnn.models.backbones import blocks
from maskrcnn.models.detector import Detector
from maskrcnn.models.positives import rows_of_detections
from maskrcnn.weights import import_model
from maskrcnn.weights.transfer import transfer

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
NAMES = ["cat", "gnome", "traffic light", "toothbrush"]


def recipe(folder: str) -> ModuleType:
    path = GOLDEN / folder / "recipe.py"
    if not path.exists():
        pytest.skip("the parity recipes are not here (../shared/golden)")
    spec = importlib.util.spec_from_file_location(f"recipe_{folder}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def subset_of(source: Detector) -> Detector:
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES, start=1)]
    metadata = {**source.metadata, "categories": categories}
    return Detector(dataclasses.replace(source.settings), len(NAMES), metadata=metadata)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "architecture"), [("parity", "maskrcnn_resnet18_fpn"), ("parity_d2", "mask_rcnn_R_50_FPN")]
)
def test_kept_classes_begin_with_their_logits(folder: str, architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "HE", "zeros")
    source = import_model(dict(recipe(folder).state_dict(architecture, 1))).detector
    target = subset_of(source)
    report = transfer(source, target)
    assert report.new == ("gnome",)
    names = [category["name"] for category in source.metadata["categories"]]
    rows = [names.index(name) for name in report.kept]
    ours = [k for k, name in enumerate(NAMES) if name in report.kept]
    shift = 1 if source.conventions.background_index == 0 else 0
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype("float32")
    boxes = np.array([[[0, 0, 40, 40], [10, 5, 90, 60], [30, 30, 50, 62]]], "float32")
    outputs = []
    for detector in (source, target):
        features = detector.features(detector.normalize(images, np.array([[64, 96]])))
        logits, deltas = detector.box_outputs(features, boxes)
        outputs.append((np.asarray(logits)[0], np.asarray(deltas)[0]))
    (their_logits, their_deltas), (our_logits, our_deltas) = outputs
    assert np.ptp(their_logits) > 0.1  # the recipe's weights tell classes apart
    np.testing.assert_allclose(
        our_logits[:, [k + shift for k in ours]], their_logits[:, [r + shift for r in rows]], rtol=1e-4, atol=1e-5
    )
    place = 0 if shift else -1
    np.testing.assert_allclose(our_logits[:, place], their_logits[:, place], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(our_deltas[:, ours], their_deltas[:, rows], rtol=1e-4, atol=1e-5)
    _masks_agree(source, target, images, boxes, rows, ours)


def _masks_agree(
    source: Detector, target: Detector, images: np.ndarray, boxes: np.ndarray, rows: list[int], ours: list[int]
) -> None:
    found = []
    for detector, labels in ((source, rows), (target, ours)):
        features = detector.features(detector.normalize(images, np.array([[64, 96]])))
        wanted = rows_of_detections(boxes, np.array([labels]) + 1)
        found.append(np.asarray(detector.mask_logits(features, wanted)))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5)
