"""Ours beside torchvision, in one run: training step and inference of ResNet-50-FPN detectors on this machine's CPU.

    python -m experiments.benchmarks.peers --peer-python OTHER_ENVIRONMENT/bin/python

One JSON object a line on standard output. `ratio` is ours / torchvision's of the smallest wall times, `cpu_ratio` of
the smallest processor times of all threads (the steadier one on a machine with other work), `memory_ratio` of the
peak resident memory of the timed calls; each side of each case has a process of its own, and all take turns. Both
have the same weights, images, frozen layers and trained parameters. In training both get the same proposals, so that
`positives` (RoIs an image that reach the mask or keypoint head) are equal; nobody selects proposals of its own there.
At inference both select their own 1000, and `positives` counts the detections. torchvision is its fastest variant.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.benchmarks.peers.measure import ROOT, rows
from experiments.benchmarks.peers.work import CASES, DEFAULT_CASES, MAX_POSITIVES, PARITY, PRECISIONS, Job
from maskrcnn.errors import UsageError, UserError

VARIANTS = ("eager", "channels_last", "compile")
NEEDED = ("bench_torchvision.py", "synthetic.py", str(PARITY / "recipe.py"))
DEFAULT_PEERS = ROOT.parent / "shared" / "tools" / "peers"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    add = options.add_argument
    add("--peer-python", default=sys.executable, help="interpreter that has torchvision (default: this one)")
    add(
        "--peers",
        type=Path,
        default=DEFAULT_PEERS,
        help="folder of the peers' scripts (default: ../shared/tools/peers)",
    )
    add("--cases", nargs="+", default=list(DEFAULT_CASES), help=f"of {', '.join(CASES)}")
    add("--variants", nargs="+", default=list(VARIANTS), help=f"torchvision's, of {', '.join(VARIANTS)}")
    add("--repeats", type=int, default=5, help="timed calls of each side")
    add("--warmup", type=int, default=2, help="calls before, which trace and compile")
    add("--threads", type=int, default=os.cpu_count() or 1, help="of each side")
    add("--positives", type=int, nargs="+", default=[64], help="positive RoIs an image in training; one row each")
    add(
        "--precision",
        default=PRECISIONS[0],
        choices=PRECISIONS,
        help="what both compute in; boxes and losses stay float32",
    )
    add("--instances", type=int, default=8, help="objects an image")
    add("--seed", type=int, default=11, help="of images, weights and proposals")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    options = parser().parse_args(arguments)
    try:
        check(options)
        jobs = make_jobs(options)
        for row in rows(jobs, options.peer_python, options.variants, repeats=options.repeats, warmup=options.warmup):
            print(json.dumps(row), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def make_jobs(options: argparse.Namespace) -> list[Job]:
    """One job for each case, and for each number of positives where that matters."""
    counts = {
        name: options.positives if CASES[name].mode == "train" else options.positives[:1] for name in options.cases
    }
    return [
        Job(
            name,
            str(options.peers.resolve()),
            options.threads,
            options.seed,
            options.instances,
            positives,
            precision=options.precision,
        )
        for name in options.cases
        for positives in counts[name]
    ]


def check(options: argparse.Namespace) -> None:
    """Refuse what cannot work before any model is made.

    Raises:
        UserError: a folder or an interpreter that does not serve. UsageError: an option out of its range.
    """
    for name, known in (("cases", tuple(CASES)), ("variants", VARIANTS)):
        unknown = [value for value in getattr(options, name) if value not in known]
        if unknown:
            raise UsageError(f"{unknown[0]!r} is not known", f"--{name}", f"choose of {', '.join(known)}")
    for name in ("repeats", "warmup", "threads", "instances"):
        if getattr(options, name) < 1:
            raise UsageError(f"{getattr(options, name)} is below 1", f"--{name}")
    for positives in options.positives:
        if not options.instances <= positives <= MAX_POSITIVES:
            raise UsageError(
                f"{positives} is outside {options.instances}…{MAX_POSITIVES}",
                "--positives",
                f"each of the {options.instances} objects joins the proposals as a positive, a quarter of 512 RoIs is "
                "the most",
            )
    check_peers(options.peers)
    check_torchvision(options.peer_python)


def check_peers(folder: Path) -> None:
    for name in NEEDED:
        if not (folder / name).is_file():
            what = "no such folder" if not folder.is_dir() else f"{name} is missing"
            raise UserError(what, f"--peers {folder}", "give the folder that holds bench_torchvision.py")


def check_torchvision(python: str) -> None:
    where, hint = f"--peer-python {python}", "name an interpreter that has torchvision"
    try:
        found = subprocess.run([python, "-c", "import numpy, torchvision"], capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"cannot be run ({error.strerror})", where, hint) from None
    if found.returncode:
        reason = (found.stderr.strip().splitlines() or ["it failed"])[-1]
        raise UserError(f"torchvision cannot be imported ({reason[:150]})", where, hint)


if __name__ == "__main__":
    sys.exit(main())
