"""Skeletons: sides and their colours, hidden and absent joints, schemas of any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from maskrcnn.structures import COCO_PERSON, KeypointSchema
from maskrcnn.visualization.canvas import pen_for
from maskrcnn.visualization.colours import LEFT, RIGHT
from maskrcnn.visualization.skeletons import draw_skeleton, joint_sides

Pose = Callable[..., np.ndarray]


def grey() -> np.ndarray:
    return np.full((400, 400, 3), 100, np.uint8)


def holds(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour, np.uint8)).all(axis=-1).any())


def test_left_and_right_limbs_have_different_colours(pose: Pose) -> None:
    picture = grey()
    draw_skeleton(picture, pose(), COCO_PERSON, pen_for(picture))
    assert LEFT != RIGHT
    assert holds(picture[:, 240:], LEFT)
    assert not holds(picture[:, 240:], RIGHT)
    assert holds(picture[:, :160], RIGHT)
    assert not holds(picture[:, :160], LEFT)


def test_a_hidden_joint_is_hollow_and_an_absent_one_is_not_drawn(pose: Pose) -> None:
    seen, hidden, absent = grey(), grey(), grey()
    for picture, visibility in ((seen, 2), (hidden, 1), (absent, 0)):
        draw_skeleton(picture, pose(left_wrist=visibility), COCO_PERSON, pen_for(picture))
    place = (249, 349)
    assert tuple(seen[place]) == LEFT
    assert tuple(hidden[place]) != LEFT
    assert holds(hidden[240:260, 340:360], LEFT)
    assert (absent[220:280, 330:370] == 100).all()


def test_sides_come_from_names_or_else_from_flip_pairs() -> None:
    assert joint_sides(COCO_PERSON)[:3] == [0, -1, 1]
    wings = KeypointSchema(("beak", "wing_a", "wing_b"), flip_pairs=((1, 2),))
    assert joint_sides(wings) == [0, -1, 1]


@pytest.mark.parametrize(
    ("names", "sides"),
    [
        (("nose", "left_eye", "right_eye"), [0, -1, 1]),
        (("L_Paw", "R_Paw", "Withers"), [-1, 1, 0]),
        (("paw_l", "paw_r", "tail"), [-1, 1, 0]),
        (("LeftElbow", "RightElbow", "leg"), [-1, 1, 0]),
        (("head", "tail"), [0, 0]),
        (("rear", "lip"), [0, 0]),
    ],
)
def test_sides_of_many_ways_to_name_them(names: tuple[str, ...], sides: list[int]) -> None:
    assert joint_sides(KeypointSchema(names)) == sides


def test_a_pair_whose_names_tell_keeps_its_sides_in_either_order() -> None:
    for pair in ((0, 1), (1, 0)):
        assert joint_sides(KeypointSchema(("R_Paw", "L_Paw"), flip_pairs=(pair,))) == [1, -1]


def test_two_points_and_no_bones_are_drawn() -> None:
    picture = grey()
    draw_skeleton(picture, np.array([[100, 100, 2], [300, 200, 1]]), KeypointSchema(("head", "tail")), pen_for(picture))
    changed = np.argwhere((picture != 100).any(axis=-1))
    assert changed.min(axis=0).min() >= 80
    assert (picture[100, 100] != 100).any()
    assert (picture[150, 200] == 100).all()


def test_the_same_skeleton_looks_the_same_again(pose: Pose) -> None:
    first, second = grey(), grey()
    for picture in (first, second):
        draw_skeleton(picture, pose(), COCO_PERSON, pen_for(picture))
    np.testing.assert_array_equal(first, second)
