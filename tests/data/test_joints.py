"""`num_keypoints`: nested subsets, names, and what is refused."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn.data.joints import COCO_ORDER, choose_joints, joint_rows, joints_sentence
from maskrcnn.data.records import Category, Dataset
from maskrcnn.errors import UserError
from maskrcnn.structures import COCO_PERSON, KeypointSchema

PERSONS = Dataset("persons", (Category(1, "person", keypoints=COCO_PERSON.names),), (), COCO_PERSON)
TUBES = KeypointSchema(("head", "middle", "tail"), sigmas=(0.05,) * 3)


def names_of(choice):
    return [COCO_PERSON.names[row] for row in joint_rows(COCO_PERSON, choice)]


@given(st.integers(1, 16))
def test_each_number_keeps_all_joints_of_the_smaller_ones(count):
    rows = joint_rows(COCO_PERSON, count)
    assert len(rows) == count
    assert list(rows) == sorted(rows)
    assert set(rows) < set(joint_rows(COCO_PERSON, count + 1))


def test_seven_joints_are_nose_shoulders_hands_and_feet():
    assert set(names_of(7)) == {
        "nose",
        *(f"{s}_{j}" for s in ("left", "right") for j in ("shoulder", "wrist", "ankle")),
    }


@pytest.mark.parametrize("count", range(1, 18, 2))
def test_odd_numbers_part_no_pair(count):
    assert COCO_PERSON.select(joint_rows(COCO_PERSON, count)).unpaired == ()


def test_the_order_names_every_joint_once():
    assert sorted(COCO_ORDER) == sorted(COCO_PERSON.names)


def test_seventeen_joints_are_all_in_their_order():
    assert joint_rows(COCO_PERSON, 17) == tuple(range(17))


def test_names_keep_the_order_of_the_user():
    assert names_of(["left_wrist", "nose"]) == ["left_wrist", "nose"]


def test_other_lists_of_joints_give_their_first():
    assert joint_rows(TUBES, 2) == (0, 1)


def test_a_choice_leaves_the_full_schema_and_is_made_anew_from_it():
    seven = choose_joints(PERSONS, 7)
    assert len(seven.schema) == 7
    assert seven.full_schema == COCO_PERSON
    assert choose_joints(seven, 17).schema == COCO_PERSON
    assert choose_joints(PERSONS, None) is PERSONS
    assert choose_joints(dataclasses.replace(PERSONS, schema=None), 7).schema is None


def test_the_digest_tells_how_many_joints_are_learnt():
    assert len({choose_joints(PERSONS, choice).digest for choice in (None, 7, 8, ["nose"])}) == 4


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (0, "num_keypoints=0: is not from 1 to 17"),
        (18, "num_keypoints=18: is not from 1 to 17"),
        (-1, "num_keypoints=-1: is not from 1 to 17"),
        (True, "num_keypoints=True: is neither a number nor a list"),
        ("seven", "num_keypoints=seven: is neither a number nor a list"),
        ([], "is neither a number nor a list"),
        ([7], "is neither a number nor a list"),
        (["nose", "noze"], "there is no joint 'noze'; did you mean nose?"),
        (["nose", "xyz"], "there is no joint 'xyz'; known: nose, left_eye"),
        (["nose", "nose"], "num_keypoints=[nose,nose]: names nose twice"),
    ],
)
def test_a_wrong_choice_is_told_in_one_line(choice, words):
    with pytest.raises(UserError) as caught:
        choose_joints(PERSONS, choice)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sentence_says_how_many_joints_there_are_of_how_many():
    assert joints_sentence(TUBES) == "3 joints (head, middle, tail)"
    assert joints_sentence(TUBES.select([0, 2]), TUBES) == "2 of 3 joints (head, tail)"
    assert joints_sentence(TUBES.select([1])) == "1 joint (middle)"
