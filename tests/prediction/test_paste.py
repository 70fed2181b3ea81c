"""Tests of mask pasting: numbers of torchvision and Detectron2, a slow twin, and the rules for pixels at borders.

`prediction.npz` holds `mask_paste.*` of golden/ops.npz (torchvision 0.29.1) and the first masks of the parity sets
`mask_r50_fpn` and `d2_mask_r50_fpn`: logits, boxes in original pixels and the reference's run lengths.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.data import rle
from maskrcnn.prediction.paste import PastedMask, paste_bilinear, paste_legacy, paste_masks

GOLDEN = Path(__file__).resolve().parents[1] / "golden/prediction.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN, allow_pickle=False) as arrays:
        return dict(arrays)


def on_canvas(part: PastedMask, height: int, width: int) -> np.ndarray:
    canvas = np.zeros((height, width), bool)
    rows, columns = part.bits.shape
    canvas[part.y : part.y + rows, part.x : part.x + columns] = part.bits
    return canvas


def soft_mask(rng: np.random.Generator, side: int = 28) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.normal(size=(side, side)).astype(np.float32), (0, 0), 2)
    return 1 / (1 + np.exp(-20 * noise))


def read_at_centres(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """Detectron2's rule over the whole image, one pixel at a time in float64: the slow twin."""
    side = mask.shape[0]
    padded = np.pad(mask.astype(np.float64), 1)
    values = np.zeros((height, width))
    for r in range(height):
        v = (r + 0.5 - box[1]) / (box[3] - box[1]) * side + 0.5
        for c in range(width):
            u = (c + 0.5 - box[0]) / (box[2] - box[0]) * side + 0.5
            if not (0 <= u < side + 1 and 0 <= v < side + 1):
                continue
            i, j = int(v), int(u)
            a, b = v - i, u - j
            top = padded[i, j] * (1 - b) + padded[i, j + 1] * b
            bottom = padded[i + 1, j] * (1 - b) + padded[i + 1, j + 1] * b
            values[r, c] = top * (1 - a) + bottom * a
    return values


def test_legacy_paste_equals_torchvision(golden: dict[str, np.ndarray]) -> None:
    for mask, box, want in zip(golden["mask_paste.probs"], golden["mask_paste.boxes"], golden["mask_paste.binary"]):
        np.testing.assert_array_equal(on_canvas(paste_legacy(mask, box, 50, 70), 50, 70), want.astype(bool))


@pytest.mark.parametrize(("source", "rule"), [("torchvision", "legacy"), ("detectron2", "bilinear")])
def test_masks_of_whole_detectors_equal_the_reference(golden: dict[str, np.ndarray], source: str, rule: str) -> None:
    height, width = golden[f"{source}.paste_size"].tolist()
    probabilities = 1 / (1 + np.exp(-golden[f"{source}.paste_logits"]))
    pasted = paste_masks(probabilities, golden[f"{source}.paste_boxes"], height, width, rule)
    ends = np.cumsum(golden[f"{source}.paste_run_counts"])[:-1]
    different = total = 0
    for found, runs in zip(pasted, np.split(golden[f"{source}.paste_runs"], ends), strict=True):
        want = np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, height).T
        different += int((rle.decode(found) != want).sum())
        total += int(want.sum())
    # The limit of the parity sets is 0.1 % of the mask pixels.
    assert different <= 0.001 * total


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_bilinear_paste_equals_reading_every_pixel_of_the_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = soft_mask(rng, 14)
    corner = rng.uniform(-5, 25, 2)
    box = np.array([*corner, *(corner + rng.uniform(0.3, 30, 2))])
    want = read_at_centres(mask, box, 40, 30)
    found = on_canvas(paste_bilinear(mask, box, 40, 30), 40, 30)
    assert ((want >= 0.5) == found)[np.abs(want - 0.5) > 1e-5].all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_a_full_mask_covers_exactly_the_pixels_with_their_centre_in_the_box(seed: int) -> None:
    # PAPER §6 row 12. Near the corners two soft borders meet, so the last quarter of a cell there stays empty.
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, 2)
    box = np.array([*corner, *(corner + rng.uniform(2, 50, 2))], np.float32)
    found = on_canvas(paste_bilinear(np.ones((28, 28)), box, 100, 100), 100, 100)
    centres = np.arange(100) + 0.5
    inside = ((centres >= box[1]) & (centres <= box[3]))[:, None] & ((centres >= box[0]) & (centres <= box[2]))
    assert not (found & ~inside).any()
    rows, columns = np.nonzero(inside & ~found)
    cell = (box[2:] - box[:2]) / 28
    near_x = np.minimum(columns + 0.5 - box[0], box[2] - columns - 0.5) <= cell[0] / 2
    near_y = np.minimum(rows + 0.5 - box[1], box[3] - rows - 0.5) <= cell[1] / 2
    assert (near_x & near_y).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["bilinear", "legacy"]))
def test_codes_made_from_the_box_equal_those_of_the_full_mask(seed: int, rule: str) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-20, 60, (3, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.2, 80, (3, 2))], 1).astype(np.float32)
    masks = np.stack([soft_mask(rng) for _ in boxes])
    paste = paste_bilinear if rule == "bilinear" else paste_legacy
    codes = paste_masks(masks, boxes, 50, 70, rule)
    for code, mask, box in zip(codes, masks, boxes):
        assert code == rle.encode(on_canvas(paste(mask, box, 50, 70), 50, 70))


@pytest.mark.parametrize("rule", ["bilinear", "legacy"])
@pytest.mark.parametrize("box", [(-30, -30, -5, -5), (80, 10, 90, 20), (10.6, 10.6, 10.9, 10.9), (5, 5, 5, 9)])
def test_a_box_without_pixels_in_the_image_gives_an_empty_or_tiny_mask(rule: str, box: tuple[float, ...]) -> None:
    code = paste_masks(np.ones((1, 28, 28)), np.array([box], np.float32), 50, 70, rule)[0]
    assert code["size"] == [50, 70]
    # The legacy rule gives every box at least one pixel.
    assert rle.area(code) <= (0 if rule == "bilinear" else 16)


def test_a_mask_of_the_whole_image_fills_it_but_for_the_corners() -> None:
    code = paste_masks(np.ones((1, 28, 28)), np.array([[0, 0, 300, 400]], np.float32), 400, 300, "bilinear")[0]
    assert rle.area(code) > 0.998 * 400 * 300


def test_flipping_box_and_mask_mirrors_the_pasted_mask() -> None:
    rng = np.random.default_rng(3)
    mask, box = soft_mask(rng), np.array([10.3, 5.7, 60.2, 44.1])
    mirrored = np.array([70 - box[2], box[1], 70 - box[0], box[3]])
    first = on_canvas(paste_bilinear(mask, box, 50, 70), 50, 70)
    second = on_canvas(paste_bilinear(mask[:, ::-1], mirrored, 50, 70), 50, 70)
    assert (first[:, ::-1] != second).mean() < 1e-3


def test_an_unknown_rule_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="known: bilinear, legacy"):
        paste_masks(np.ones((0, 28, 28)), np.zeros((0, 4)), 5, 5, "nearest")
