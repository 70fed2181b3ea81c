"""A published detector's state dict → a predictor that computes the same function."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.models.detector import Detector
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.structures import COCO_PERSON
from maskrcnn.weights import torchvision
from maskrcnn.weights.assign import assign, check_covered
from maskrcnn.weights.coco_names import COCO_NAMES
from maskrcnn.weights.recognise import Architecture, recognise_source, recognise_torchvision

State = Mapping[str, np.ndarray]


def import_model(
    path_or_state_dict: str | os.PathLike[str] | State, source: str = "auto", **settings: Any
) -> Predictor:
    """The predictor of a published detector.

    Args:
        path_or_state_dict: names → arrays in the source's own layout. (Files are not read yet.)
        source: torchvision, or auto: by the names.
        **settings: the source's own names. torchvision: min_size, max_size, box_score_thresh, … as its constructors
            have them, and bn_eps (0 for its published v1 detectors, 1e-5 otherwise).

    Returns:
        labels count as the source's do without background: 1…90 for torchvision's COCO detectors.

    Raises:
        UserError: for unknown sources, settings and architectures, and for tensors that are missing, unused, of the
            wrong shape or not finite.
    """
    if isinstance(path_or_state_dict, str | os.PathLike):
        raise UserError(
            "weight files are not read yet", os.fspath(path_or_state_dict), "load it and give the state dict"
        )
    state = _as_arrays(path_or_state_dict)
    if source == "auto":
        source = recognise_source(state)
    if source not in IMPORTERS:
        raise UserError(f"unknown source {source!r}", hint=f"choose auto or one of {', '.join(IMPORTERS)}")
    return Predictor(IMPORTERS[source](state, settings))


def import_torchvision(state: State, settings: Mapping[str, Any]) -> Detector:
    """The detector of a torchvision state dict, old or new spelling."""
    state = {torchvision.modern_name(name): v for name, v in state.items() if not torchvision.is_ignored(name)}
    architecture = recognise_torchvision({name: tuple(values.shape) for name, values in state.items()})
    options = torchvision.read_options(settings, architecture)
    detector = Detector(
        torchvision.detector_settings(architecture, options),
        architecture.num_classes,
        architecture.num_keypoints,
        metadata=_metadata(architecture, options),
    )
    rules = list(torchvision.rules(detector, architecture))
    check_covered(rules, detector.weights)
    assign(rules, state)
    return detector


IMPORTERS: dict[str, Callable[[State, Mapping[str, Any]], Detector]] = {"torchvision": import_torchvision}


def _as_arrays(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not all(isinstance(name, str) for name in state):
        raise UserError("names of tensors must be strings", where="weights")
    return {name: np.asarray(values) for name, values in state.items()}


def _metadata(architecture: Architecture, options: Mapping[str, Any]) -> dict[str, Any]:
    """What travels with the model, plain JSON: categories by name and id, joints, image size, origin."""
    return {
        "categories": _categories(architecture),
        "schema": asdict(COCO_PERSON) if architecture.num_keypoints == len(COCO_PERSON) else None,
        "image": {"short_side": options["min_size"], "long_side": options["max_size"]},
        "config": {"source": "torchvision", "settings": dict(options)},
    }


def _categories(architecture: Architecture) -> list[dict[str, Any]]:
    """Label k is COCO's id k in the published detectors; other class counts have no names."""
    if architecture.num_classes == len(COCO_NAMES):
        names: tuple[str, ...] = COCO_NAMES
    elif architecture.num_keypoints:
        names = COCO_NAMES[: architecture.num_classes]
    else:
        names = tuple(f"class {k}" for k in range(1, architecture.num_classes + 1))
    return [{"id": k, "name": name} for k, name in enumerate(names, start=1)]
