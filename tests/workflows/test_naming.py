"""The parameters that runs are compared by."""

import pytest

from maskrcnn.config.compose import compose
from maskrcnn.workflows.naming import MOST_PARAMS, headline_params, run_name


@pytest.mark.parametrize(
    ("overrides", "joints"),
    [
        (["head=keypoint"], "all"),
        (["task=multitask", "num_keypoints=7"], "7"),
        (["task=keypoint", "num_keypoints=[nose,left_eye]"], "nose,left_eye"),
        (["num_keypoints=7"], None),
    ],
)
def test_runs_of_poses_are_compared_by_their_number_of_joints(overrides, joints):
    params = headline_params(compose(overrides))
    assert params.get("num_keypoints") == joints
    assert len(params) == MOST_PARAMS
    assert "seed" in params


def test_a_swept_number_of_joints_is_said_once_and_first():
    params = headline_params(compose(["head=keypoint", "num_keypoints=7"]), {"num_keypoints": "7"})
    assert next(iter(params)) == "num_keypoints"
    assert "seed" in params


def test_a_name_has_what_was_typed_with_the_swept_keys_first_and_nothing_that_follows_from_it():
    overrides = ["schedule.steps=60", "seed=1", "schedule.epochs=null", "tracking.experiment=mine"]
    assert run_name(compose(overrides), overrides, ["seed"]) == "seed=1, schedule.steps=60"
    assert run_name(compose(["tracking.experiment=mine"]), ["tracking.experiment=mine"]) == "segmentation"
