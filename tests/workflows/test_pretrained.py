"""What a file decides, what the configuration decides, and what the user's own words decide."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskrcnn.config.compose import compose
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.weights import import_model
from maskrcnn.workflows.build import build_detector, detector_settings
from maskrcnn.workflows.datasets import load_data
from maskrcnn.workflows.pretrained import adopt

PUBLISHED = runpy.run_path(str(Path(__file__).parents[1] / "weights" / "published.py"))
state: Callable[..., dict[str, np.ndarray]] = PUBLISHED["state"]


@pytest.fixture(scope="module")
def published() -> Predictor:
    return import_model(state(), min_size=300, max_size=500, box_nms_thresh=0.4)


def test_the_file_decides_architecture_and_conventions(published: Predictor) -> None:
    config = adopt(compose(["weights=x.pth", "image.short_side=200"]), published, ["image.short_side=200"])
    settings = detector_settings(config)
    assert settings.backbone == published.detector.settings.backbone
    assert settings.mask_head == published.detector.settings.mask_head
    assert settings.conventions == published.detector.settings.conventions
    assert settings.roi.nms_iou == 0.4
    assert config.image.short_side == 200


def test_typed_keys_and_changed_values_win_where_the_weights_allow(published: Predictor) -> None:
    overrides = ["weights=x.pth", "backbone.frozen_stages=0", "roi.nms_iou=0.5", "rpn.pre_nms_test=7"]
    config = adopt(compose([*overrides, "dataset=coco_json"]), published, overrides)
    assert (config.backbone.frozen_stages, config.roi.nms_iou, config.rpn.pre_nms_test) == (0, 0.5, 7)
    assert (config.image.short_side, config.image.long_side) == (300, 500)  # nobody has chosen another size


def test_a_training_begins_with_the_weights_and_its_own_categories(
    published: Predictor, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path))
    small = ["dataset.embedded.train_images=4", "dataset.embedded.test_images=2", "dataset.embedded.image_size=64"]
    config = adopt(compose(["weights=x.pth", *small]), published, ["weights=x.pth"])
    detector = build_detector(config, load_data(config), published)
    np.testing.assert_array_equal(
        detector.backbone.get_layer("stem_conv").kernel, published.detector.backbone.get_layer("stem_conv").kernel
    )
    assert "categories with initial weights: person, circle, square, triangle" in capsys.readouterr().out
