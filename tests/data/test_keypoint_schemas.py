from __future__ import annotations

import pytest

from maskrcnn.data.keypoint_schemas import DEFAULT_SIGMA, OwnJoints, find_flip_pairs, keypoint_schema, own_joints
from maskrcnn.data.records import Category
from maskrcnn.structures import COCO_PERSON


def test_coco_names_give_the_published_schema():
    # PAPER §3.3: pairs, bones and tolerances
    person = Category(1, "person", keypoints=COCO_PERSON.names, skeleton=COCO_PERSON.skeleton)
    assert keypoint_schema(person) == COCO_PERSON


def test_joints_that_nobody_measured_get_the_default_tolerance():
    assert keypoint_schema(Category(7, "tube", keypoints=("head", "tail"))).sigmas == (DEFAULT_SIGMA,) * 2


@pytest.mark.parametrize(
    "names",
    [
        ("left_eye", "right_eye"),
        ("Left Eye", "Right Eye"),
        ("LEFT_EYE", "RIGHT_EYE"),
        ("eye_left", "eye_right"),
        ("L_Eye", "R_Eye"),
        ("LEye", "REye"),
        ("l-eye", "r-eye"),
        ("eye_l", "eye_r"),
        ("eye.L", "eye.R"),
        ("leftEye", "rightEye"),
    ],
)
def test_sides_are_found_however_they_are_written(names):
    assert find_flip_pairs(("nose", *names)) == ((1, 2),)


@pytest.mark.parametrize("names", [("left_eye", "tail"), ("lip", "rip"), ("Lip", "Rip"), ("head", "tail"), ()])
def test_names_without_a_partner_give_no_pair(names):
    assert find_flip_pairs(names) == ()


TUBE = Category(7, "tube", keypoints=("left_end", "right_end"), skeleton=((0, 1),))


def test_what_the_user_leaves_out_follows_from_names_and_category():
    assert keypoint_schema(TUBE, own_joints({"names": ["left_end", "right_end"]})) == keypoint_schema(TUBE)
    assert keypoint_schema(TUBE).flip_pairs == ((0, 1),)


def test_what_the_user_gives_replaces_what_would_follow():
    own = own_joints({"names": ["a", "b"], "flip_pairs": [], "skeleton": [], "sigmas": [0.1, 1]})
    schema = keypoint_schema(TUBE, own)
    assert (schema.flip_pairs, schema.skeleton, schema.sigmas) == ((), (), (0.1, 1.0))


def test_pairs_may_name_their_joints_or_count_them_from_0():
    named = own_joints({"names": ["a", "b", "c"], "flip_pairs": [["a", "c"]], "skeleton": [[0, "b"]]})
    assert named == OwnJoints(("a", "b", "c"), ((0, 2),), ((0, 1),))
