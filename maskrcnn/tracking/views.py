"""Prepared views of MLflow's page of runs: the table with the figures that matter, and the grid of images.

MLflow keeps a shared view as an experiment's tag; a short link opens it (FACTS 2.31). The format is internal to the
UI, which is why the dependency is pinned and a browser test opens both views.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TAG = "mlflow.sharedViewState."
TABLE, IMAGES = "maskrcnn", "images"
"""Keys of the two views that every run writes."""
METRICS = (
    "box/AP", "box/AP50", "mask/AP", "mask/AP50", "keypoint/AP", "keypoint/AP50", "seconds/total", "model/parameters",
)  # fmt: skip
"""Columns of the table of runs."""
NEWEST_FIRST = "attributes.start_time"
MOST_RUNS = 10
"""An image chart shows no more runs."""

View = dict[str, Any]


def table_view(params: Sequence[str], *, metrics: Sequence[str] = METRICS, search_filter: str = "") -> View:
    """The table of runs with a column for each metric and parameter."""
    columns = [f"metrics.`{name}`" for name in metrics] + [f"params.`{name}`" for name in params]
    return {**_list_of_runs(search_filter, NEWEST_FIRST), "selectedColumns": columns}


def images_view(
    keys: Sequence[str],
    step: int,
    *,
    curves: Sequence[str] = (),
    search_filter: str = "",
    order_by: str = NEWEST_FIRST,
) -> View:
    """The grid of images (rows: `keys`, columns: runs, beginning at `step`), with a line chart of each of `curves`.

    Runs that have a parent appear only when the list is ordered by something else than the time (FACTS 2.28): give
    ``metrics.`box/AP` `` for the jobs of a sweep.
    """
    charts = [_image_chart(keys, step)] + [_line_chart(name) for name in curves]
    sections = [_section("images", columns=1, height_px=760)]
    if curves:
        sections.append(_section("curves", columns=3, height_px=360))
    return {
        **_list_of_runs(search_filter, order_by),
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
    }


def _list_of_runs(search_filter: str, order_by: str) -> View:
    return {
        "searchFilter": search_filter,
        "orderByKey": order_by,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
    }


def _section(name: str, columns: int, height_px: int) -> View:
    layout = {"columns": columns, "cardHeight": height_px}
    return {"uuid": name, "name": name, "display": True, "isReordered": True, **_PLAIN, **layout}


def _image_chart(keys: Sequence[str], step: int) -> View:
    shown = {"imageKeys": list(keys), "step": step, "showRunParams": True}
    return {"uuid": "image-grid", "type": "IMAGE", "metricSectionId": "images", **_PLAIN, **_RUNS, **shown}


def _line_chart(name: str) -> View:
    shown = {"metricKey": name, "selectedMetricKeys": [name], "xAxisKey": "step", "yAxisKey": "metric"}
    scales = {"scaleType": "linear", "xAxisScaleType": "linear", "lineSmoothness": 0, "range": {}}
    facts = {"uuid": f"line-{name}", "type": "LINE", "metricSectionId": "curves", "yAxisExpressions": []}
    return {**facts, **_PLAIN, **_RUNS, **shown, **scales}


_PLAIN = {"deleted": False, "isGenerated": False}
_RUNS = {"runsCountToCompare": MOST_RUNS}
