"""How costs grow: the generated data, one measured stage, the table. Trains nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from experiments.benchmarks.scale import data, stages  # noqa: E402
from experiments.benchmarks.scale.__main__ import draw, main, sizes, to_markdown  # noqa: E402
from maskrcnn.data.coco import load_coco  # noqa: E402
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


def test_rows_become_a_table_and_a_figure(tmp_path: Path) -> None:
    row = {"axis": "images", "growth": 1.0, **stages.measure("index", SIZE)}
    table = to_markdown([row, {**row, "images": 48, "growth": 1.25}])
    assert table.count("\n") == 4
    assert "| 1.25 |" in table
    draw([row, {**row, "images": 48}], tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 5000
