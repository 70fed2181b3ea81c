"""The learning curve of a run beside torchvision's, from checkpoints that were copied while it trained.

    python experiments/011-photographs-of-persons/curve.py RUN_FOLDER CHECKPOINT.npz…

Nothing was chosen by these figures: the recipe was fixed before, and the last weights are the run's result. Figures
go into `curve.json` beside this file, the picture into `curve.png`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import matplotlib.pyplot as plt
import numpy as np
from omegaconf import OmegaConf

from maskrcnn.data.records import Dataset
from maskrcnn.evaluation.coco import evaluate
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.workflows.datasets import load_test
from maskrcnn.workflows.load import load
from maskrcnn.workflows.naming import evaluation_kinds
from maskrcnn.workflows.predictions import predict_dataset

HERE = Path(__file__).parent
IMAGES = 802
SHOWN = ("box/AP", "box/AP50", "mask/AP", "mask/AP50")
TORCHVISION = [(3302, 4.05, 0.163, 0.127), (5611, 6.28, 0.222, 0.166), (6601, 7.18, 0.229, 0.168)]
"""Processor seconds, epochs, box AP, mask AP of the peer's run (its README)."""


def assign(detector: keras.Model, path: Path) -> dict[str, Any]:
    """Put the checkpoint's weights into the detector; where the training stood."""
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(bytes(file["header"]).decode())
        names = [name for name in header["paths"] if name.startswith("model/")]
        for i, (name, variable) in enumerate(zip(names, detector.variables, strict=True)):
            if not name.endswith(variable.name):
                raise ValueError(f"{name} is not {variable.path}")
            variable.assign(file[f"v{i}"])
    progress: dict[str, Any] = header["progress"]
    return progress


def point(predictor: Predictor, test: Dataset, kinds: list[str], batch: int, path: Path) -> dict[str, float | None]:
    """Processor seconds, epochs and the test part's figures at a checkpoint."""
    progress = assign(predictor.detector, path)
    figures = evaluate(test, predict_dataset(predictor, test, path.stem), kinds).metrics
    shown = {key: figures[key] for key in SHOWN}
    return {"cpu_s": progress["seconds"]["cpu"], "epochs": progress["step"] * batch / IMAGES, **shown}


def draw(points: list[dict[str, float]], path: Path) -> None:
    """Box and mask AP over processor seconds, both detectors."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharex=True, layout="constrained")
    for axis, key, column in zip(axes, ("box/AP", "mask/AP"), (2, 3)):
        axis.plot([p["cpu_s"] for p in points], [p[key] for p in points], "o-", label="maskrcnn")
        axis.plot([p[0] for p in TORCHVISION], [p[column] for p in TORCHVISION], "s--", label="torchvision")
        axis.set(xlabel="processor seconds", ylabel=key.replace("/", " "), xlim=(0, None), ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    folder, checkpoints = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    config = OmegaConf.load(folder / "config.yaml")
    predictor = load(folder, batch_size=config.evaluation.batch_size)
    test, kinds = load_test(config), evaluation_kinds(config)
    points = [point(predictor, test, kinds, config.training.batch_size, path) for path in checkpoints]
    final = json.loads((folder / "metrics.json").read_text())
    end = {"cpu_s": final["seconds/cpu"], "epochs": float(config.schedule.epochs)}
    points.append({**end, **{key: final[key] for key in SHOWN}})
    (HERE / "curve.json").write_text(json.dumps(points, indent=1) + "\n")
    draw(points, HERE / "curve.png")


if __name__ == "__main__":
    main()
