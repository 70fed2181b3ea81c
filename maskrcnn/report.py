"""`python -m maskrcnn.report`: runs and sweeps as Markdown, pictures and tables; sends what a server has missed.

Usage: python -m maskrcnn.report run=RUN[,RUN…] [out=FOLDER]
       python -m maskrcnn.report sweep=SWEEP [out=FOLDER]
       python -m maskrcnn.report sync=true

  run=RUN       ids, folders or names of runs, or `last`
  sweep=SWEEP   id, folder or name of a sweep, or `last`: its runs compared, in a table, curves and pictures
  out=FOLDER    where the report goes (default: the folder of the run or the sweep)
  sync=true     send to the tracking store what it has not got of the runs in mlruns/runs
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow, which reads it once

from pathlib import Path

from maskrcnn.cli import run_command
from maskrcnn.config.arguments import HELP_FLAGS, read_truth, refuse_rest, split_pairs, take_flags
from maskrcnn.config.paths import absolute
from maskrcnn.errors import UsageError

KEYS = ("run", "sweep", "out", "sync")


def main(arguments: list[str]) -> int:
    """Runs the command; its exit code. Mistakes of the user's are raised as `UserError`."""
    flags, rest = take_flags(arguments, HELP_FLAGS, KEYS)
    if "help" in flags:
        print(__doc__)
        return 0
    own, rest = split_pairs(rest, KEYS)
    refuse_rest(rest, KEYS)
    sync = read_truth(own, "sync")
    runs = [name.strip() for name in own.get("run", "").split(",") if name.strip()]
    if [sync, bool(runs), "sweep" in own].count(True) != 1:
        raise UsageError("wants one of runs, a sweep, sync=true", "report", "write run=RUN, sweep=last or sync=true")
    out = Path(absolute(own["out"], Path.cwd())) if "out" in own else None
    if "sweep" in own:
        from maskrcnn.workflows.sweep_report import report_sweep

        return report_sweep(own["sweep"], out)
    from maskrcnn.workflows.report import report_runs, sync_runs

    return sync_runs() if sync else report_runs(runs, out)


if __name__ == "__main__":
    run_command(main)
