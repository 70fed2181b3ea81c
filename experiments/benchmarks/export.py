"""How far exported models are from the original, and how fast: all formats on 20 test images of each run.

    PYTHONPATH=. python experiments/benchmarks/export.py experiments/008-export RUN [RUN ...]

A RUN is an id, a folder, a name or `last`. Writes `results.json` into the folder and the table of its `README.md`
between the lines `<!-- table -->` and `<!-- /table -->`. One image at a time; seconds are medians.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from maskrcnn.config.compose import compose_line, prepare
from maskrcnn.data.images import read_image
from maskrcnn.errors import UserError
from maskrcnn.prediction.export import export_detector, exported_network
from maskrcnn.prediction.export_check import compare
from maskrcnn.prediction.export_formats import FORMATS, target_of
from maskrcnn.prediction.network import compile_network
from maskrcnn.prediction.tta import ViewBatch
from maskrcnn.workflows.export import comparison_images, padded_to
from maskrcnn.workflows.load import load
from maskrcnn.workflows.stored import stored_values

IMAGES = 20
HEADER = ("run", "format", "size, MiB", "boxes, px", "scores", "masks", "heat maps", "joints, px", "detections")
TIMES = ("original, s", "exported, s", "to export, s")
COLUMNS = ("boxes", "scores", "masks", "heatmaps", "keypoints")
START, END = "<!-- table -->", "<!-- /table -->"


def main(folder: Path, runs: list[str]) -> None:
    """Every format of every run; a format that fails is a row with its reason."""
    rows = [row for run in runs for row in rows_of(run)]
    (folder / "results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    readme = folder / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{START}\n{table(rows)}\n{END}{after}", encoding="utf-8")


def rows_of(run: str) -> list[dict[str, Any]]:
    """One row a format."""
    predictor = load(run, batch_size=1)
    config = compose_line(prepare([], stored=stored_values(run)))
    batches = [predictor.prepare([read_image(path)]) for path in comparison_images(config, None, IMAGES)[0]]
    original = compile_network(predictor.detector)
    rows = []
    for name in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            facts = measured(predictor.detector, original, name, target_of(name, Path(folder) / "out"), batches)
        rows.append({"run": Path(run).name, "format": name, **facts})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def measured(detector: Any, original: Any, name: str, target: Path, batches: list[ViewBatch]) -> dict[str, Any]:
    """Differences, seconds and size of one export."""
    sides = [batch.images.shape[1:3] for batch in batches]
    size = (max(height for height, _ in sides), max(width for _, width in sides))
    if FORMATS[name].fixed_shape:
        batches = [padded_to(batch, size) for batch in batches]
    started = time.perf_counter()
    try:
        export_detector(detector, name, target, size)
        seconds = time.perf_counter() - started
        found = compare(original, exported_network(name, target), batches)
    except UserError as error:
        return {"reason": str(error)}
    files = target.rglob("*") if target.is_dir() else target.parent.glob("*")
    mib = sum(file.stat().st_size for file in files if file.is_file()) / 2**20
    return {**asdict(found), "passed": found.passed, "export_s": seconds, "mib": mib}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    names = (*HEADER, *TIMES)
    lines = [f"| {' | '.join(names)} |", f"|---|---|{'--:|' * (len(names) - 2)}"]
    for row in rows:
        if "reason" in row:
            cells = [row["reason"], *[""] * (len(names) - 3)]
        else:
            differences = [f"{row['differences'][c]:.1e}" if c in row["differences"] else "–" for c in COLUMNS]
            found = f"{row['detections']}" + (f" ({row['unmatched']} unmatched)" if row["unmatched"] else "")
            times = [f"{row['original_s']:.3f}", f"{row['exported_s']:.3f}", f"{row['export_s']:.0f}"]
            cells = [f"{row['mib']:.1f}", *differences, found, *times]
        lines.append(f"| {' | '.join([row['run'], row['format'], *cells])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
