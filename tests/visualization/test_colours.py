"""The palette, and which detection takes which ground truth's colour."""

from __future__ import annotations

import itertools

import numpy as np

from maskrcnn.visualization.colours import (
    BLACK,
    LEFT,
    OKABE_ITO,
    PALETTE,
    RIGHT,
    WHITE,
    instance_colour,
    match_to_truth,
    text_colour,
)

# Viénot, Brettel and Mollon (1999), matrices for protanopes and deuteranopes on linear RGB.
PROTANOPE = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
DEUTERANOPE = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])


def seen_by(colour: tuple[int, int, int], matrix: np.ndarray) -> np.ndarray:
    linear = (np.array(colour) / 255.0) ** 2.2
    return np.clip(matrix @ linear, 0.0, 1.0) ** (1 / 2.2) * 255.0


def test_the_palette_is_okabe_and_itos_without_black() -> None:
    """Hexadecimal codes as published (Okabe & Ito 2008; also in R's palette.colors)."""
    codes = {"e69f00", "56b4e9", "009e73", "f0e442", "0072b2", "d55e00", "cc79a7"}
    assert {"{:02x}{:02x}{:02x}".format(*colour) for colour in OKABE_ITO} == codes


def test_left_and_right_stay_apart_for_colour_blind_eyes() -> None:
    for matrix in (np.eye(3), PROTANOPE, DEUTERANOPE):
        assert np.abs(seen_by(LEFT, matrix) - seen_by(RIGHT, matrix)).max() > 80


def test_neighbouring_instances_stay_apart_for_colour_blind_eyes() -> None:
    for matrix in (np.eye(3), PROTANOPE, DEUTERANOPE):
        for first, second in itertools.pairwise(OKABE_ITO):
            assert np.abs(seen_by(first, matrix) - seen_by(second, matrix)).max() > 30


def test_colours_are_distinct_and_repeat_after_the_palette() -> None:
    assert len(set(PALETTE)) == len(PALETTE) == 21
    assert instance_colour(3) == instance_colour(3 + len(PALETTE)) == PALETTE[3]


def test_text_stands_out_on_every_colour() -> None:
    assert text_colour(WHITE) == BLACK
    assert text_colour(BLACK) == WHITE
    for colour in PALETTE:
        luma = [np.dot(c, (0.299, 0.587, 0.114)) for c in (colour, text_colour(colour))]
        assert abs(luma[0] - luma[1]) > 70


def test_the_best_scored_detection_takes_the_truth_first() -> None:
    truth = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    boxes = np.array([[0, 0, 10, 8], [0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    assert match_to_truth(boxes, truth).tolist() == [0, 2, 1]


def test_without_truth_or_detections_numbers_just_count() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    assert match_to_truth(boxes, np.zeros((0, 4))).tolist() == [0, 1]
    assert match_to_truth(np.zeros((0, 4)), boxes).tolist() == []
