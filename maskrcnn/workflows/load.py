"""`maskrcnn.load`: the model of a run, a folder or a file."""

from __future__ import annotations

from pathlib import Path

from maskrcnn.prediction.predictor import Predictor, load_predictor
from maskrcnn.structures import TTASettings
from maskrcnn.tracking.read import resolve_run


def load(where: str | Path, *, batch_size: int = 8, tta: TTASettings | None = None) -> Predictor:
    """A model whose `predict_images(list of uint8 [H, W, 3])` returns detections in original pixels.

    Args:
        where: "runs:/ID" or the id, a run's folder or name, "last", or a `.keras` file.
        batch_size: images that go through the network together.
        tta: further views of each image, whose detections are merged; None: none.

    Raises:
        UserError: there is no such run or file, or it is no model of this program. Nothing in it is executed.
    """
    path = Path(where)
    if path.suffix != ".keras":
        path = resolve_run(str(where), Path.cwd()).model
    return load_predictor(path, batch_size=batch_size, tta=tta)
