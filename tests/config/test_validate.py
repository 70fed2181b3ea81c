from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest

from maskrcnn.config.compose import compose
from maskrcnn.config.keys import flatten, leaf_types
from maskrcnn.config.names import BACKBONES, BOTTLENECK_BACKBONES, CHOICES, NECKS, NETWORKS
from maskrcnn.config.paths import owner_of
from maskrcnn.config.ranges import RANGES
from maskrcnn.config.schema import Config
from maskrcnn.config.validate import validate, validate_evaluation, validate_tracking_uri

DEFAULT = compose([])


def lines(config: Config) -> list[str]:
    return [str(problem) for problem in validate(config)]


def changed(key: str, value: object) -> Config:
    config = copy.deepcopy(DEFAULT)
    owner, name = owner_of(config, key)
    setattr(owner, name, value)
    return config


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("train.json", "test.json", "weights.h5"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "images").mkdir()
    return tmp_path


def coco(files: Path, *overrides: str) -> Config:
    part = [f"dataset.train.annotations={files}/train.json", f"dataset.train.images={files}/images"]
    return compose(["dataset=coco_json", *part, *overrides])


@pytest.mark.parametrize("key", [key for key in RANGES if "list" not in str(leaf_types()[key])])
@pytest.mark.parametrize("bad", ["below", "above", "nan", "inf"])
def test_a_number_out_of_its_range_is_named(key, bad):
    limits = RANGES[key]
    value = {"below": limits.low - 1, "above": limits.high + 1, "nan": math.nan, "inf": math.inf}[bad]
    if limits.holds(value):
        pytest.fail(f"{key} accepts {value}")
    problems = validate(changed(key, value))
    assert [problem for problem in problems if problem.where.startswith(f"{key}=")], problems


@pytest.mark.parametrize("key", CHOICES)
def test_a_word_that_is_no_choice_is_answered_with_the_nearest(key):
    good = max(CHOICES[key], key=len)
    found = [line for line in lines(changed(key, good + "x")) if line.startswith(f"{key}=")]
    assert len(found) == 1
    assert f"did you mean {key}={good}?" in found[0]


def test_one_refused_value_gives_one_line():
    assert len(lines(changed("pyramid.levels", 0))) == 1
    assert len(lines(changed("dataset.embedded.train_images", 0))) == 1
    assert len(lines(changed("schedule.steps", 0))) == 1


def test_all_contradictions_come_at_once():
    config = compose(
        ["schedule.epochs=1", "schedule.steps=1", "num_keypoints=30", "image.short_side=8", "image.long_side=4"]
    )
    assert len(lines(config)) >= 4


def test_the_configuration_itself_is_not_changed():
    config = compose(["backbone.norm=frozen"])
    before = flatten(config)
    validate(config)
    assert flatten(config) == before


@pytest.mark.parametrize("value", [None, 1, 7, 17, ["nose", "left_wrist"]])
def test_every_form_of_num_keypoints_is_accepted(value):
    assert not validate(changed("num_keypoints", value))


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("seven", "such as 7 or [nose,left_wrist]"),
        ("nose", "num_keypoints=[nose]"),
        ("left_rist", "did you mean num_keypoints=[left_wrist]?"),
        ("7,17", "add -m for a sweep"),
    ],
)
def test_a_word_for_num_keypoints_is_told_what_to_type(value, hint):
    line = f"num_keypoints={value}: is neither a number nor a list of joint names"
    assert lines(changed("num_keypoints", value))[0].startswith(line)
    assert hint in lines(changed("num_keypoints", value))[0]


def test_joints_are_taught_where_flips_put_them():
    assert not validate(compose(["conventions.keypoint_offset=0"]))
    assert lines(compose(["head=keypoint", "conventions.keypoint_offset=0"])) == [
        "conventions.keypoint_offset=0: trained detectors count the middle of the first pixel 0.5; leave it out"
    ]


def test_an_evaluation_refuses_the_same_choices_of_joints():
    assert "is not from 1 to 17" in str(validate_evaluation(changed("num_keypoints", 18))[0])


def test_own_data_may_have_more_joints_than_coco(files):
    assert not validate(coco(files, "head=keypoint", "num_keypoints=20"))
    schema = "dataset.keypoints={names:[head,tail]}"
    assert lines(coco(files, "head=keypoint", "num_keypoints=3", schema)) == [
        "num_keypoints=3: is not from 1 to 2; null stands for all joints of the data set"
    ]
    assert "did you mean tail?" in lines(coco(files, "head=keypoint", "num_keypoints=[tial]", schema))[0]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("{names:[]}", "is no list of joint names"),
        ("{names:[a,a]}", "names a joint twice"),
        ("{name:[a]}", "did you mean names?"),
        ("{names:[left,right],flip_pairs:[[left,rihgt]]}", "did you mean right?"),
        ("{names:[a,b],flip_pairs:[a,b]}", "is no list of pairs"),
        ("{names:[a,b],flip_pairs:[[a,a]]}", "pairs a twice"),
        ("{names:[a,b,c],flip_pairs:[[a,b],[0,c]]}", "pairs a twice"),
        ("{names:[a,b],flip_pairs:[[a,true]]}", "there is no joint True"),
        ("{names:[a,b],skeleton:[[0,2]]}", "there is no joint 2"),
        ("{names:[a,b],sigmas:[0.1]}", "are 1 for 2 joints"),
        ("{names:[a],sigmas:[0]}", "are not numbers above 0"),
    ],
)
def test_a_keypoint_schema_must_be_whole(files, schema, words):
    assert any(words in line for line in lines(coco(files, f"dataset.keypoints={schema}")))


