"""Figures and sheets that put several runs beside each other; a run has the same colour and place everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from maskrcnn.visualization.figures import LINE_COLOURS, LINE_STYLES, figure_notice, new_figure, tidy_axes
from maskrcnn.visualization.sheets import contact_sheet

Curve = tuple[Sequence[float], Sequence[float]]
WIDEST_SHEET = 4000
CELL = 320
SMALLEST_CELL = 160


def runs_figure(panels: Mapping[str, Mapping[str, Curve]], runs: Sequence[str]) -> Figure:
    """One plot for each entry of `panels` (figure → run → steps and values), with one legend of all runs below.

    Runs without a curve keep their colour in the legend, so that a failed run is seen to be missing. Values that are
    not finite leave gaps. Without any curve the figure says so.
    """
    panels = {title: curves for title, curves in panels.items() if curves}
    if not panels:
        return figure_notice("no run has recorded a curve")
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    legend_columns = max(1, min(len(runs), 110 // (max(map(len, runs)) + 8)))
    legend_inches = 0.25 * math.ceil(len(runs) / legend_columns) + 0.2
    figure = new_figure(5.6 * columns + 0.6, 3.6 * rows + legend_inches)
    for number, (title, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, number)
        for run, curve in curves.items():
            _plot(axes, curve, **_style(runs.index(run)))
        tidy_axes(axes)
        axes.set(title=title, xlabel="step")
    handles = [Line2D([], [], label=run, **_style(k)) for k, run in enumerate(runs)]
    figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns, fontsize=8.5, frameon=False)
    return figure


def _style(number: int) -> dict[str, Any]:
    style = LINE_STYLES[number // len(LINE_COLOURS) % len(LINE_STYLES)]
    return {"color": LINE_COLOURS[number % len(LINE_COLOURS)], "linestyle": style}


def _plot(axes: Axes, curve: Curve, *, color: str, linestyle: str) -> None:
    heights = np.array([math.nan if v is None else float(v) for v in curve[1]], np.float64)
    heights[~np.isfinite(heights)] = math.nan
    marker = "o" if len(heights) <= 30 else None
    axes.plot(np.asarray(curve[0]), heights, linestyle, color=color, marker=marker, markersize=4, linewidth=1.8)


def runs_sheet(
    images: Sequence[str],
    truth: Mapping[str, np.ndarray],
    predictions: Mapping[str, Mapping[str, np.ndarray]],
) -> np.ndarray:
    """The contact sheet of several runs: a row for each image, ground truth first, then a column for each run.

    Args:
        images: names of the images, in the order of the rows.
        truth: pictures by image, uint8 [H, W, 3].
        predictions: run → image → picture; a cell stays empty where a run has not drawn an image.

    Returns:
        uint8 [H', W', 3], at most about 4,000 pixels wide for up to 24 runs.
    """
    cell = max(SMALLEST_CELL, min(CELL, WIDEST_SHEET // (len(predictions) + 1)))
    rows = [[truth.get(image), *(of_run.get(image) for of_run in predictions.values())] for image in images]
    return contact_sheet(rows, ["ground truth", *predictions], list(images), cell=cell)
