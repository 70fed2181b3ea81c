"""A person to draw."""

from collections.abc import Callable

import numpy as np
import pytest

from maskrcnn.structures import COCO_PERSON


@pytest.fixture
def pose() -> Callable[..., np.ndarray]:
    """Makes the joints of a stick person [17, 3]; visibilities by joint, 2 where none is given."""
    return _stick_person


def _stick_person(**visibility: int) -> np.ndarray:
    """Two arms of a stick person: left at the right of the picture, as of a person who faces the camera."""
    places = {
        "left_shoulder": (220, 100), "left_elbow": (300, 150), "left_wrist": (350, 250),
        "right_shoulder": (180, 100), "right_elbow": (100, 150), "right_wrist": (50, 250),
    }  # fmt: skip
    joints = np.zeros((17, 3), np.float32)
    for name, place in places.items():
        joints[COCO_PERSON.names.index(name)] = (*place, visibility.get(name, 2))
    return joints
