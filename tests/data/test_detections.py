from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maskrcnn.data import rle
from maskrcnn.data.detections import Detections

BITMAPS = np.stack([np.eye(6, 8), np.ones((6, 8))]).astype(bool)


def _detections() -> Detections:
    return Detections(
        boxes=np.array([[0, 0, 6, 6], [0, 0, 8, 6]], np.float32),
        scores=np.array([0.9, 0.4], np.float32),
        labels=np.array([2, 1], np.int32),
        masks=[rle.encode(bitmap) for bitmap in BITMAPS],
        keypoints=np.zeros((2, 3, 3), np.float32),
        height=6,
        width=8,
    )


def test_fields_can_be_read_by_name():
    assert np.array_equal(_detections()["boxes"], _detections().boxes)
    with pytest.raises(KeyError):
        _detections()["bool_masks"]


def test_bool_masks_are_of_the_image_size():
    assert np.array_equal(_detections().bool_masks(), BITMAPS)
    assert Detections.empty(6, 8, masks=True).bool_masks().shape == (0, 6, 8)


def test_bool_masks_need_a_mask_head():
    with pytest.raises(ValueError, match="no masks"):
        Detections.empty(6, 8).bool_masks()


def test_taken_rows_keep_their_masks_and_keypoints():
    taken = _detections().take(np.array([False, True]))
    assert len(taken) == 1
    assert taken.labels.tolist() == [1]
    assert np.array_equal(taken.bool_masks(), BITMAPS[1:])
    assert taken.keypoints.shape == (1, 3, 3)
    assert len(_detections().take(np.zeros(0, int))) == 0


@pytest.mark.parametrize(("offset", "expected"), [(0.5, [2.0, 3.5]), (0.0, [2.5, 4.0])])
def test_keypoints_as_files_count_them_follow_the_detectors_own_offset(offset, expected):
    found = replace(_detections(), keypoints=np.float32([[[2.5, 4, 0.9]]] * 2), keypoint_offset=offset)
    assert found.indexed_keypoints()[0, 0].tolist() == [*expected, pytest.approx(0.9)]
    assert found.take(np.array([1])).keypoint_offset == offset
    assert found.keypoints[0, 0, 0] == 2.5
