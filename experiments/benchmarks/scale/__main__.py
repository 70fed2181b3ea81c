"""How the cost of each stage grows with images, instances an image, categories and annotations.

    python -m experiments.benchmarks.scale [--small] [--out FOLDER] [--stages …] [--axes …]

One JSON line a measurement, each in a process of its own, and with --out also results.json, table.md and growth.png.
`cpu_ms_per_unit` should not depend on the size where a cost grows as its work does; `growth` is its ratio to that of
the axis' smallest size. `grown_mib` is what the stage's peak memory lies above what was resident before it; step and
inference keep most of what their first, untimed call took, so there `peak_mib` tells.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.scale.data import Size
from maskrcnn.errors import UsageError, UserError

ROOT = Path(__file__).resolve().parents[3]
STAGES = ("index", "reader", "step", "inference", "evaluation")
USUAL = {"images": 100, "instances": 8, "categories": 80}
AXES = {"images": (100, 1000, 10_000), "instances": (1, 10, 100), "categories": (1, 80, 1000)}
SMALL_AXES = {"images": (20, 200), "instances": (1, 20), "categories": (1, 80)}
INDEPENDENT = {("step", "images"), ("inference", "images"), ("inference", "instances")}
"""What a stage never sees: a step reads a batch, whatever the set holds."""
MEASURE = "cpu_ms_per_unit"
"""Processor time: on a machine with other work the wall time of the same size differs several times over."""


def sizes(axis: str, small: bool) -> list[Size]:
    """The sizes along an axis; the other numbers stay as usual."""
    return [Size(**{**USUAL, axis: value}) for value in (SMALL_AXES if small else AXES)[axis]]


def run(stage: str, size: Size) -> dict[str, Any]:
    """The row of one measurement.

    Raises:
        UserError: it failed; its last line.
    """
    command = [sys.executable, "-m", "experiments.benchmarks.scale.stages", stage, size.to_json()]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise UserError(failure(done.returncode, done.stderr), f"{stage}, {size}")
    return json.loads(done.stdout.splitlines()[-1])


def failure(code: int, stderr: str) -> str:
    """Why a measurement gave nothing: its last line, or the signal that ended it before it could write one."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"ended by {name}" + (", as a process that takes too much memory is" if name == "SIGKILL" else "")
    return (stderr.strip().splitlines() or [f"ended with code {code}"])[-1][:300]


def measurements(stages: Sequence[str], axes: Sequence[str], small: bool) -> Iterator[dict[str, Any]]:
    """One row a stage and size, with its growth along the axis."""
    for axis in axes:
        for stage in stages:
            if (stage, axis) in INDEPENDENT:
                continue
            first: dict[str, Any] | None = None
            for size in sizes(axis, small):
                row = {"axis": axis, **run(stage, size)}
                first = first or row
                yield {**row, "growth": round(row[MEASURE] / first[MEASURE], 3)}


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table, one line a measurement."""
    lines = [
        "| axis | stage | images | instances an image | categories | ms | CPU ms | of one | growth | peak MiB "
        "| above what was resident | bytes of one |",
        "|---|---|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [row[key] for key in ("axis", "stage", "images", "instances", "categories")]
        cells += [f"{row['ms_per_unit']:.3g}", f"{row['cpu_ms_per_unit']:.3g}", row["unit"], f"{row['growth']:.2f}"]
        cells += [row["peak_mib"], row["grown_mib"], row["bytes_per_unit"] if row["stage"] == "index" else ""]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Growth against size, one panel an axis, both logarithmic; flat is what is wanted."""
    from matplotlib.figure import Figure

    axes = list(dict.fromkeys(row["axis"] for row in rows))
    figure = Figure(figsize=(4 * len(axes), 3.4), layout="constrained")
    panels = figure.subplots(1, len(axes), squeeze=False)[0]
    for panel, axis in zip(panels, axes):
        for stage in dict.fromkeys(row["stage"] for row in rows if row["axis"] == axis):
            line = [row for row in rows if (row["axis"], row["stage"]) == (axis, stage)]
            panel.plot([row[axis] for row in line], [row["growth"] for row in line], marker="o", label=stage)
        panel.set(xscale="log", yscale="log", xlabel=axis, ylabel="cost of one, relative")
        panel.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def save(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """The rows, their table and their figure; also what was measured before a failure."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(to_markdown(rows), encoding="utf-8")
    draw(rows, folder / "growth.png")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.scale",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    options.add_argument("--out", type=Path, help="folder for results.json, table.md and growth.png")
    options.add_argument("--small", action="store_true", help="small sizes: minutes instead of an hour")
    options.add_argument("--stages", nargs="+", default=list(STAGES), help=f"of {', '.join(STAGES)}")
    options.add_argument("--axes", nargs="+", default=list(AXES), help=f"of {', '.join(AXES)}")
    return options


def check(options: argparse.Namespace) -> None:
    """Raises UsageError for a stage or axis that does not exist."""
    for name, known in (("stages", STAGES), ("axes", tuple(AXES))):
        unknown = [value for value in getattr(options, name) if value not in known]
        if unknown:
            raise UsageError(f"{unknown[0]!r} is not known", f"--{name}", f"choose of {', '.join(known)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    options = parser().parse_args(arguments)
    rows: list[dict[str, Any]] = []
    try:
        check(options)
        for row in measurements(options.stages, options.axes, options.small):
            rows.append(row)
            print(json.dumps(row), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    finally:
        if options.out is not None and rows:
            save(rows, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
