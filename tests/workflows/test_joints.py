"""A model's joints against a data set's: which are judged, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest

from maskrcnn.data.detections import Detections
from maskrcnn.data.joints import choose_joints
from maskrcnn.data.records import Category, Dataset
from maskrcnn.errors import UserError
from maskrcnn.structures import COCO_PERSON, KeypointSchema
from maskrcnn.workflows.joints import in_joints_of, with_joints_of

PERSONS = Dataset("persons", (Category(1, "person", keypoints=COCO_PERSON.names),), (), COCO_PERSON)
SEVEN = choose_joints(PERSONS, 7)
TUBES = KeypointSchema(("head", "tail"), sigmas=(0.05, 0.05))


def model(schema):
    return SimpleNamespace(schema=schema)


def test_a_model_of_seven_joints_is_judged_over_its_seven():
    judged = in_joints_of(model(SEVEN.schema), PERSONS, chosen=False)
    assert judged.schema == SEVEN.schema
    assert judged.full_schema == COCO_PERSON


def test_a_model_of_seventeen_joints_is_judged_over_the_seven_that_are_chosen():
    assert in_joints_of(model(COCO_PERSON), SEVEN, chosen=True).schema == SEVEN.schema


def test_a_choice_from_the_data_that_the_model_made_as_well_stays_as_it_is():
    assert in_joints_of(model(SEVEN.schema), SEVEN, chosen=True) is SEVEN


def test_joints_in_another_order_are_found_by_their_names():
    wrists = COCO_PERSON.select([10, 9])
    assert in_joints_of(model(wrists), PERSONS, chosen=False).schema.index_map == (10, 9)


@pytest.mark.parametrize(
    ("schema", "dataset", "chosen", "words"),
    [
        (SEVEN.schema, choose_joints(PERSONS, 9), True, "num_keypoints: the model does not find the joint 'left_hip'"),
        (TUBES, PERSONS, False, "persons: there is no joint 'head', which the model finds"),
        (None, PERSONS, False, "the model has no named joints"),
        (TUBES, Dataset("cups", (Category(1, "cup"),), ()), False, "the data set has no joints"),
    ],
)
def test_joints_that_one_side_lacks_are_told_in_one_line(schema, dataset, chosen, words):
    with pytest.raises(UserError) as caught:
        in_joints_of(model(schema), dataset, chosen=chosen)
    assert words in str(caught.value)


def test_detections_keep_the_columns_of_the_data_sets_joints():
    found = Detections.empty(4, 4, num_keypoints=17)
    person = Detections(
        np.ones((1, 4)), np.ones(1), np.ones(1), None, np.arange(51, dtype=np.float32).reshape(1, 17, 3), 4, 4
    )
    part, none = with_joints_of(SEVEN, [person, found], COCO_PERSON)
    np.testing.assert_array_equal(part.keypoints, person.keypoints[:, list(SEVEN.schema.index_map)])
    assert none.keypoints.shape == (0, 7, 3)


def test_detections_of_the_same_joints_stay_as_they_are():
    found = [Detections.empty(4, 4, num_keypoints=17), Detections.empty(4, 4)]
    assert with_joints_of(PERSONS, found, COCO_PERSON) == found
    assert with_joints_of(PERSONS, found, None) == found
