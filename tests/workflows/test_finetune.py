"""The values that follow from a training part: told, and written into the configuration."""

import numpy as np

from maskrcnn.config.arguments import typed_keys
from maskrcnn.config.compose import compose
from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.workflows.finetune import fitted


def dataset(images, per_image, categories=1):
    def annotation(number):
        return Annotation(number, 1, (0, 0, 9, 9), 81.0, number % 5 == 4, (np.float64([0, 0, 9, 0, 9, 9]),), None)

    records = [
        ImageRecord(i, f"{i}.png", f"{i}.png", 20, 20, tuple(annotation(k) for k in range(per_image)))
        for i in range(images)
    ]
    return Dataset("train", tuple(Category(k + 1, f"thing {k}") for k in range(categories)), tuple(records))


def test_the_values_are_printed_with_their_reasons_before_anything_trains(capsys):
    config = fitted(compose(["experiment=finetune"]), dataset(40, 5), [])
    text = capsys.readouterr().out
    assert "40 images with 160 instances of 1 categories" in text  # every fifth is a crowd
    assert config.schedule.epochs == 52
    for part in (
        "schedule.epochs",
        "52",
        "12 passes and 1600 images more",
        "optimizer.learning_rate",
        "below 100 images",
    ):
        assert part in text


def test_typed_values_win_and_are_marked(capsys):
    overrides = ["experiment=finetune", "schedule.steps=7", "augmentation.brightness=0.3"]
    config = fitted(compose(overrides), dataset(40, 5), overrides)
    assert (config.schedule.steps, config.schedule.epochs) == (7, None)
    assert config.augmentation.brightness == 0.3
    assert capsys.readouterr().out.count("as typed") == 2


def test_one_image_and_a_thousand_categories_have_values_too():
    assert fitted(compose(["experiment=finetune"]), dataset(1, 1), []).training.batch_size == 1
    many = fitted(compose(["experiment=finetune"]), dataset(30, 2, categories=1000), [])
    assert (many.schedule.epochs, many.box_head.class_agnostic) == (65.3, True)


def test_other_recipes_are_left_alone(capsys):
    config = compose([])
    assert fitted(config, dataset(40, 5), []) is config
    assert not capsys.readouterr().out


def test_keys_are_read_off_overrides():
    assert typed_keys(["a.b=1=2", "+c=3", "group=name"]) == {"a.b", "c", "group"}
