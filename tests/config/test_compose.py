from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml

from maskrcnn.config.compose import OverridesError, compose, compose_combinations, prepare
from maskrcnn.config.groups import GROUPS, checkout_folder, options
from maskrcnn.config.keys import flatten
from maskrcnn.config.schema import Config
from maskrcnn.config.validate import validate

ROOT = Path(__file__).resolve().parents[2]


def shipped() -> list[str]:
    return [f"{group}={option}" for group in GROUPS for option in options(group)]


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    monkeypatch.delenv("MASKRCNN_DATA", raising=False)


@pytest.mark.parametrize("override", shipped())
def test_every_shipped_option_composes_and_contradicts_itself_nowhere(override):
    config = compose([override])
    assert type(config) is Config
    problems = [problem for problem in validate(config) if "there is no such" not in problem.what]
    # the user names the files
    if override in ("dataset=coco_json", "experiment=finetune", "experiment=finetune_subset"):
        problems = [problem for problem in problems if "is missing" not in problem.what]
    assert not problems


@pytest.mark.parametrize(
    ("task", "backbone"),
    list(itertools.product(["segmentation", "keypoint"], ["small_fpn", "resnet50_fpn", "mobilenetv2_fpn"])),
)
def test_tasks_and_backbones_combine(task, backbone):
    assert not validate(compose([f"task={task}", f"backbone={backbone}"]))


@pytest.mark.parametrize("override", shipped())
def test_every_shipped_option_accepts_the_tiny_schedule(override):
    if not override.startswith("schedule="):
        config = compose([override, "schedule=tiny"])
        assert (config.schedule.steps, config.schedule.epochs, config.schedule.evaluations) == (6, None, 1)
        assert config.dataset.embedded.train_images == 24


