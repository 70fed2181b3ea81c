"""Which parts a configuration gives, which joints are learnt, and what it is refused for."""

import json
from pathlib import Path

import numpy as np
import pytest

from maskrcnn.config.compose import compose
from maskrcnn.errors import ProblemsError, UserError
from maskrcnn.structures import COCO_PERSON
from maskrcnn.workflows.build import build_reader
from maskrcnn.workflows.datasets import load_data

TINY = ["dataset.embedded.train_images=12", "dataset.embedded.test_images=4"]
QUIRKS = Path(__file__).resolve().parents[2] / "../shared/data/coco/quirks"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKRCNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def coco(annotations, images, *overrides):
    files = [f"dataset.train.annotations={annotations}", f"dataset.train.images={images}"]
    return compose(["dataset=coco_json", *files, "image.short_side=64", *overrides])


def quirk(name, file, *overrides):
    folder = QUIRKS / name
    if not folder.is_dir():
        pytest.skip("the shared data sets are not there")
    return coco(folder / file, folder / "images", "dataset.faults=drop", *overrides)


def first_batch(config, data):
    return next(iter(build_reader(config, data.train, training=True).batches(0)))


def test_the_three_parts_share_no_image_and_the_table_counts_them():
    data = load_data(compose([*TINY, "dataset.val.fraction=0.25"]))
    assert [len(part) for part in data.parts.values()] == [9, 3, 4]
    assert not {r.id for r in data.train.images} & {r.id for r in data.val.images}
    assert data.samples.rows[-1][1::3] == (9, 3, 4)


@pytest.mark.parametrize(
    ("overrides", "stay"),
    [
        (["head=mask"], True),
        (["head=mask_keypoint"], True),
        (["head=keypoint"], False),
        (["head=keypoint", "dataset.background=true"], True),
        (["head=mask", "dataset.background=false"], False),
    ],
)
def test_images_without_persons_train_masks_and_no_poses_and_are_always_tested(overrides, stay):
    data = load_data(compose([*TINY, "dataset.categories=[person]", "dataset.val.fraction=0", *overrides]))
    train, test = (sum(not record.annotations for record in part.images) for part in (data.train, data.test))
    assert bool(train) == stay
    assert test > 0


@pytest.mark.parametrize("head", ["keypoint", "mask_keypoint"])
def test_a_number_of_joints_reaches_every_part_and_the_batches(head):
    config = compose([*TINY, f"head={head}", "num_keypoints=7", "dataset.val.fraction=0.25"])
    data = load_data(config)
    assert {len(part.schema) for part in data.parts.values()} == {7}
    assert data.schema.names[:3] == ("nose", "left_shoulder", "right_shoulder")
    assert data.train.full_schema == COCO_PERSON
    assert first_batch(config, data)["keypoints"].shape[2:] == (7, 3)


def test_names_of_joints_keep_their_order():
    data = load_data(compose([*TINY, "head=keypoint", "num_keypoints=[left_wrist,nose]"]))
    assert data.schema.names == ("left_wrist", "nose")


def test_joints_say_nothing_to_other_heads_and_a_warning_says_so(caplog):
    data = load_data(compose([*TINY, "num_keypoints=7"]))
    assert "num_keypoints has no meaning for head=mask" in caplog.text
    assert data.train.chosen_from is None


@pytest.mark.parametrize(
    ("name", "file", "overrides", "joints"),
    [
        ("two_point_keypoints", "keypoints_train.json", [], 2),
        ("two_point_keypoints", "keypoints_train.json", ["num_keypoints=1"], 1),
        ("two_point_keypoints", "keypoints_train.json", ["dataset.keypoints={names:[front,back],sigmas:[0.1,0.2]}"], 2),
        ("animal_keypoints/animalpose", "annotations.json", [], 20),
        ("animal_keypoints/macaque", "annotations.json", ["num_keypoints=7"], 7),
        ("animal_keypoints/horse10", "annotations.json", ["num_keypoints=[Nose,Hip]"], 2),
        ("animal_keypoints/ap10k", "annotations.json", ["num_keypoints=[left_eye,right_eye]"], 2),
        ("animal_keypoints/atrw", "annotations.json", [], 15),
    ],
)
def test_sets_with_joints_of_their_own_work_like_persons(name, file, overrides, joints):
    config = quirk(name, file, "head=keypoint", "dataset.test_fraction=0.34", "dataset.val.fraction=0", *overrides)
    config.training.batch_size = 1
    data = load_data(config)
    assert len(data.schema) == joints
    assert len(data.schema.sigmas) == joints
    batch = first_batch(config, data)
    assert batch["keypoints"].shape[2] == joints
    assert np.isfinite(batch["keypoints"]).all()


