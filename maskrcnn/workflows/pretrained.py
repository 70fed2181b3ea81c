"""`weights=FILE`: a trained detector as the beginning of a training, whatever program it comes from.

The file decides the architecture and the conventions; the configuration decides the categories, the heads, and
whatever it changes from the schema's defaults or the user has typed. What trains is one configuration, so the file's
part is written into it before anything is built: the stored configuration says what was trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

from maskrcnn.config.arguments import typed_keys
from maskrcnn.config.schema import Config
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.structures import ResizeSettings
from maskrcnn.weights.importer import import_with_report

Settings = TypeVar("Settings")

STRUCTURE: dict[str, tuple[str, ...] | None] = {
    "backbone": ("name", "network", "norm", "neck"),
    "pyramid": None,
    "anchors": None,
    "rpn": ("convolutions", "channels"),
    "roi": (),
    "box_head": (
        *("convolutions", "convolution_channels", "fully_connected", "channels"),
        *("pool_size", "norm", "class_agnostic"),
    ),
    "mask_head": ("convolutions", "channels", "pool_size", "norm", "class_agnostic"),
    "keypoint_head": ("convolutions", "channels", "pool_size", "upsample"),
    "conventions": (),
}
"""What the weights were made for and no configuration can change: fields of each section; None: all of them."""
SAME_VARIABLES = {"batch", "frozen"}
"""Norms of a backbone that differ in training alone."""


def open_pretrained(config: Config) -> Predictor | None:
    """The detector of `weights.file`, and on the terminal what was loaded; None where the configuration names none.

    Raises:
        UserError: the file is refused, or is no detector that can be imported.
    """
    if config.weights.file is None:
        return None
    predictor, report = import_with_report(Path(config.weights.file), config.weights.source)
    print(report.to_text(), flush=True)
    return predictor


def adopt(config: Config, pretrained: Predictor, overrides: Sequence[str]) -> Config:
    """The configuration with the architecture and the conventions of the weights.

    Args:
        overrides: as typed; their keys win where the weights allow a choice.
    """
    typed = typed_keys(overrides)
    found = pretrained.detector.settings
    sections: dict[str, Any] = {}
    for name, structure in STRUCTURE.items():
        theirs = getattr(found, name)
        if theirs is not None:
            sections[name] = _merged(name, getattr(config, name), theirs, structure, typed)
    sections["backbone"] = _with_norm(sections["backbone"], config, typed)
    if config.image == ResizeSettings() and not any(key.startswith("image.") for key in typed):
        sections["image"] = dataclasses.replace(pretrained.image)
    return dataclasses.replace(config, **sections)


def _merged(
    section: str, given: Settings, theirs: Settings, structure: Sequence[str] | None, typed: Collection[str]
) -> Settings:
    """The weights' section, with what the configuration changes and may change."""
    if structure is None:
        return dataclasses.replace(theirs)  # type: ignore[type-var]
    default: Any = type(given)()
    chosen = {
        field.name: getattr(given, field.name)
        for field in dataclasses.fields(given)  # type: ignore[arg-type]
        if field.name not in structure
        and (f"{section}.{field.name}" in typed or getattr(given, field.name) != getattr(default, field.name))
    }
    return dataclasses.replace(theirs, **chosen)  # type: ignore[type-var]


def _with_norm(backbone: Any, config: Config, typed: Collection[str]) -> Any:
    """Frozen or training statistics are the user's choice, where the weights have statistics."""
    wanted = config.backbone.norm
    free = {backbone.norm, wanted} <= SAME_VARIABLES and "backbone.norm" in typed
    return dataclasses.replace(backbone, norm=wanted) if free else backbone