@pytest.mark.parametrize(
    "file", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda file: f"{file.parent.name}/{file.name}"
)
def test_configuration_files_are_short_and_say_what_they_are(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 25
    assert lines[0].startswith("# ")
    assert yaml.safe_load("\n".join(lines)) is not None


def test_files_that_set_several_places_say_so_in_their_first_line():
    for file in (ROOT / "conf").glob("*/*.yaml"):
        text = file.read_text(encoding="utf-8")
        places = set(yaml.safe_load(text)) - {"defaults"}
        if file.parent.name in places:
            assert text.startswith("# @package _global_\n"), file


@pytest.mark.parametrize(
    ("override", "head"),
    [
        ("task=segmentation", "mask"),
        ("task=detection", "box"),
        ("task=keypoint", "keypoint"),
        ("task=multitask", "mask_keypoint"),
    ],
)
def test_the_task_chooses_the_head(override, head):
    config = compose([override])
    assert config.head.name == head
    assert (config.head.masks, config.head.keypoints) == ("mask" in head, "keypoint" in head)


def test_a_typed_head_wins_over_the_task():
    config = compose(["head=keypoint", "num_keypoints=7"])
    assert (config.task, config.head.name, config.num_keypoints) == ("segmentation", "keypoint", 7)
    assert not validate(config)


def test_a_typed_value_wins_over_the_experiment_and_a_typed_group_too():
    config = compose(["experiment=coco_person_cpu", "optimizer=adamw", "training.batch_size=2"])
    assert (config.optimizer.name, config.training.batch_size) == ("adamw", 2)
    assert config.optimizer.learning_rate == Config().optimizer.learning_rate
    assert config.experiment == "coco_person_cpu"


def test_the_default_network_has_the_sizes_that_were_measured():
    config = compose([])
    assert config.anchors.sizes == [[14, 20], [28, 40], [56, 76], [96, 120]]
    assert (config.pyramid.channels, config.pyramid.levels) == (64, 3)
    assert (config.rpn.batch_per_image, config.rpn.pre_nms_train, config.rpn.post_nms_train) == (128, 300, 128)
    assert (config.roi.batch_per_image, config.roi.dense_positives) == (128, 10)
    assert (config.roi.canonical_size, config.roi.canonical_level) == (56, 3)


def test_the_papers_recipe_has_the_papers_numbers():
    config = compose(["experiment=paper_r50_fpn"])
    assert (config.optimizer.learning_rate, config.optimizer.reference_batch, config.training.batch_size) == (
        0.02,
        16,
        16,
    )
    assert (config.optimizer.momentum, config.optimizer.weight_decay) == (0.9, 1e-4)
    assert (config.schedule.steps, config.schedule.drops) == (160_000, [0.75])
    assert (config.image.short_side, config.image.long_side) == (800, 1333)
    assert (config.backbone.norm, config.backbone.frozen_stages) == ("frozen", 2)
    assert config.anchors.sizes == [[32], [64], [128], [256], [512]]


@pytest.mark.parametrize(
    ("name", "steps", "drops"),
    [
        ("1x", 90_000, [60_000, 80_000]),
        ("s1x", 130_000, [100_000, 120_000]),
        ("2x", 180_000, [120_000, 160_000]),
        ("3x", 270_000, [210_000, 250_000]),
    ],
)
def test_schedules_drop_where_detectron_drops(name, steps, drops):
    # PAPER §1.3: the released baselines of Detectron and Detectron2.
    schedule = compose([f"schedule={name}"]).schedule
    assert (schedule.steps, schedule.reference_batch) == (steps, 16)
    assert [round(share * steps) for share in schedule.drops] == drops


def test_typed_epochs_replace_the_steps_of_the_schedule_and_the_other_way_round():
    assert compose(["schedule.epochs=2"]).schedule.steps is None
    assert compose(["experiment=coco_person_cpu", "schedule.steps=9"]).schedule.epochs is None
    both = compose(["schedule.epochs=2", "schedule.steps=9"]).schedule
    assert (both.epochs, both.steps) == (2, 9)


@pytest.mark.parametrize(
    "name", ["größe/имя.json", "a, b (1).json", "x[3]{y}.json", 'it\'s "so".json', "e=mc2.json", "t\\"]
)
def test_file_names_of_any_letters_arrive_as_they_were_typed(name, tmp_path):
    typed = f"{tmp_path}/{name}"
    assert compose([f"dataset.train.annotations={typed}"]).dataset.train.annotations == typed


def test_text_outside_of_the_grammar_is_taken_as_it_is():
    assert compose(["tracking.run_name=größer (2)"]).tracking.run_name == "größer (2)"


def test_relative_paths_start_at_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = compose(
        ["dataset.train.images=photos/../pictures", "dataset.test.images=~/x", "weights.backbone=imagenet"]
    )
    assert config.dataset.train.images == str(tmp_path / "pictures")
    assert config.dataset.test.images == str(Path.home() / "x")
    assert config.dataset.root == str(tmp_path / "data")
    assert config.weights.backbone == "imagenet"


def test_experiments_take_their_files_from_the_data_folder(monkeypatch):
    monkeypatch.setenv("MASKRCNN_DATA", "/photos")
    config = compose(["experiment=coco_person_cpu"])
    assert config.dataset.train.annotations == "/photos/coco/person_train.json"
    assert config.weights.backbone == "/photos/weights/mobilenet_v2_1.0_imagenet_notop.weights.h5"


def test_whole_numbers_serve_as_anchor_sizes():
    assert compose(["anchors.sizes=[[8,12],[16,24],[32,48],[64,96]]"]).anchors.sizes[0] == [8.0, 12.0]


def test_a_whole_keypoint_schema_can_be_typed():
    typed = "dataset.keypoints={names:[head,tail],flip_pairs:[[head,tail]],sigmas:[0.05,0.1]}"
    assert compose([typed]).dataset.keypoints["sigmas"] == [0.05, 0.1]


def test_values_of_an_earlier_run_replace_the_defaults_and_typed_ones_win():
    stored = {"seed": 5, "head": {"name": "box", "masks": False, "keypoints": False}, "anchors": {"sizes": [[8], [16]]}}
    config = compose(["optimizer.momentum=0.5"], stored=stored)
    assert (config.seed, config.head.name, config.optimizer.momentum) == (5, "box", 0.5)
    assert config.anchors.sizes == [[8.0], [16.0]]
    changed = compose(["task=keypoint", "schedule=tiny"], stored=stored)
    assert (changed.head.name, changed.schedule.steps, changed.seed) == ("keypoint", 6, 5)


def test_composing_twice_gives_equal_and_independent_configurations():
    first, second = compose(["seed=4"]), compose(["seed=4"])
    assert flatten(first) == flatten(second)
    first.anchors.sizes.append([1.0])
    assert first.anchors.sizes != second.anchors.sizes


def test_a_sweep_is_composed_job_by_job():
    line = prepare(["head=box,mask", "seed=range(0,3)", "anchors.sizes=[[8],[16],[32],[64]]"], multirun=True)
    jobs = [(config.head.name, config.seed) for _, config in compose_combinations(line)]
    assert jobs == [(head, seed) for head in ("box", "mask") for seed in (0, 1, 2)]


def test_a_sweep_over_lists_of_numbers_keeps_them_lists_of_floats():
    line = prepare(["anchors.sizes=[[8],[16]],[[4],[8]]"], multirun=True)
    assert [config.anchors.sizes[0] for _, config in compose_combinations(line)] == [[8.0], [4.0]]
    assert line.overrides == ["anchors.sizes=[[8.0],[16.0]],[[4.0],[8.0]]"]


def test_a_sweep_that_the_sweeper_draws_is_left_to_its_jobs():
    assert not list(compose_combinations(prepare(["optimizer.momentum=interval(0,1)"], multirun=True)))


def test_errors_of_hydra_come_with_the_key_and_exit_code_2():
    with pytest.raises(OverridesError) as refused:
        compose(["seed=${nosuch.key}"])
    assert refused.value.exit_code == 2
    assert str(refused.value).startswith("seed: ")
    assert "\n" not in str(refused.value)


def test_the_configuration_folder_is_the_one_beside_the_package_in_a_checkout():
    assert checkout_folder() == ROOT / "conf"


def test_weights_file_is_the_short_form_of_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    config = compose(["weights=photos/mask rcnn[1],2.pth"])
    assert config.weights.file == "/photos/mask rcnn[1],2.pth"
    assert config.backbone.name == "resnet50"  # values of a large network; the file itself decides the architecture
    assert compose(["weights=a.keras", "backbone=small_fpn"]).backbone.name == "small"
    assert compose(["weights={backbone: imagenet}"]).weights.backbone == "imagenet"
