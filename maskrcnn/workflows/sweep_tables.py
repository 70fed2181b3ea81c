"""The figures of a sweep's jobs as tables: pure functions of plain values."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maskrcnn.visualization.tables import UNDEFINED, Cell, cell_text

REPEATED = ("seed",)
"""Swept keys that repeat a setting: the table of settings shows the mean over them and its spread."""
SHOWN = ("box/AP", "box/AP50", "mask/AP", "mask/AP50", "keypoint/AP", "keypoint/AP50", "seconds/total")
"""What the terminal has room for."""

Table = tuple[list[str], list[list[Cell]]]


@dataclass(frozen=True)
class JobFigures:
    """What a table says of one job."""

    name: str
    values: Mapping[str, str]
    """Value of each swept key."""
    status: str
    metrics: Mapping[str, Any] = field(default_factory=dict)


def swept_keys(jobs: Sequence[JobFigures]) -> list[str]:
    """The swept keys of all jobs, in the order of their first use."""
    return list(dict.fromkeys(key for job in jobs for key in job.values))


def metric_names(jobs: Sequence[JobFigures]) -> list[str]:
    """The names of all numbers that jobs ended with, in their order."""
    return list(dict.fromkeys(name for job in jobs for name, value in job.metrics.items() if _is_number(value)))


def shown_names(jobs: Sequence[JobFigures], metric: str | None) -> list[str]:
    """The few figures for the terminal, the one that is compared first."""
    names = metric_names(jobs)
    return list(dict.fromkeys(name for name in (metric, *SHOWN) if name is not None and name in names))


def jobs_table(jobs: Sequence[JobFigures], names: Sequence[str]) -> Table:
    """One row for each job: number, swept keys, status, figures."""
    keys = swept_keys(jobs)
    rows: list[list[Cell]] = [
        [job.name, *(job.values.get(key) for key in keys), job.status, *(_number(job.metrics.get(n)) for n in names)]
        for job in jobs
    ]
    return ["job", *keys, "status", *names], rows


def is_repeated(jobs: Sequence[JobFigures]) -> bool:
    """Whether some setting was tried with several seeds."""
    return any(len({job.values[key] for job in jobs if key in job.values}) > 1 for key in REPEATED)


def settings_table(jobs: Sequence[JobFigures], names: Sequence[str]) -> Table:
    """One row for each setting: number of finished runs, mean of each figure and its sample standard deviation («±»).

    A figure's spread is undefined for one run alone.
    """
    keys, groups = _settings(jobs)
    header = [*keys, "runs", *(column for name in names for column in (name, f"{name} ±"))]
    rows: list[list[Cell]] = []
    for setting, members in groups.items():
        cells = [cell for name in names for cell in _mean_and_spread(members, name)]
        rows.append([*setting, len(members), *cells])
    return header, rows


def settings_text(jobs: Sequence[JobFigures], names: Sequence[str]) -> Table:
    """`settings_table` for people: mean and spread in one cell."""
    keys, groups = _settings(jobs)
    rows: list[list[Cell]] = []
    for setting, members in groups.items():
        rows.append([*setting, len(members), *(_in_words(*_mean_and_spread(members, name)) for name in names)])
    return [*keys, "runs", *names], rows


def _settings(jobs: Sequence[JobFigures]) -> tuple[list[str], dict[tuple[str, ...], list[JobFigures]]]:
    """The keys that make a setting, and the finished jobs of each, in order; settings without any stay visible."""
    keys = [key for key in swept_keys(jobs) if key not in REPEATED]
    groups: dict[tuple[str, ...], list[JobFigures]] = {}
    for job in jobs:
        members = groups.setdefault(tuple(job.values.get(key, "") for key in keys), [])
        if job.metrics:
            members.append(job)
    return keys, groups


def _mean_and_spread(jobs: Sequence[JobFigures], name: str) -> tuple[float | None, float | None]:
    values = [float(job.metrics[name]) for job in jobs if _number(job.metrics.get(name)) is not None]
    if not values:
        return None, None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _in_words(mean: float | None, spread: float | None) -> str:
    return cell_text(mean) if spread is None or mean is None else f"{mean:.3f} ± {spread:.3f}"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any) -> Cell:
    """A number as it is; None for anything else and for what is not finite."""
    return value if _is_number(value) and math.isfinite(value) else None


def without_empty(table: Table) -> Table:
    """The table without columns that nobody fills."""
    header, rows = table
    kept = [column for column in range(len(header)) if any(row[column] not in (None, UNDEFINED) for row in rows)]
    return [header[column] for column in kept], [[row[column] for column in kept] for row in rows]
