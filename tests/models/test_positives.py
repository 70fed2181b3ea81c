"""Which rows of a sample the mask and keypoint heads run on."""

import dataclasses

import numpy as np

from maskrcnn.models.positives import rows_of_positives
from maskrcnn.models.roi_sampling import SampledRoIs
from maskrcnn.structures import RoISettings

SETTINGS = RoISettings(batch_per_image=8, positive_fraction=0.5)


def sample():
    """Two images of eight RoIs: four positives and two; the second image's first ground truth has no annotation."""
    states = np.array([[1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, -1, -1, -1]], np.int32)
    matched = np.array([[0, 1, 0, 1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0]], np.int32)
    boxes = np.arange(64, dtype=np.float32).reshape(2, 8, 4)
    rois = SampledRoIs(boxes=boxes, states=states, matched=matched, labels=states * 3)
    return rois, np.array([[True, True], [False, True]])


def places(rows):
    """(image, slot) of the rows that count; on other backends than TensorFlow the rest has weight 0."""
    kept = np.asarray(rows.weights) > 0
    return list(zip(np.asarray(rows.images)[kept].tolist(), np.asarray(rows.slots)[kept].tolist()))


def test_every_annotated_positive_has_a_row():
    rois, annotated = sample()
    assert places(rows_of_positives(rois, SETTINGS, annotated)) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1)]


def test_at_most_so_many_annotated_positives_of_an_image_are_taken():
    rois, annotated = sample()
    few = dataclasses.replace(SETTINGS, dense_positives=2)
    assert places(rows_of_positives(rois, few, annotated)) == [(0, 0), (0, 1), (1, 1)]


def test_a_limit_above_the_sample_changes_nothing():
    rois, annotated = sample()
    many = dataclasses.replace(SETTINGS, dense_positives=100)
    assert places(rows_of_positives(rois, many, annotated)) == places(rows_of_positives(rois, SETTINGS, annotated))
