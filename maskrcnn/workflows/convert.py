"""`convert`: a published detector's weights → one `.keras` file, and a table of what became of every tensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn.weights.assign import Consumable
from maskrcnn.weights.files import is_keras_model, read_weights

Source = Path | Consumable
"""A model file of this program, or the tensors of a file of weights."""


def open_source(weights: Path) -> Source:
    """The tensors of the file; needs no TensorFlow, so that a bad file is refused at once.

    Raises:
        UserError: the file is refused.
    """
    return weights if is_keras_model(weights) else Consumable(read_weights(weights))


def convert(weights: Source, out: Path, *, source: str, settings: Mapping[str, Any], strict: bool) -> int:
    """Import `weights`, print the table and write the model to `out`, whole or not at all.

    Raises:
        UserError: no known detector, an unknown setting, or (if strict) tensors that do not fit.
    """
    from maskrcnn.weights.importer import import_with_report

    predictor, report = import_with_report(weights, source, settings, strict=strict)
    print(report.to_text())
    predictor.save(out)
    detector = predictor.detector
    joints = f", {detector.num_keypoints} joints" if detector.num_keypoints else ""
    name = detector.settings.backbone.name
    print(f"{report.source}: {name}, {detector.num_classes} categories{joints}, written to {out}")
    return 0
