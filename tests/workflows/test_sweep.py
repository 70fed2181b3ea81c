from __future__ import annotations

import json

import pytest

from maskrcnn.workflows.sweep import describe_jobs, headline, read_jobs


@pytest.mark.parametrize(
    ("metrics", "figure"),
    [
        ({"box/AP": 0.6, "mask/AP": 0.5}, 0.5),
        ({"box/AP": 0.6, "keypoint/AP": 0.4}, 0.4),
        ({"box/AP": 0.6, "mask/AP": None}, 0.6),
        ({"box/AP": float("nan")}, 0.0),
        ({}, 0.0),
    ],
)
def test_a_job_is_judged_by_its_headline_figure(metrics, figure):
    assert headline(metrics) == figure


def test_jobs_are_read_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 2, 0):
        hydra = tmp_path / str(number) / ".hydra"
        hydra.mkdir(parents=True)
        (hydra / "overrides.yaml").write_text(f"- seed={number}\n")
    (tmp_path / "2" / "metrics.json").write_text(json.dumps({"box/AP": 0.25}))
    (tmp_path / "10" / "metrics.json").write_text("{")
    (tmp_path / "multirun.yaml").write_text("")
    jobs = read_jobs(tmp_path)
    assert [(job.folder.name, job.overrides, job.failed) for job in jobs] == [
        ("0", ("seed=0",), True),
        ("2", ("seed=2",), False),
        ("10", ("seed=10",), True),
    ]
    assert describe_jobs(jobs).splitlines()[1].split() == ["2", "0.250", "seed=2"]
