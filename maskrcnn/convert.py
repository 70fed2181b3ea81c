"""`python -m maskrcnn.convert`: a published detector's weights → a `.keras` file of this program.

Usage: python -m maskrcnn.convert weights=FILE out=FILE.keras [source=auto] [unmatched=error] [SETTING=VALUE …]

  weights=FILE     a .pth, .pkl, .h5, .npz or .safetensors file (nothing in it is executed)
  out=FILE         where the model goes; ends in .keras
  source=NAME      auto (by the names of the tensors), torchvision, detectron2 or matterport
  unmatched=error  error: every tensor must find its place; skip: what does not fit stays random or is left out
  SETTING=VALUE    the source's own settings, such as min_size=640 (torchvision) or
                   MODEL.ROI_HEADS.SCORE_THRESH_TEST=0.5 (Detectron2)

A table says what was loaded, skipped and mismatched.

Example:
  python -m maskrcnn.convert weights=maskrcnn_resnet50_fpn_coco.pth out=maskrcnn_r50.keras
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow, which reads it once

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskrcnn.cli import quiet_imports, run_command
from maskrcnn.config.arguments import HELP_FLAGS, split_pairs, take_flags
from maskrcnn.config.names import nearest
from maskrcnn.config.paths import absolute
from maskrcnn.errors import UsageError
from maskrcnn.workflows.convert import convert, open_source

KEYS = ("weights", "out", "source", "unmatched")
SUFFIX = ".keras"
UNMATCHED = ("error", "skip")
_WORDS = {"true": True, "false": False, "null": None, "none": None}


def main(arguments: list[str]) -> int:
    """Runs the command; its exit code. Mistakes of the user's are raised as `UserError`."""
    flags, rest = take_flags(arguments, HELP_FLAGS, KEYS)
    if "help" in flags:
        print(__doc__)
        return 0
    own, rest = split_pairs(rest, KEYS)
    settings = read_settings(rest)
    for key, kind in (("weights", "the file to convert"), ("out", f"a file that ends in {SUFFIX}")):
        if key not in own:
            raise UsageError("is missing", f"{key}=", f"name {kind}")
    out = Path(absolute(own["out"], Path.cwd()))
    if out.suffix != SUFFIX:
        raise UsageError(f"a model file ends in {SUFFIX}", f"out={own['out']}", f"write out={out.stem}{SUFFIX}")
    unmatched = own.get("unmatched", "error")
    if unmatched not in UNMATCHED:
        raise UsageError(f"{unmatched!r} is neither error nor skip", f"unmatched={unmatched}")
    weights = open_source(Path(absolute(own["weights"], Path.cwd())))
    with quiet_imports():
        import maskrcnn.weights.importer  # noqa: F401  (TensorFlow, whose messages are held back)
    return convert(weights, out, source=own.get("source", "auto"), settings=settings, strict=unmatched == "error")


def read_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """The source's settings by name, with numbers, lists, true, false and null read as such.

    Raises:
        UsageError: an argument that is not KEY=VALUE, a name given twice, or a misspelt key of the command.
    """
    settings: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name or not value:
            raise UsageError(
                "is not KEY=VALUE", argument or "''", f"keys: {', '.join(KEYS)}, and the source's settings"
            )
        if name in settings:
            raise UsageError(f"{name} is given twice", argument, "keep one")
        near = nearest(name, KEYS)
        if near and name.islower() and "_" not in name:
            raise UsageError(f"there is no key {name!r}", argument, f"did you mean {near}=…?")
        settings[name] = read_value(value)
    return settings


def read_value(text: str) -> Any:
    """A number, list or truth value as Python and YAML write them; else the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


if __name__ == "__main__":
    run_command(main)
