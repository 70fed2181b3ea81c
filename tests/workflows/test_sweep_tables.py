"""Tables of a sweep: one row a job, one row a setting with the mean over its seeds."""

from __future__ import annotations

import math

import pytest

from maskrcnn.workflows.sweep_tables import (
    JobFigures,
    is_repeated,
    jobs_table,
    metric_names,
    settings_table,
    settings_text,
    shown_names,
    without_empty,
)


def job(name: str, head: str, seed: str, status: str = "FINISHED", **metrics: object) -> JobFigures:
    named = {key.replace("_", "/"): value for key, value in metrics.items()}
    return JobFigures(name, {"head": head, "seed": seed}, status, named)


JOBS = [
    job("0", "box", "0", box_AP=0.5, seconds_total=10, weights="abc"),
    job("1", "box", "1", box_AP=0.7, seconds_total=20),
    job("2", "mask", "0", box_AP=0.4, mask_AP=None, seconds_total=30.5),
    job("3", "mask", "1", "FAILED"),
]


def test_every_number_of_every_job_is_in_the_table_and_undefined_ones_are_empty() -> None:
    names = metric_names(JOBS)
    assert names == ["box/AP", "seconds/total"]
    header, rows = jobs_table(JOBS, [*names, "mask/AP"])
    assert header == ["job", "head", "seed", "status", "box/AP", "seconds/total", "mask/AP"]
    assert rows[0] == ["0", "box", "0", "FINISHED", 0.5, 10, None]
    assert rows[3] == ["3", "mask", "1", "FAILED", None, None, None]
    assert without_empty((header, rows))[0] == header[:-1]


def test_settings_have_the_mean_over_the_seeds_and_the_sample_standard_deviation() -> None:
    header, rows = settings_table(JOBS, ["box/AP", "mask/AP"])
    assert header == ["head", "runs", "box/AP", "box/AP ±", "mask/AP", "mask/AP ±"]
    assert rows[0] == ["box", 2, pytest.approx(0.6), pytest.approx(math.sqrt(0.02)), None, None]
    assert rows[1] == ["mask", 1, 0.4, None, None, None], "one run has no spread, and a failed one does not count"
    assert settings_text(JOBS, ["box/AP"]) == (
        ["head", "runs", "box/AP"],
        [["box", 2, "0.600 ± 0.141"], ["mask", 1, "0.400"]],
    )


def test_a_setting_all_of_whose_runs_failed_is_still_named() -> None:
    _, rows = settings_text([*JOBS, job("4", "keypoint", "0", "KILLED")], ["box/AP"])
    assert rows[2] == ["keypoint", 0, "–"]


def test_only_several_seeds_make_a_repetition() -> None:
    assert is_repeated(JOBS)
    assert not is_repeated(JOBS[::2])
    assert not is_repeated(
        [JobFigures("0", {"head": "box"}, "FINISHED"), JobFigures("1", {"head": "mask"}, "FINISHED")]
    )


def test_the_figure_that_is_compared_stands_first_on_the_terminal() -> None:
    assert shown_names(JOBS, None) == ["box/AP", "seconds/total"]
    assert shown_names(JOBS, "seconds/total") == ["seconds/total", "box/AP"]
    assert shown_names(JOBS, "box/APs") == ["box/AP", "seconds/total"]


def test_a_sweep_without_jobs_gives_empty_tables() -> None:
    assert jobs_table([], []) == (["job", "status"], [])
    assert settings_table([], []) == (["runs"], [])
