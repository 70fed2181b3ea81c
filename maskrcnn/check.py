"""`python -m maskrcnn.check`: the data doctor. Names every fault of a COCO data set; starts in a second."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from maskrcnn.cli import run_command
from maskrcnn.errors import UsageError

USAGE = """\
The data doctor: names every fault of a COCO data set by file or id.

usage: python -m maskrcnn.check annotations=FILE images=DIR task=mask|keypoint|box|mask_keypoint
       python -m maskrcnn.check dataset=NAME [dataset.KEY=VALUE …] [task=… head=…]

  annotations  COCO JSON file
  images       folder that its file names are relative to
  task         what is to be learned; segmentation, detection, multitask are other names for
               mask, box, mask_keypoint

The second form examines all parts of a configuration as `python -m maskrcnn.run` would train it; of dataset=coco
and its subsets what a run would use, which is fetched first.

A fault would crash, give a wrong number or have to be dropped; a warning is legal but suspicious.
exit code: 0 no faults (warnings at most), 1 faults, 2 wrong usage

example: python -m maskrcnn.check annotations=data/coco/person_val.json images=data/coco/images task=keypoint"""

_HINT = "python -m maskrcnn.check --help shows the usage"

FILE_KEYS = ("annotations", "images", "task")

TASKS: Mapping[str, str] = MappingProxyType(
    {
        "mask": "mask",
        "keypoint": "keypoint",
        "box": "box",
        "mask_keypoint": "mask_keypoint",
        "segmentation": "mask",
        "detection": "box",
        "multitask": "mask_keypoint",
    }
)
"""What a user may type → the head."""


def main(arguments: list[str]) -> int:
    """Examines what the command line names and prints every finding; the exit code says whether there are faults.

    Raises:
        UsageError: the command line cannot be understood.
    """
    if any(argument in ("-h", "--help") for argument in arguments):
        print(USAGE)
        return 0
    if not arguments:
        raise UsageError("nothing to check", "", f"give annotations=FILE images=DIR task=…; {_HINT}")
    if _names_a_config(arguments):
        return _check_config(arguments)
    values = _read_arguments(arguments)
    from maskrcnn.workflows.check import check_files

    return check_files(Path(values["annotations"]), Path(values["images"]), _head(values["task"]))


def _names_a_config(arguments: list[str]) -> bool:
    """Whether the second form is meant: a data set of the configuration and none of the first form's own keys."""
    from maskrcnn.config.arguments import override_key

    keys = [override_key(argument) for argument in arguments]
    if any(key in ("annotations", "images") for key in keys):
        return False
    return any(key in ("dataset", "experiment", "from_run") or key.startswith("dataset.") for key in keys)


def _check_config(overrides: list[str]) -> int:
    from maskrcnn.config.compose import compose
    from maskrcnn.workflows.check import check_config

    return check_config(compose(overrides))


def _read_arguments(arguments: list[str]) -> dict[str, str]:
    """The values of the first form, split at the first `=`: paths may hold any characters."""
    values: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key not in FILE_KEYS:
            near = difflib.get_close_matches(key.lower().lstrip("-+"), FILE_KEYS, n=1)
            hint = f"did you mean {near[0]}={value or '…'}?" if near else _HINT
            raise UsageError(f"unknown {'key' if equals else 'argument'}", argument, hint)
        if not equals or not value.strip():
            raise UsageError("has no value", argument, f"give {key}=…")
        if key in values:
            raise UsageError("is given twice", key, "give it once")
        if "\x00" in value:
            raise UsageError("holds a zero byte", key)
        values[key] = value
    missing = [key for key in FILE_KEYS if key not in values]
    if missing:
        raise UsageError("is not given", missing[0], f"give {' '.join(f'{key}=…' for key in missing)}; {_HINT}")
    _head(values["task"])
    return values


def _head(task: str) -> str:
    if task in TASKS:
        return TASKS[task]
    near = difflib.get_close_matches(task.lower(), TASKS, n=1, cutoff=0.5)
    hint = f"did you mean task={near[0]}?" if near else f"choose one of {', '.join(TASKS)}"
    raise UsageError("there is no such task", f"task={task}", hint)


if __name__ == "__main__":
    run_command(main)
