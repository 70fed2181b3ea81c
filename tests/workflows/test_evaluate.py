"""A stored model against data whose categories are others, or stand in another order."""

from types import SimpleNamespace

import pytest

from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.errors import UserError
from maskrcnn.workflows.evaluate import in_labels_of


def data(*names):
    """One object of each category, named by the annotation's id."""
    categories = tuple(Category(10 + k, name) for k, name in enumerate(names))
    objects = tuple(Annotation(k, k, (0.0, 0.0, 9.0, 9.0), 81.0) for k in range(1, len(names) + 1))
    return Dataset("test", categories, (ImageRecord(1, "1.png", "1.png", 20, 20, objects),))


def named(dataset):
    return [dataset.category_names[item.label - 1] for item in dataset.images[0].annotations]


def model(*names):
    return SimpleNamespace(category_names=list(names))


def test_equal_categories_are_taken_as_they_are():
    dataset = data("cat", "dog")
    assert in_labels_of(model("cat", "dog"), dataset) is dataset


def test_labels_follow_the_model_and_not_the_ids_of_the_data():
    judged = in_labels_of(model("dog", "cat"), data("cat", "dog"))
    assert judged.category_names == ("dog", "cat")
    assert [category.id for category in judged.categories] == [11, 10]
    assert named(judged) == ["cat", "dog"]


def test_objects_that_the_model_does_not_know_are_left_out_and_told(capsys):
    judged = in_labels_of(model("dog"), data("cat", "dog"))
    assert named(judged) == ["dog"]
    assert "test: left out 1 instance of other categories." in capsys.readouterr().out


def test_categories_that_the_data_lack_have_no_objects(capsys):
    judged = in_labels_of(model("n/a", "Dog", "hair drier", "n/a"), data("cat", "dog"))
    assert judged.category_names == ("n/a", "dog", "hair drier", "n/a")
    assert len({category.id for category in judged.categories}) == 4
    assert named(judged) == ["dog"]
    assert "test: 3 of the model's 4 categories are not in the data." in capsys.readouterr().out


def test_data_of_other_categories_alone_are_refused():
    with pytest.raises(UserError, match="none of the model's categories"):
        in_labels_of(model("bird"), data("cat", "dog"))
