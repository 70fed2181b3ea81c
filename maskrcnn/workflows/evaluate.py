"""`evaluate`: COCO's figures of a stored model on the test part of a configuration."""

from __future__ import annotations

import itertools

from maskrcnn.config.names import known
from maskrcnn.config.schema import Config
from maskrcnn.data.records import Category, Dataset
from maskrcnn.data.subset import relabelled, select
from maskrcnn.errors import UserError
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.weights.transfer import match_names
from maskrcnn.workflows.datasets import load_test
from maskrcnn.workflows.finish import final_figures, print_figures
from maskrcnn.workflows.joints import in_joints_of
from maskrcnn.workflows.load import load
from maskrcnn.workflows.naming import evaluation_kinds


def evaluate(run: str, config: Config) -> int:
    """Print the figures of the run's model on `config`'s test part.

    Raises:
        UserError: no such run, faults of the data, categories or joints that the model does not know.
    """
    predictor = load(run, batch_size=config.evaluation.batch_size, tta=config.evaluation.tta)
    test = in_labels_of(predictor, load_test(config))
    if config.head.keypoints:
        test = in_joints_of(predictor, test, chosen=config.num_keypoints is not None)
    figures = final_figures(predictor, test, evaluation_kinds(config))
    print_figures(figures)
    return 0


def in_labels_of(predictor: Predictor, dataset: Dataset) -> Dataset:
    """The data set with the model's categories in the model's order of labels.

    Objects of categories that the model does not know are left out; a category that the data set lacks has no
    ground truth, and so no figures.

    Raises:
        UserError: the data set has none of the model's categories.
    """
    names = predictor.category_names
    if list(dataset.category_names) == names:
        return dataset
    positions = match_names(dataset.category_names, names)
    shared = [dataset.categories[position] for position in positions if position is not None]
    if not shared:
        raise UserError("the data set has none of the model's categories", dataset.name, known(names))
    kept, left_out = select(dataset, categories=[str(c.id) for c in shared], max_images=None, min_area=0.0, seed=0)
    for sentence in left_out.sentences():
        print(sentence)
    if len(shared) < len(names):
        print(f"{dataset.name}: {len(names) - len(shared)} of the model's {len(names)} categories are not in the data.")
    fresh = itertools.count(1 + max(category.id for category in dataset.categories))
    categories = tuple(
        Category(next(fresh), name) if position is None else dataset.categories[position]
        for name, position in zip(names, positions, strict=True)
    )
    return relabelled(kept, categories)
