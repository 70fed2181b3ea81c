from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord


def _dataset(**changes) -> Dataset:
    polygon = np.array([1, 1, 5, 1, 5, 5.0])
    values = {"id": 1, "label": 1, "box": (1.0, 1.0, 5.0, 5.0), "area": 8.0, "segmentation": (polygon,), **changes}
    image = ImageRecord(7, "a.jpg", "/data/a.jpg", 10, 20, (Annotation(**values),))
    return Dataset("tiny", (Category(3, "cat"), Category(9, "dog")), (image,))


def test_labels_name_categories_in_order():
    assert _dataset().num_classes == 2
    assert _dataset().category_names == ("cat", "dog")
    assert len(_dataset()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"label": 2},
        {"box": (1.0, 1.0, 5.0, 5.5)},
        {"area": 9.0},
        {"is_crowd": True},
        {"segmentation": None},
        {"segmentation": (np.array([1, 1, 5, 1, 5, 5.5]),)},
        {"segmentation": {"size": [10, 20], "counts": [200]}},
        {"keypoints": np.zeros((1, 3), np.float32)},
    ],
)
def test_digest_changes_with_the_content(changes):
    assert _dataset(**changes).digest != _dataset().digest


def test_digest_does_not_depend_on_where_the_images_lie():
    moved = dataclasses.replace(
        _dataset(), name="other", images=(dataclasses.replace(_dataset().images[0], path="/b"),)
    )
    assert moved.digest == _dataset().digest


def test_digest_is_the_same_for_bytes_and_text_counts():
    codes = ({"size": [10, 20], "counts": "0P6"}, {"size": [10, 20], "counts": b"0P6"})
    assert len({_dataset(segmentation=code).digest for code in codes}) == 1
