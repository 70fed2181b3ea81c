"""Mask R-CNN for Keras 3 and TensorFlow.

`maskrcnn.load(where)` gives a trained model; everything else is started by `python -m maskrcnn.run` and its siblings.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskrcnn.prediction.predictor import Predictor

__all__ = ["load"]


def load(where: str | Path, *, batch_size: int = 8) -> Predictor:
    """The model of a run ("runs:/ID", a folder, "last") or of a `.keras` file, ready for `predict_images`.

    Raises:
        UserError: there is no such run or file, or it is no model of this program. Nothing in it is executed.
    """
    # Imported late: TensorFlow takes seconds, and most of the commands never need it.
    from maskrcnn.workflows.load import load as load_model

    return load_model(where, batch_size=batch_size)
