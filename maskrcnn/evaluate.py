"""`python -m maskrcnn.evaluate`: COCO's figures of a stored model on a data set.

Usage: python -m maskrcnn.evaluate run=RUN [dataset=…] [key=value]

  run=RUN       a run's id, folder or name, `last`, or a model file
  dataset=…     another data set than the run's own test part: dataset=coco_json
                dataset.test.annotations=FILE dataset.test.images=FOLDER
  key=value     any key of the configuration, such as evaluation.batch_size=4

Examples:
  python -m maskrcnn.evaluate run=last
  python -m maskrcnn.evaluate run=mlruns/runs/NAME dataset=coco_json \\
      dataset.test.annotations=val.json dataset.test.images=images
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow, which reads it once

from maskrcnn.cli import quiet_imports, run_command
from maskrcnn.config.arguments import HELP_FLAGS, split_pairs, take_flags
from maskrcnn.config.names import nearest
from maskrcnn.errors import ProblemsError, UsageError

KEYS = ("run",)


def main(arguments: list[str]) -> int:
    """Runs the command; its exit code. Mistakes of the user's are raised as `UserError`."""
    flags, rest = take_flags(arguments, HELP_FLAGS)
    if "help" in flags:
        print(__doc__)
        return 0
    own, overrides = split_pairs(rest, KEYS)
    from maskrcnn.config.compose import compose_line, prepare
    from maskrcnn.config.validate import validate_evaluation

    if "run" not in own:
        near = next((text for text in overrides if nearest(text.partition("=")[0], KEYS)), "run=")
        raise UsageError("run= is missing", near, "write run=ID, a folder or a model file, or run=last")
    prepare(overrides)  # a misspelt key is told before the run is looked for
    from maskrcnn.workflows.stored import stored_values

    config = compose_line(prepare(overrides, stored=stored_values(own["run"])))
    problems = validate_evaluation(config)
    if problems:
        raise ProblemsError(problems)
    with quiet_imports():
        from maskrcnn.workflows.evaluate import evaluate

    return evaluate(own["run"], config)


if __name__ == "__main__":
    run_command(main)