def test_own_tolerances_are_the_users_and_others_the_default():
    own = "dataset.keypoints={names:[front,back],sigmas:[0.1,0.2]}"
    sigmas = [
        load_data(quirk("two_point_keypoints", "keypoints_train.json", "head=keypoint", *more)).schema.sigmas
        for more in ([own], [])
    ]
    assert sigmas == [(0.1, 0.2), (0.05, 0.05)]


def refusal(config):
    with pytest.raises(UserError) as caught:
        load_data(config)
    if isinstance(caught.value, ProblemsError):
        return str(caught.value.problems[0])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["num_keypoints=3"], "num_keypoints=3: is not from 1 to 2"),
        (["num_keypoints=[head,tial]"], "there is no joint 'tial'; did you mean tail?"),
        (["dataset.keypoints={names:[a,b,c]}"], "has 2 joints, dataset.keypoints has 3"),
    ],
)
def test_joints_that_the_file_does_not_have_are_told_in_one_line(overrides, words):
    assert words in refusal(quirk("two_point_keypoints", "keypoints_train.json", "head=keypoint", *overrides))


def test_data_without_joints_are_told_in_one_line():
    text = refusal(quirk("roboflow_boxes", "annotations.json", "head=keypoint"))
    assert "none declares keypoints, which head=keypoint needs; task=segmentation or task=detection" in text


def person_file(folder, keypoints, size=40):
    """Four images of one person each, all with these numbers."""
    (folder / "images").mkdir(exist_ok=True)
    from PIL import Image

    images, annotations = [], []
    for number in range(1, 5):
        Image.new("RGB", (size, size), (number * 20, 80, 80)).save(folder / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": size, "height": size})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "bbox": [5, 5, 30, 30],
                "area": 900,
                "iscrowd": 0,
                "keypoints": keypoints,
                "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
            }
        )
    category = {"id": 1, "name": "person", "keypoints": list(COCO_PERSON.names)}
    path = folder / "persons.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [category]}))
    return coco(path, folder / "images", "head=keypoint", "dataset.val.fraction=0", "training.batch_size=2")


def test_all_joints_invisible_are_refused_in_one_line(tmp_path):
    assert "none has a labelled keypoint, which head=keypoint needs" in refusal(person_file(tmp_path, [0] * 51))


def test_a_subset_without_a_labelled_joint_is_refused_in_one_line(tmp_path):
    config = person_file(tmp_path, [0] * 48 + [20, 20, 2])
    config.num_keypoints = ["nose"]
    assert "no training object has a labelled joint of the 1 of 17 joints (nose)" in refusal(config)


def test_one_visible_joint_is_enough(tmp_path):
    config = person_file(tmp_path, [20, 20, 2] + [0] * 48)
    batch = first_batch(config, load_data(config))
    assert (batch["keypoints"][..., 2] > 0).sum() == 2


def test_joints_outside_their_box_are_kept_and_far_outside_the_image_are_a_fault(tmp_path):
    config = person_file(tmp_path, [2, 2, 2] + [0] * 48)
    config.augmentation.flip = 0.0
    batch = first_batch(config, load_data(config))
    assert batch["keypoints"][0, 0, 0, :2] == pytest.approx([4, 4])
    far = person_file(tmp_path, [500, 2, 2] + [0] * 48)
    assert "has a labelled keypoint 460.0 px outside the image" in refusal(far)
