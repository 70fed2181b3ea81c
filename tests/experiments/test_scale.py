"""How costs grow: the generated data, one measured stage, the table. Trains nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from experiments.benchmarks.scale import __main__ as command  # noqa: E402
from experiments.benchmarks.scale import data, stages  # noqa: E402
from experiments.benchmarks.scale.__main__ import draw, failure, main, sizes, to_markdown  # noqa: E402
from maskrcnn.data.coco import load_coco  # noqa: E402
from maskrcnn.errors import UserError  # noqa: E402
from maskrcnn.evaluation.coco import evaluate  # noqa: E402

SIZE = data.Size(images=24, instances=3, categories=5)


def test_generated_data_have_the_wanted_size_and_no_fault(tmp_path: Path) -> None:
    dataset, report = load_coco(data.write(SIZE, tmp_path), tmp_path / "images", head="mask")
    assert not report.faults
    assert len(dataset.images) == 24
    assert dataset.num_classes == 5
    assert {len(record.annotations) for record in dataset.images} == {3}
    assert all(Path(record.path).is_file() for record in dataset.images)


def test_detections_hold_every_object_and_wrong_ones(tmp_path: Path) -> None:
    dataset, _ = load_coco(data.write(SIZE, tmp_path), tmp_path / "images", head="mask")
    found = data.detections(dataset)
    assert {len(d) for d in found} == {data.DETECTIONS}
    metrics = evaluate(dataset, found, ("bbox",)).metrics
    assert metrics["box/AR100"] == pytest.approx(1.0)
    assert 0 < metrics["box/AP"] <= 1


@pytest.mark.parametrize("stage", ["index", "reader", "evaluation"])
def test_a_stage_is_measured_per_unit(stage: str) -> None:
    row = stages.measure(stage, SIZE)
    assert row["count"] == {"index": 72, "reader": 320, "evaluation": 24}[stage]
    assert row["ms_per_unit"] == pytest.approx(1000 * row["seconds"] / row["count"], rel=0.01)
    assert row["peak_mib"] > 0


def test_memory_of_inference_does_not_grow_with_categories_times_candidates() -> None:
    """Without a threshold each image has 128 proposals x 300 categories as candidates, 2,400 groups in the batch."""
    row = command.run("inference", data.Size(images=8, instances=1, categories=300))
    assert row["peak_mib"] < 3000, "with a mark for each group and candidate it was 6,800 MiB"


def test_sizes_change_one_number_alone() -> None:
    assert [(s.images, s.instances, s.categories) for s in sizes("categories", small=False)] == [
        (100, 8, 1),
        (100, 8, 80),
        (100, 8, 1000),
    ]


def test_unknown_stages_and_axes_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--stages", "paint"]) == 2
    assert main(["--axes", "depth"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_a_measurement_that_fails_is_named_and_the_rows_before_it_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(stage: str, size: data.Size) -> dict[str, Any]:
        if size.images > 100:
            raise UserError(failure(-9, "noise\n"), f"{stage}, {size}")
        return stages.measure(stage, SIZE)

    monkeypatch.setattr(command, "run", run)
    assert main(["--stages", "index", "--axes", "images", "--out", str(tmp_path)]) == 1
    assert "ended by SIGKILL, as a process that takes too much memory is" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))) == 1
    assert failure(1, "noise\nerror: no room\n") == "error: no room"
    assert failure(3, "") == "ended with code 3"


def test_rows_become_a_table_and_a_figure(tmp_path: Path) -> None:
    row = {"axis": "images", "growth": 1.0, **stages.measure("index", SIZE)}
    table = to_markdown([row, {**row, "images": 48, "growth": 1.25}])
    assert table.count("\n") == 4
    assert "| 1.25 |" in table
    draw([row, {**row, "images": 48}], tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 5000
