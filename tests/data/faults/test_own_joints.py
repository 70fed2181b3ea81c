"""`dataset.keypoints`: the user's own names of a file's joints, and categories whose joints are not wanted."""

from __future__ import annotations

import pytest

from maskrcnn.data.coco import load_coco
from maskrcnn.data.keypoint_schemas import own_joints
from maskrcnn.errors import ProblemsError

PERSON = ["nose", "left_eye", "right_eye"]


def load(example, head="keypoint", names=None, wanted=None, **more):
    example.write()
    own = None if names is None else own_joints({"names": names, **more})
    return load_coco(example.path, example.folder, head=head, joints=own, wanted=wanted)[0]


def two_kinds(example):
    example.category(5)["keypoints"] = ["snout", "tail"]
    example.set(104, keypoints=[22, 6, 2, 24, 8, 1], num_keypoints=2)


def test_own_names_replace_those_of_the_file(example):
    dataset = load(example, names=["a", "b", "c"], flip_pairs=[["b", "c"]], sigmas=[0.1, 0.2, 0.2])
    assert dataset.schema.names == dataset.categories[0].keypoints == ("a", "b", "c")
    assert dataset.schema.flip_pairs == ((1, 2),)
    assert dataset.schema.sigmas == (0.1, 0.2, 0.2)
    assert dataset.schema.skeleton == ((0, 1), (0, 2))


def test_a_file_that_names_no_joints_takes_the_users(example):
    example.category(2).pop("keypoints")
    example.document["annotations"] = example.document["annotations"][:3]
    dataset = load(example, names=PERSON, wanted=["person"])
    assert dataset.category_names == ("person",)
    assert dataset.schema.flip_pairs == ((1, 2),)
    assert dataset.images[0].annotations[0].keypoints.shape == (3, 3)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b"], "category 2 (person): has 3 joints, dataset.keypoints has 2"),
        (["a", "b", "c", "d"], "category 2 (person): has 3 joints, dataset.keypoints has 4"),
        (PERSON[::-1], "category 2 (person): has the joints of dataset.keypoints in another order"),
    ],
)
def test_own_names_that_contradict_the_file_are_told_in_one_line(example, names, words):
    with pytest.raises(ProblemsError) as caught:
        load(example, names=names)
    assert words in str(caught.value.problems[0])


def test_own_names_of_another_length_than_a_file_without_names_are_told_by_its_annotations(example):
    example.category(2).pop("keypoints")
    with pytest.raises(ProblemsError, match=r"annotation 101.*has 9 keypoint numbers, expected 3 x 2 = 6"):
        load(example, names=["a", "b"], wanted=["person"])


def test_two_kinds_of_joints_are_one_fault_that_says_how_to_choose(example):
    two_kinds(example)
    with pytest.raises(ProblemsError, match=r"has 2 joints, category 2 \(person\) has 3.*dataset.categories="):
        load(example)


@pytest.mark.parametrize(("wanted", "joints"), [(["dog"], ("snout", "tail")), (["2"], tuple(PERSON))])
@pytest.mark.parametrize("head", ["keypoint", "mask_keypoint"])
def test_categories_that_are_not_wanted_may_have_other_joints(example, head, wanted, joints):
    two_kinds(example)
    dataset = load(example, head=head, wanted=wanted)
    assert dataset.schema.names == joints
    assert len(dataset.categories) == 1


def test_own_names_pass_over_unwanted_categories_of_another_length(example):
    two_kinds(example)
    assert load(example, names=["a", "b", "c"], wanted=["person"]).category_names == ("person",)
    with pytest.raises(ProblemsError, match=r"category 5 \(dog\): has 2 joints, dataset.keypoints has 3"):
        load(example, names=["a", "b", "c"])
