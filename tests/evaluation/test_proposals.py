"""Recall of proposals on boxes whose overlaps are known."""

from __future__ import annotations

import numpy as np
import pytest

from maskrcnn.evaluation.proposals import best_iou, recall_at_iou

TRUTH = np.array([[0, 0, 10, 10], [20, 20, 30, 40]], np.float32)


def test_recall_counts_objects_at_or_above_the_threshold() -> None:
    proposals = np.array([[0, 0, 10, 5], [20, 20, 30, 40], [50, 50, 60, 60]], np.float32)
    assert recall_at_iou([proposals], [TRUTH], (0.5, 0.51, 1.0)) == [1.0, 0.5, 0.5]


def test_recall_is_over_the_objects_of_all_images() -> None:
    empty = np.zeros((0, 4), np.float32)
    assert recall_at_iou([TRUTH, empty, TRUTH], [TRUTH[:1], TRUTH, empty]) == [pytest.approx(1 / 3)] * 2


def test_recall_without_objects_is_undefined() -> None:
    assert recall_at_iou([TRUTH], [np.zeros((0, 4))]) == [None, None]
    assert recall_at_iou([], [], (0.5,)) == [None]


def test_boxes_without_area_overlap_nothing() -> None:
    flat = np.array([[5, 5, 5, 9], [0, 0, 0, 0]], np.float32)
    assert best_iou(flat, flat).tolist() == [0.0, 0.0]


def test_different_numbers_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        recall_at_iou([TRUTH], [])
