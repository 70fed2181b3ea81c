"""A stored model's joints and a data set's: which are judged, and which columns of the detections hold them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from maskrcnn.config.names import known, nearest
from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Dataset
from maskrcnn.errors import UserError
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.structures import KeypointSchema


def in_joints_of(predictor: Predictor, dataset: Dataset, *, chosen: bool) -> Dataset:
    """The data set with the joints that are judged: all of the model's, or those chosen for the data set.

    A model of 17 joints is thus compared with one of 7 over the same 7.

    Args:
        chosen: the data set's schema is a choice of the user's, not just all that it has.

    Raises:
        UserError: the model finds no joints, or not those chosen, or the data set lacks some of the model's.
    """
    model, full = predictor.schema, dataset.full_schema
    if model is None:
        raise UserError("the model has no named joints to judge", "head", "choose head=box or head=mask")
    if full is None or dataset.schema is None:
        raise UserError("the data set has no joints", dataset.name, "choose head=box or head=mask")
    if dataset.schema.names == model.names:
        return dataset
    wanted = dataset.schema.names if chosen else model.names
    for name in wanted:
        _demand(name, model, f"the model does not find the joint {name!r}", "num_keypoints")
        _demand(name, full, f"there is no joint {name!r}, which the model finds", dataset.name)
    schema = full.select([full.names.index(name) for name in wanted])
    return dataclasses.replace(dataset, schema=schema, chosen_from=full)


def _demand(name: str, schema: KeypointSchema, what: str, where: str) -> None:
    if name not in schema.names:
        near = nearest(name, schema.names)
        raise UserError(what, where, f"did you mean {near}?" if near else f"known: {known(schema.names)}")


def with_joints_of(dataset: Dataset, found: Sequence[Detections], model: KeypointSchema | None) -> list[Detections]:
    """Detections with the data set's joints alone, in its order, from those of a model that finds more."""
    schema = dataset.schema
    if model is None or schema is None or schema.names == model.names or not set(schema.names) <= set(model.names):
        return list(found)
    columns = [model.names.index(name) for name in schema.names]
    return [d if d.keypoints is None else dataclasses.replace(d, keypoints=d.keypoints[:, columns]) for d in found]
