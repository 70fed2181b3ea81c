"""A published detector's file or state dict → a predictor that computes the same function."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.models.detector import Detector
from maskrcnn.prediction.predictor import Predictor, load_predictor
from maskrcnn.structures import COCO_PERSON
from maskrcnn.weights import detectron2, detectron2_settings, matterport, torchvision
from maskrcnn.weights.assign import Assignment, Consumable, assign, check_covered, check_finite
from maskrcnn.weights.coco_names import COCO_NAMES, dense_categories
from maskrcnn.weights.detectron2_architecture import is_ignored, recognise_detectron2
from maskrcnn.weights.files import is_keras_model, read_weights
from maskrcnn.weights.recognise import Architecture, recognise_source, recognise_torchvision
from maskrcnn.weights.report import OWN, ImportReport
from maskrcnn.weights.rules import Rule

State = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Blueprint:
    """A detector that waits for its weights.

    Attributes:
        state: tensors under the names of `rules`; all of them must find a use. A dict of its own, since it is emptied.
        ignored: names of the source's tensors that have no effect on outputs.
    """

    detector: Detector
    rules: Sequence[Rule]
    state: Consumable
    ignored: tuple[str, ...] = ()


Importer = Callable[[State, Mapping[str, Any]], Blueprint]
"""(state dict, settings of the source) → blueprint; refuses unknown settings and architectures."""


def import_model(
    path_or_state_dict: str | os.PathLike[str] | State, source: str = "auto", *, strict: bool = True, **settings: Any
) -> Predictor:
    """The predictor of a published detector.

    Args:
        path_or_state_dict: a file (.pth, .pkl, .h5, .npz, .safetensors, or a `.keras` file of this program), or
            names → arrays in the source's own layout.
        source: torchvision, … (`IMPORTERS`), or auto: by the names.
        strict: False leaves variables random whose tensor is missing or of another shape, and other tensors out.
        **settings: the source's own names. torchvision: min_size, max_size, box_score_thresh, … as its constructors
            have them, and bn_eps (0 for its published v1 detectors, 1e-5 otherwise). Detectron2: dotted keys of its
            configuration (`{"MODEL.RPN.POST_NMS_TOPK_TEST": 500}`); INPUT.MIN_SIZE_TEST=0 keeps the size of images.

    Returns:
        labels count as the source's do without background: 1…90 for torchvision's COCO detectors, i + 1 for
        Detectron2's class i.

    Raises:
        UserError: for a file that is refused, for unknown sources, settings and architectures, and for tensors that
            are missing, unused, of the wrong shape or not finite.
    """
    return import_with_report(path_or_state_dict, source, settings, strict=strict)[0]


def import_with_report(
    path_or_state_dict: str | os.PathLike[str] | State,
    source: str = "auto",
    settings: Mapping[str, Any] | None = None,
    *,
    strict: bool = True,
) -> tuple[Predictor, ImportReport]:
    """The predictor of `import_model`, and what became of every tensor."""
    _check_source(source)
    settings = settings or {}
    if isinstance(path_or_state_dict, str | os.PathLike):
        if is_keras_model(path_or_state_dict):
            return _own_model(Path(path_or_state_dict), source, settings)
        path_or_state_dict = Consumable(read_weights(path_or_state_dict))
    state = _as_arrays(path_or_state_dict)
    if isinstance(path_or_state_dict, Consumable):
        path_or_state_dict.clear()
    if source == "auto":
        source = recognise_source(state)
    check_finite(state)
    blueprint = IMPORTERS[source](state, settings)
    state.clear()  # what was read from a file is now held by the blueprint alone
    check_covered(blueprint.rules, blueprint.detector.weights)
    sizes = {name: int(values.size) for name, values in blueprint.state.items()}
    assignment = assign(blueprint.rules, blueprint.state, strict=strict)
    return Predictor(blueprint.detector), ImportReport(source, assignment, blueprint.ignored, sizes)


def _own_model(path: Path, source: str, settings: Mapping[str, Any]) -> tuple[Predictor, ImportReport]:
    if settings or source != "auto":
        named = next(iter(settings), "source")
        raise UserError("a model file of this program has its settings inside", named, "leave it out")
    predictor = load_predictor(path)
    # Paths alone repeat from head to head.
    sizes = {f"{layer.name}/{v.path}": math.prod(v.shape) for layer in predictor.detector.layers for v in layer.weights}
    return predictor, ImportReport(OWN, Assignment(tuple(sizes)), (), sizes)


def _check_source(source: str) -> None:
    if source != "auto" and source not in IMPORTERS:
        raise UserError(f"unknown source {source!r}", "source", f"choose auto or one of {', '.join(IMPORTERS)}")


def import_torchvision(state: State, settings: Mapping[str, Any]) -> Blueprint:
    """The detector of a torchvision state dict, old or new spelling."""
    ignored = tuple(name for name in state if torchvision.is_ignored(name))
    state = Consumable({torchvision.modern_name(name): v for name, v in state.items() if name not in ignored})
    architecture = recognise_torchvision({name: tuple(values.shape) for name, values in state.items()})
    options = torchvision.read_options(settings, architecture)
    detector = Detector(
        torchvision.detector_settings(architecture, options),
        architecture.num_classes,
        architecture.num_keypoints,
        metadata=_metadata(architecture, options),
    )
    return Blueprint(detector, list(torchvision.rules(detector, architecture)), state, ignored)


def import_detectron2(state: State, settings: Mapping[str, Any]) -> Blueprint:
    """The detector of a Detectron2 state dict: FPN, C4 or DC5."""
    ignored = tuple(name for name in state if is_ignored(name))
    state = Consumable({name: values for name, values in state.items() if name not in ignored})
    architecture = recognise_detectron2({name: tuple(values.shape) for name, values in state.items()})
    options = detectron2_settings.read_options(settings, architecture)
    detector = Detector(
        detectron2_settings.detector_settings(architecture, options),
        architecture.num_classes,
        architecture.num_keypoints,
        metadata={
            "categories": dense_categories(architecture.num_classes),
            "schema": asdict(COCO_PERSON) if architecture.num_keypoints == len(COCO_PERSON) else None,
            "image": {"short_side": options["INPUT.MIN_SIZE_TEST"], "long_side": options["INPUT.MAX_SIZE_TEST"]},
            "config": {"source": "detectron2", "settings": options},
        },
    )
    return Blueprint(detector, list(detectron2.rules(detector, architecture)), state, ignored)


def import_matterport(state: State, settings: Mapping[str, Any]) -> Blueprint:
    """The detector nearest to one of Matterport's."""
    simple = matterport.simple_names(state)
    architecture = matterport.recognise_matterport(simple)
    options = matterport.read_options(settings)
    detector = Detector(
        matterport.detector_settings(architecture, options),
        architecture.num_classes,
        metadata={
            "categories": dense_categories(architecture.num_classes),
            "schema": None,
            "image": {"short_side": options["IMAGE_MIN_DIM"], "long_side": options["IMAGE_MAX_DIM"]},
            "config": {"source": "matterport", "settings": options},
        },
    )
    return Blueprint(detector, list(matterport.rules(detector, architecture)), Consumable(matterport.fold(simple)))


IMPORTERS: dict[str, Importer] = {
    "torchvision": import_torchvision,
    "detectron2": import_detectron2,
    "matterport": import_matterport,
}


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
