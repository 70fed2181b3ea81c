"""`python -m maskrcnn.export`: a model in another format, compared with the original in that format's own runtime.

Usage: python -m maskrcnn.export run=RUN format=FORMAT [out=PATH] [images=FILE|FOLDER] [count=20] [size=HEIGHTxWIDTH]

  run=RUN       a run's id, folder or name, `last`, or a model file
  format=NAME   saved_model | onnx | openvino | litert
  out=PATH      a file, or a folder for it (default: export)
  images=PATH   compare on these images (default: the run's test images, or generated ones where there are none)
  count=NUMBER  how many images are compared (default: 20)
  size=HxW      input size of a format with a fixed one (default: the largest of the compared images)

The graph takes resized and padded images, float32 RGB from 0 to 255, and their sizes before padding; it gives boxes,
scores, labels, masks inside their boxes and heat maps of joints. Resizing, pasting masks and decoding joints stay
outside: a JSON file beside the model says how. SavedModel, ONNX and OpenVINO take any number of images of any size;
LiteRT takes one image of one size. What differs by more than 1e-3 (boxes: 0.05 pixels) is refused.

Example:
  python -m maskrcnn.export run=last format=onnx out=exported/model.onnx
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow, which reads it once

import re
from pathlib import Path

from maskrcnn.cli import quiet_imports, run_command
from maskrcnn.config.arguments import HELP_FLAGS, read_number, refuse_rest, split_pairs, take_flags
from maskrcnn.config.names import known, nearest
from maskrcnn.config.paths import absolute
from maskrcnn.config.schema import Config
from maskrcnn.errors import UsageError, UserError
from maskrcnn.prediction.export_formats import FORMATS, check_packages, target_of

KEYS = ("run", "format", "out", "images", "count", "size")
DEFAULT_FOLDER = "export"
MOST_IMAGES = 100_000
LARGEST_SIDE = 16_384


def main(arguments: list[str]) -> int:
    """Runs the command; its exit code. Mistakes of the user's are raised as `UserError`."""
    flags, rest = take_flags(arguments, HELP_FLAGS, KEYS)
    if "help" in flags:
        print(__doc__)
        return 0
    own, rest = split_pairs(rest, KEYS)
    refuse_rest(rest, KEYS)
    if "run" not in own:
        raise UsageError("is missing", "run=", "name a run's id, folder or model file, or run=last")
    name = _format_name(own.get("format"))
    count, size = int(read_number(own, "count", 20, low=1, high=MOST_IMAGES)), _size(own.get("size"))
    check_packages(name)
    out = own.get("out", str(Path(DEFAULT_FOLDER, FORMATS[name].file)))
    target = target_of(name, Path(absolute(out, Path.cwd())))
    images = Path(absolute(own["images"], Path.cwd())) if "images" in own else None
    if images is not None and not images.exists():
        raise UserError("there is no such file or folder", f"images={images}")
    config = _config_of(own["run"])
    with quiet_imports():
        from maskrcnn.workflows.export import export

    return export(own["run"], name, target, config=config, images=images, count=count, size=size)


def _format_name(name: str | None) -> str:
    if name is None:
        raise UsageError("is missing", "format=", f"known: {known(FORMATS)}")
    if name not in FORMATS:
        near = nearest(name, FORMATS)
        hint = (f"did you mean format={near}? " if near else "") + f"known: {known(FORMATS)}"
        raise UsageError("there is no such format", f"format={name}", hint)
    return name


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if found is None or not all(1 <= int(side) <= LARGEST_SIDE for side in found.groups()):
        raise UsageError("is not HEIGHTxWIDTH in pixels", f"size={text}", "write size=480x640")
    return int(found[1]), int(found[2])


def _config_of(run: str) -> Config | None:
    """The configuration that made the model; None where it keeps none."""
    from maskrcnn.config.compose import compose_line, prepare
    from maskrcnn.workflows.stored import stored_values

    try:
        return compose_line(prepare([], stored=stored_values(run)))
    except UserError:
        return None


if __name__ == "__main__":
    run_command(main)
