"""The learning curve of a run beside torchvision's, from checkpoints that were copied while it trained.

    python -m experiments.benchmarks.learning_curve RUN_FOLDER CHECKPOINT.npz… --out FOLDER [--earlier curve.json]

Nothing was chosen by these figures: the recipe was fixed before, and the last weights are the run's result. Figures
go to `curve.json` in the folder, the picture to `curve.png`; --earlier adds the curve of another record.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
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


def draw(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Box and mask AP over processor seconds, torchvision's beside ours."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharex=True, layout="constrained")
    for axis, key, column in zip(axes, ("box/AP", "mask/AP"), (2, 3)):
        for label, points in curves.items():
            axis.plot([p["cpu_s"] for p in points], [p[key] for p in points], "o-", label=label)
        axis.plot([p[0] for p in TORCHVISION], [p[column] for p in TORCHVISION], "s--", label="torchvision")
        axis.set(xlabel="processor seconds", ylabel=key.replace("/", " "), xlim=(0, None), ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=110)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(prog="python -m experiments.benchmarks.learning_curve", description=__doc__)
    options.add_argument("run", type=Path, help="the folder of a finished run")
    options.add_argument("checkpoints", type=Path, nargs="*", help="its checkpoints, in order")
    options.add_argument("--out", type=Path, required=True, help="folder of curve.json and curve.png")
    options.add_argument("--earlier", type=Path, help="curve.json of another record")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Test the checkpoints and write figures and picture."""
    options = parser().parse_args(arguments)
    config = OmegaConf.load(options.run / "config.yaml")
    predictor = load(options.run, batch_size=config.evaluation.batch_size)
    test, kinds = load_test(config), evaluation_kinds(config)
    points = [point(predictor, test, kinds, config.training.batch_size, path) for path in options.checkpoints]
    final = json.loads((options.run / "metrics.json").read_text())
    end = {"cpu_s": final["seconds/cpu"], "epochs": float(config.schedule.epochs)}
    points.append({**end, **{key: final[key] for key in SHOWN}})
    (options.out / "curve.json").write_text(json.dumps(points, indent=1) + "\n")
    earlier = {"maskrcnn, before": json.loads(options.earlier.read_text())} if options.earlier else {}
    draw({**earlier, "maskrcnn": points}, options.out / "curve.png")


if __name__ == "__main__":
    main()
