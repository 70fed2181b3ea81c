"""`evaluate`: COCO's figures of a stored model on the test part of a configuration."""

from __future__ import annotations

from maskrcnn.config.schema import Config
from maskrcnn.data.records import Dataset
from maskrcnn.data.subset import select
from maskrcnn.prediction.predictor import Predictor
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

    Raises:
        UserError: the data set lacks one of the model's categories.
    """
    if list(dataset.category_names) == predictor.category_names:
        return dataset
    return select(dataset, categories=predictor.category_names, max_images=None, min_area=0.0, seed=0)[0]
