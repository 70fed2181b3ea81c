"""The rule of experiment=finetune: what follows from the number of images and instances, and what a user keeps."""

import pytest

from maskrcnn.config.compose import compose
from maskrcnn.config.finetune import apply, choose
from maskrcnn.config.keys import flatten
from maskrcnn.config.validate import validate


@pytest.fixture
def config():
    return compose(["experiment=finetune"])


def values(config, images, instances, categories=1):
    return {choice.key: choice.value for choice in choose(config, images, instances, categories)}


@pytest.mark.parametrize(("images", "epochs"), [(1, 1612), (100, 28), (800, 14), (118_287, 12)])
def test_epochs_are_twelve_and_those_of_1600_images_more(config, images, epochs):
    assert values(config, images, 10 * images)["schedule.epochs"] == pytest.approx(epochs, abs=0.05)


def test_images_seen_grow_with_the_images(config):
    seen = [n * values(config, n, n)["schedule.epochs"] for n in (1, 2, 10, 50, 200, 1000, 10_000)]
    assert seen == sorted(seen)


def test_warm_up_is_a_tenth_of_the_steps_up_to_the_papers(config):
    assert values(config, 800, 8000)["schedule.warmup_steps"] == 280  # 14 epochs of 200 steps
    assert values(config, 10_000, 80_000)["schedule.warmup_steps"] == 500
    config.training.batch_size = 64
    assert values(config, 64, 640)["schedule.warmup_steps"] == 10


def test_few_instances_are_augmented_most(config):
    found = [values(config, 100, n) for n in (299, 300, 2999, 3000)]
    assert [v["augmentation.scale"] for v in found] == [[0.5, 2.0], [0.67, 1.5], [0.67, 1.5], [0.8, 1.25]]
    assert [v["augmentation.brightness"] for v in found] == [0.4, 0.2, 0.2, 0.1]


def test_few_images_halve_the_rate_and_bound_the_batch(config):
    rate = config.optimizer.learning_rate
    assert values(config, 99, 990)["optimizer.learning_rate"] == rate / 2
    assert values(config, 100, 990)["optimizer.learning_rate"] == rate
    assert values(config, 3, 30)["training.batch_size"] == 3
    assert values(config, 99, 990)["training.batch_size"] == config.training.batch_size == 4


@pytest.mark.parametrize(
    ("instances", "categories", "shared"), [(50, 1, False), (199, 2, True), (200, 2, False), (3409, 80, True)]
)
def test_categories_of_few_instances_share_their_boxes(config, instances, categories, shared):
    assert values(config, 100, instances, categories)["box_head.class_agnostic"] is shared


def test_a_given_detector_has_decided_about_its_boxes(config):
    config.weights.file = "detector.keras"
    assert "box_head.class_agnostic" not in values(config, 100, 200, 80)


@pytest.mark.parametrize(("images", "instances"), [(0, 0), (5, 0)])
def test_nothing_to_learn_from_is_an_error(config, images, instances):
    with pytest.raises(ValueError, match="nothing to learn from"):
        choose(config, images, instances, 1)


def test_choices_are_written_into_a_copy_which_derives_nothing_again(config):
    changed, kept = apply(config, choose(config, 50, 200, 1), ())
    assert not kept
    assert config.training.from_data
    assert not changed.training.from_data
    assert config.schedule.epochs != changed.schedule.epochs == 44
    assert changed.augmentation.scale == [0.5, 2.0]


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ({"schedule.epochs"}, ["schedule.epochs"]),
        ({"schedule.steps"}, ["schedule.epochs"]),
        ({"schedule"}, ["schedule.epochs", "schedule.warmup_steps"]),
        ({"optimizer.learning_rate", "augmentation.scale"}, ["optimizer.learning_rate", "augmentation.scale"]),
        ({"training.batch_size"}, ["training.batch_size"]),
    ],
)
def test_typed_keys_stay_as_typed(config, typed, kept):
    before = flatten(config)
    changed, found = apply(config, choose(config, 50, 200, 1), typed)
    assert found == kept
    assert all(flatten(changed)[key] == before[key] for key in kept)


@pytest.mark.parametrize("size", [(1, 1), (7, 5000), (800, 3000), (100_000, 800_000)])
def test_what_is_derived_is_a_valid_configuration(config, size):
    changed, _ = apply(config, choose(config, *size, 1), ())
    assert validate(changed) == validate(config)
