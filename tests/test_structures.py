"""Keypoint schemas: what a subset of joints keeps of pairs, bones, tolerances and places in the full list."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn.structures import COCO_PERSON, Conventions, KeypointSchema, bridged_bones, settings_from_dict

CHAIN = [(0, 1), (1, 2), (2, 3), (3, 4)]
rows_of_coco = st.lists(st.integers(0, 16), min_size=1, unique=True)


@given(rows_of_coco)
def test_a_subset_keeps_names_tolerances_and_the_way_back(rows):
    part = COCO_PERSON.select(rows)
    assert part.index_map == tuple(rows)
    assert part.names == tuple(COCO_PERSON.names[row] for row in rows)
    assert part.sigmas == tuple(COCO_PERSON.sigmas[row] for row in rows)
    for left, right in part.flip_pairs:
        assert part.names[left].replace("left", "right") == part.names[right]


@given(rows_of_coco, st.data())
def test_a_subset_of_a_subset_still_points_into_the_full_list(rows, data):
    part = COCO_PERSON.select(rows)
    inner = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, unique=True))
    assert part.select(inner).index_map == tuple(rows[k] for k in inner)
    assert part.select(inner).names == tuple(COCO_PERSON.names[rows[k]] for k in inner)


@given(rows_of_coco)
def test_mirroring_twice_gives_every_joint_its_own_row(rows):
    swap = COCO_PERSON.select(rows).flip_permutation
    assert [swap[row] for row in swap] == list(range(len(rows)))


def test_all_joints_in_their_order_are_the_schema_itself():
    assert COCO_PERSON.select(range(17)) == COCO_PERSON


@pytest.mark.parametrize(
    ("rows", "bones"),
    [
        ([0, 1, 2], {(0, 1), (1, 2)}),
        ([0, 2, 4], {(0, 2), (2, 4)}),
        ([0, 3], {(0, 3)}),
        ([0, 4], set()),
        ([2], set()),
        ([], set()),
    ],
)
def test_a_bone_stands_for_a_chain_of_at_most_three(rows, bones):
    assert {tuple(sorted(bone)) for bone in bridged_bones(CHAIN, rows)} == bones


def test_a_chain_becomes_no_bone_where_a_shorter_one_connects_its_ends():
    square = [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert set(bridged_bones(square, [0, 1, 2])) == {(0, 1), (1, 2)}


def test_seven_joints_of_a_person_are_a_figure_without_crossed_limbs():
    names = ("nose", "left_shoulder", "right_shoulder", "left_wrist", "right_wrist", "left_ankle", "right_ankle")
    part = COCO_PERSON.select([COCO_PERSON.names.index(name) for name in names])
    bones = {frozenset((part.names[a], part.names[b])) for a, b in part.skeleton}
    assert bones == {
        frozenset(("nose", "left_shoulder")),
        frozenset(("nose", "right_shoulder")),
        frozenset(("left_shoulder", "right_shoulder")),
        frozenset(("left_shoulder", "left_wrist")),
        frozenset(("right_shoulder", "right_wrist")),
        frozenset(("left_shoulder", "left_ankle")),
        frozenset(("right_shoulder", "right_ankle")),
    }


def test_a_schema_without_tolerances_stays_without():
    assert KeypointSchema(("a", "b")).select([1]).sigmas == ()


def test_conventions_of_older_models_get_the_offset_of_their_training():
    values = dataclasses.asdict(Conventions())
    del values["keypoint_offset"]
    assert settings_from_dict(Conventions, values).keypoint_offset == 0.5