def test_a_whole_keypoint_schema_is_accepted(files):
    schema = "dataset.keypoints={names:[a,b],flip_pairs:[[a,b]],skeleton:[[0,1]],sigmas:[0.05,0.1]}"
    assert not validate(coco(files, schema))


def test_files_that_are_there_are_accepted(files):
    test = [f"dataset.test.annotations={files}/test.json", f"dataset.test.images={files}/images"]
    weights = ["backbone=mobilenetv2_fpn", "backbone.norm=frozen", f"weights.backbone={files}/weights.h5"]
    assert not validate(coco(files, *test, *weights))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("dataset.test.annotations={files}/test.json", "dataset.test.images: is missing beside"),
        ("dataset.val.images={files}/images", "dataset.val.annotations: is missing beside"),
        ("dataset.train.annotations={files}/trian.json", "did you mean {files}/train.json?"),
        ("dataset.train.images={files}/train.json", "is a file, not a folder"),
        ("dataset.train.annotations={files}/images", "is a folder, not a file"),
        ("dataset.test_fraction=0", "there are no test images"),
        ("dataset.test_fraction=0.95", "leaves nothing to train on"),
        ("dataset.max_train_images=3", "training.batch_size=8: is more than the 3 training images"),
        ("weights.backbone={files}/train.json", "known endings"),
    ],
)
def test_the_parts_of_a_data_set_belong_together(files, override, words):
    base = {"dataset.train.annotations": f"{files}/train.json", "dataset.train.images": f"{files}/images"}
    key, _, value = override.format(files=files).partition("=")
    config = compose(["dataset=coco_json", *(f"{k}={v}" for k, v in {**base, key: value}.items())])
    assert any(words.format(files=files) in line for line in lines(config)), lines(config)


def test_testing_on_the_training_file_is_refused(files):
    same = [f"dataset.test.annotations={files}/train.json", f"dataset.test.images={files}/images"]
    assert any("is the training file" in line for line in lines(coco(files, *same)))


def test_a_missing_data_folder_is_named_once(tmp_path):
    found = lines(compose(["experiment=coco_person_cpu", f"dataset.root={tmp_path}/no"]))
    assert found == [f"dataset.root={tmp_path}/no: there is no such folder; set MASKRCNN_DATA or dataset.root=FOLDER"]


def test_evaluation_needs_test_files_and_nothing_of_the_training(files):
    test = [f"dataset.test.annotations={files}/test.json", f"dataset.test.images={files}/images"]
    config = compose(["dataset=coco_json", *test, "backbone.norm=frozen"])
    assert not validate_evaluation(config)
    assert validate(config)
    assert any(
        "dataset.test.annotations: is missing" in str(p) for p in validate_evaluation(compose(["dataset=coco_json"]))
    )


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost:5000",
        "https://me:word@host/path",
        "sqlite:///mlruns/mlflow.db",
        "databricks",
        "postgresql+psycopg2://h/db",
    ],
)
def test_addresses_of_tracking_stores_are_accepted(uri):
    assert not validate_tracking_uri(uri, "tracking.uri")


@pytest.mark.parametrize(
    "uri", ["localhost:5000", "htp://x", "http://", "http://h:port", "file:///x", "mlruns", "sqlite://", "/x/y"]
)
def test_what_is_no_address_is_refused(uri):
    assert validate_tracking_uri(uri, "tracking.uri")


def test_the_lists_of_names_are_those_of_the_models():
    from maskrcnn.models.backbones import BACKBONE_NAMES, RESNETS
    from maskrcnn.models.backbones.applications import application_names
    from maskrcnn.models.backbones.resnet import LAST_STAGE

    assert tuple(BACKBONES) == BACKBONE_NAMES
    assert application_names() == NETWORKS
    assert tuple(LAST_STAGE) == NECKS
    assert [name for name, variant in RESNETS.items() if variant.bottleneck] == list(BOTTLENECK_BACKBONES)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["backbone=resnet18_fpn", "backbone.neck=dc5"], "backbone.name=resnet18 cannot end in one map"),
        (["backbone=resnet50_fpn", "backbone.neck=c4"], "the proposal network has 1 levels"),
        (["backbone=resnet50_c4", "box_head.convolutions=4"], "res5 is the head of each RoI"),
    ],
)
def test_a_neck_that_does_not_fit_the_other_parts_is_refused(overrides, message):
    assert any(message in problem.what for problem in validate(compose(overrides)))


def test_single_maps_have_no_coarse_levels_that_images_must_fill():
    sizes = ["image.short_side=16", "image.long_side=32"]
    assert validate(compose(["backbone=resnet50_fpn", *sizes]))
    assert not validate(compose(["backbone=resnet50_dc5", *sizes]))


def test_a_detector_s_file_must_be_there_and_brings_its_backbone(files: Path) -> None:
    found = [
        str(problem) for problem in validate(compose([f"weights={files}/weights.h5", "weights.backbone=imagenet"]))
    ]
    assert any("a whole detector brings its backbone" in line for line in found)
    missing = [str(problem) for problem in validate(compose([f"weights={files}/none.pth"]))]
    assert any("there is no such file" in line for line in missing)
    assert not validate(compose([f"weights={files}/weights.h5", "backbone.norm=frozen", "backbone.frozen_stages=2"]))


def test_devices_want_a_batch_that_they_can_share_and_no_optimizer_that_sees_one_of_them():
    config = changed("devices", 3)
    config.optimizer.accumulate, config.optimizer.ema = 2, 0.9
    assert [line.partition(":")[0] for line in lines(config)] == [
        "training.batch_size=8",
        "optimizer.accumulate",
        "optimizer.ema",
    ]
    assert not lines(changed("devices", 2))
