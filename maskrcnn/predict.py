"""`python -m maskrcnn.predict`: images → overlays and a COCO results file.

Usage: python -m maskrcnn.predict run=RUN images=FILE|FOLDER [out=FOLDER] [score=0.5] [flip=true] [scales=0.75,1.5]

  run=RUN       a run's id, folder or name, `last`, or a model file
  images=PATH   an image, or a folder of images
  out=FOLDER    where the overlays and results.json go (default: predictions)
  score=NUMBER  detections with a lower score are not drawn (default: 0.5)
  flip=true     look at each image mirrored too, and merge what is found
  scales=LIST   look at each image at further sizes too: factors on the usual one

Example:
  python -m maskrcnn.predict run=last images=photos out=overlays
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow, which reads it once

from pathlib import Path

from maskrcnn.cli import quiet_imports, run_command
from maskrcnn.config.arguments import (
    HELP_FLAGS,
    read_number,
    read_numbers,
    read_truth,
    refuse_rest,
    split_pairs,
    take_flags,
)
from maskrcnn.config.paths import absolute
from maskrcnn.config.ranges import RANGES
from maskrcnn.errors import UsageError, UserError
from maskrcnn.structures import TTASettings

KEYS = ("run", "images", "out", "score", "flip", "scales")


def main(arguments: list[str]) -> int:
    """Runs the command; its exit code. Mistakes of the user's are raised as `UserError`."""
    flags, rest = take_flags(arguments, HELP_FLAGS, KEYS)
    if "help" in flags:
        print(__doc__)
        return 0
    own, rest = split_pairs(rest, KEYS)
    refuse_rest(rest, KEYS)
    for key, kind in (("run", "a run's id, folder or model file, or run=last"), ("images", "a file or a folder")):
        if key not in own:
            raise UsageError("is missing", f"{key}=", f"name {kind}")
    score = read_number(own, "score", 0.5, low=0.0, high=1.0)
    tta = TTASettings(read_truth(own, "flip"), read_numbers(own, "scales", RANGES["evaluation.tta.scales"]))
    images = _existing(own["images"])
    out = Path(absolute(own.get("out", "predictions"), Path.cwd()))
    if out.exists() and not out.is_dir():
        raise UserError("is a file, not a folder", f"out={out}")
    with quiet_imports():
        from maskrcnn.workflows.predict import predict

    return predict(own["run"], images, out, score=score, tta=tta)


def _existing(path: str) -> Path:
    found = Path(absolute(path, Path.cwd()))
    if not found.exists():
        raise UserError("there is no such file or folder", f"images={found}")
    return found


if __name__ == "__main__":
    run_command(main)
