"""Tests of image sizes and resampling against the numbers of the sources.

`prediction.npz` holds parts of `golden/ops.npz` (torchvision 0.29.1; its README has the recipe: normalised, then
bilinear, align_corners False, no antialias) and of Detectron2's predictor set (Pillow, 128 sizes, whole images).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maskrcnn.data.resize import RULES, resize_image, resized_size

GOLDEN = Path(__file__).resolve().parents[1] / "golden/prediction.npz"
MEAN = np.array([0.485, 0.456, 0.406]) * 255
STD = np.array([0.229, 0.224, 0.225]) * 255


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN, allow_pickle=False) as arrays:
        return dict(arrays)


def test_torchvision_sizes_equal_the_reference(golden: dict[str, np.ndarray]) -> None:
    for height, width, new_height, new_width, _, _ in golden["transform.sizes"].tolist():
        assert resized_size(height, width, 800, 1333, "torchvision") == (new_height, new_width)


def test_detectron2_sizes_equal_the_reference(golden: dict[str, np.ndarray]) -> None:
    for height, width, short, long, new_height, new_width in golden["detectron2.size_cases"].tolist():
        assert resized_size(height, width, short, long, "detectron2") == (new_height, new_width)


@pytest.mark.parametrize("case", ["up", "down", "same"])
def test_torchvision_resize_equals_the_reference_after_normalising(golden: dict[str, np.ndarray], case: str) -> None:
    short, long, height, width, _, _ = golden[f"transform.{case}.size"].tolist()
    image = golden["transform.image"]
    assert resized_size(*image.shape[:2], short, long, "torchvision") == (height, width)
    resized = resize_image(image, height, width, "torchvision")
    # 2e-4 is the reference's own limit for this stage: its coordinates are float32.
    np.testing.assert_allclose((resized - MEAN) / STD, golden[f"transform.{case}.output"], atol=2e-4)


@pytest.mark.parametrize("j", [0, 2, 3])
def test_detectron2_resize_equals_the_reference_byte_for_byte(golden: dict[str, np.ndarray], j: int) -> None:
    want = golden[f"detectron2.resize_out_{j}"]
    found = resize_image(golden[f"detectron2.resize_in_{j}"], *want.shape[:2], "detectron2")
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("rule", RULES)
def test_a_short_side_of_zero_keeps_the_size(rule: str) -> None:
    assert resized_size(37, 53, 0, 10, rule) == (37, 53)


@pytest.mark.parametrize("rule", RULES)
def test_a_very_long_image_keeps_at_least_one_row(rule: str) -> None:
    assert resized_size(2, 5000, 800, 1333, rule) in {(1, 1333), (1, 1332)}


@pytest.mark.parametrize(("rule", "dtype"), [("opencv", np.uint8), ("torchvision", np.float32)])
def test_a_mirrored_view_is_resized_like_its_copy(rule: str, dtype: type) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    resized = resize_image(image[:, ::-1], 20, 30, rule)
    assert resized.dtype == dtype
    np.testing.assert_array_equal(resized, resize_image(image[:, ::-1].copy(), 20, 30, rule))


def test_an_unknown_rule_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="known: opencv, torchvision, detectron2"):
        resized_size(1, 1, 1, 1, "nearest")
