"""Figures of a data set against counts by hand."""

import math

import numpy as np

from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.data.statistics import Distribution, describe


def test_figures_of_a_small_set_are_those_counted_by_hand():
    joints = np.array([[1, 1, 2], [2, 2, 1], [0, 0, 0], [3, 3, 2]], np.float32)
    objects = (
        Annotation(1, 1, (0, 0, 4, 2), 9.0, keypoints=joints),
        Annotation(2, 2, (0, 0, 6, 8), 25.0),
        Annotation(3, 2, (0, 0, 9, 9), 81.0, is_crowd=True),
        Annotation(4, 1, (0, 0, 5, 5), 16.0, keypoints=np.zeros((4, 3), np.float32)),
    )
    images = (ImageRecord(1, "a.png", "", 9, 9, objects), ImageRecord(2, "b.png", "", 9, 9))
    figures = describe(Dataset("set", (Category(1, "person"), Category(2, "dog")), images), [0.5, 1.0])
    assert (figures.images, figures.empty_images, figures.crowd_regions, figures.instances) == (2, 1, 1, 3)
    assert figures.objects_per_image.mean == 1.5
    assert figures.size.mean == 4
    assert figures.long_side.percentiles[2] == 5
    assert figures.short_side.percentiles[2] == 5
    assert figures.visible_fraction.mean == 0.75
    assert figures.joints == (0.25, 0.25, 0.5)
    assert figures.category_shares == {"person": 2 / 3, "dog": 1 / 3}


def test_a_set_without_objects_has_figures():
    figures = describe(Dataset("set", (Category(1, "dog"),), ()))
    assert (figures.images, figures.joints, figures.category_shares) == (0, (0, 0, 0), {"dog": 0})
    assert math.isnan(figures.size.mean)


def test_percentiles_are_those_of_numpy():
    assert Distribution.of(range(101)).percentiles == (5, 25, 50, 75, 95)
