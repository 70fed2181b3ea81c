"""Figures made with matplotlib's object interface: no pyplot, no global state, safe in threads.

Each function returns a `Figure`; `figure.savefig(path)` or MLflow's `log_figure` writes it, `figure_pixels` turns
it into an image. Numbers that are undefined are drawn as «–» or left out, never as 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from maskrcnn.visualization.colours import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    hex_colour,
)
from maskrcnn.visualization.tables import UNDEFINED, Cell, cell_text, is_numeric_column

LINE_COLOURS = [hex_colour(colour) for colour in (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY)]
LINE_STYLES = ("-", "--", "-.", ":")
MOST_NAMED_CURVES = 10
TITLES = {"box": "Boxes", "mask": "Masks", "keypoint": "Keypoints"}
ROWS_A_BLOCK = 28
MOST_BLOCKS = 4


class PrecisionCurves(Protocol):
    """What the precision–recall figure reads: recall [R] and precision [C, R] at three settings of the IoU."""

    @property
    def categories(self) -> Sequence[str]: ...
    @property
    def recall(self) -> np.ndarray: ...
    @property
    def at_50(self) -> np.ndarray: ...
    @property
    def at_75(self) -> np.ndarray: ...
    @property
    def mean(self) -> np.ndarray: ...


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches that draws without a display."""
    figure = Figure(figsize=(width, height), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_pixels(figure: Figure) -> np.ndarray:
    """The figure as uint8 [H, W, 3]."""
    canvas = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(np.asarray(canvas.buffer_rgba())[..., :3])


def tidy_axes(axes: Axes) -> None:
    """No frame above and right, a pale grid behind the lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)


def precision_recall_figure(curves: Mapping[str, PrecisionCurves]) -> Figure:
    """Precision against recall, one row a kind (`box`, `mask`, `keypoint`): left the mean over the categories at
    IoU 0.50, 0.75 and 0.50–0.95, right each category at IoU 0.50 (named up to ten, otherwise grey with the mean).

    An evaluation without a defined category gives a figure that says so.
    """
    kinds = {kind: curve for kind, curve in curves.items() if len(curve.categories)}
    if not kinds:
        return figure_notice("no category has ground truth: no precision–recall curve")
    figure = new_figure(10.5, 4.9 * len(kinds))
    for row, (kind, curve) in enumerate(kinds.items()):
        measure = "OKS" if kind == "keypoint" else "IoU"
        left, right = (figure.add_subplot(len(kinds), 2, 2 * row + column) for column in (1, 2))
        _mean_curves(left, curve, measure)
        _category_curves(right, curve)
        left.set_title(f"{TITLES.get(kind, kind)}: mean over {_counted(len(curve.categories), 'category')}")
        right.set_title(f"{TITLES.get(kind, kind)}: each category at {measure} 0.50")
        for axes in (left, right):
            tidy_axes(axes)
            axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    return figure


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun[:-1]}ies"


def _mean_curves(axes: Axes, curve: PrecisionCurves, measure: str) -> None:
    settings = ((f"{measure} 0.50", curve.at_50), (f"{measure} 0.75", curve.at_75), ("mean 0.50–0.95", curve.mean))
    for (name, precision), colour, style in zip(settings, LINE_COLOURS, LINE_STYLES):
        mean = precision.mean(axis=0)
        axes.plot(curve.recall, mean, style, color=colour, linewidth=2.2, label=f"{name}   AP {mean.mean():.3f}")
    _legend_below(axes)


def _category_curves(axes: Axes, curve: PrecisionCurves) -> None:
    if len(curve.categories) <= MOST_NAMED_CURVES:
        for k, (name, precision) in enumerate(zip(curve.categories, curve.at_50)):
            colour, style = LINE_COLOURS[k % len(LINE_COLOURS)], LINE_STYLES[k // len(LINE_COLOURS)]
            label = f"{name}  {precision.mean():.3f}"
            axes.plot(curve.recall, precision, style, color=colour, linewidth=2, label=label)
    else:
        for precision in curve.at_50:
            axes.plot(curve.recall, precision, color="#9a9a9a", linewidth=0.8, alpha=0.6)
        axes.plot(curve.recall, curve.at_50.mean(axis=0), color=LINE_COLOURS[0], linewidth=2.6, label="mean")
    _legend_below(axes)


def _legend_below(axes: Axes) -> None:
    """A legend under the axes: curves of precision may run anywhere inside."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize=8.5, frameon=False)


def figure_notice(text: str) -> Figure:
    """A small figure that says why there is nothing to draw."""
    figure = new_figure(6.0, 2.0)
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=11)
    return figure


def per_category_figure(values: Mapping[str, float | None], title: str = "AP per category") -> Figure:
    """Horizontal bars of one figure per category in falling order, with its number; undefined ones last, as «–».

    Up to 30 categories stand in one column of bars, more in two or three.
    """
    if not values:
        return figure_notice("no categories")
    ranked = sorted(values.items(), key=lambda item: (item[1] is None, -(item[1] or 0.0)))
    columns = min(3, math.ceil(len(ranked) / 30))
    length = math.ceil(len(ranked) / columns)
    figure = new_figure(max(5.6, 4.2 * columns), 1.0 + 0.25 * length)
    figure.suptitle(title, fontsize=12)
    limit = max((value for _, value in ranked if value is not None), default=0.0)
    for column in range(columns):
        part = ranked[column * length : (column + 1) * length]
        _bars(figure.add_subplot(1, columns, column + 1), part, length, max(limit, 0.01))
    return figure


def _bars(axes: Axes, part: Sequence[tuple[str, float | None]], length: int, limit: float) -> None:
    positions = np.arange(len(part))
    axes.barh(positions, [value or 0.0 for _, value in part], height=0.72, color=LINE_COLOURS[0])
    for y, (_, value) in enumerate(part):
        axes.text((value or 0.0) + 0.012 * limit, y, cell_text(value, 2), va="center", fontsize=8.5)
    axes.set_yticks(positions, [name for name, _ in part], fontsize=9)
    axes.set(xlim=(0, 1.14 * limit), ylim=(length - 0.4, -0.6))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)


def curves_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str = "",
    *,
    x_label: str = "step",
    y_label: str = "",
    logarithmic: bool = False,
) -> Figure:
    """Lines of `{name: (steps, values)}` in one plot, such as losses, learning rate or AP of all runs of a sweep.

    Gaps are left where a value is None or not finite; a curve of one point is a dot. `logarithmic` applies to the
    values. An empty mapping gives a figure that says so.
    """
    if not curves:
        return figure_notice(f"{title}: nothing recorded" if title else "nothing recorded")
    figure = new_figure(9.0 if len(curves) > MOST_NAMED_CURVES else 7.6, 4.6)
    axes = figure.add_subplot()
    for k, (name, (steps, values)) in enumerate(curves.items()):
        heights = np.array([math.nan if v is None else float(v) for v in values], np.float64)
        heights[~np.isfinite(heights)] = math.nan
        colour = LINE_COLOURS[k % len(LINE_COLOURS)]
        style = LINE_STYLES[k // len(LINE_COLOURS) % len(LINE_STYLES)]
        marker = "o" if np.count_nonzero(np.isfinite(heights)) <= 30 else None
        axes.plot(np.asarray(steps), heights, style, color=colour, marker=marker, markersize=4, linewidth=2, label=name)
    tidy_axes(axes)
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    if logarithmic:
        _plain_logarithmic(axes)
    if len(curves) > 6:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
    elif len(curves) > 1 or not title:
        axes.legend(fontsize=9, framealpha=0.85)
    return figure


def _plain_logarithmic(axes: Axes) -> None:
    """A logarithmic vertical axis whose marks read 0.2, 0.5, 1 instead of powers of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def samples_figure(header: Sequence[str], rows: Sequence[Sequence[Cell]], title: str = "") -> Figure:
    """A table as a picture, such as the table of samples: up to 28 rows, then up to
    four blocks side by side.

    Numbers are aligned right, undefined ones are «–», every other row is shaded; 80 categories stay legible.
    """
    texts = [[cell_text(value) for value in row] for row in rows]
    right = [bool(rows) and is_numeric_column(rows, column) for column in range(len(header))]
    blocks = max(1, min(MOST_BLOCKS, math.ceil(len(rows) / ROWS_A_BLOCK)))
    length = math.ceil(len(rows) / blocks)
    # Widths in units of a letter at 9.5 points (0.083 inch on average in DejaVu Sans).
    lengths = [[len(name), *(len(row[column]) for row in texts)] for column, name in enumerate(header)]
    edges = np.cumsum([0.0, *(0.083 * max(column) + 0.26 for column in lengths)])
    block = float(edges[-1]) + 0.3
    top = 0.45 if title else 0.1
    width, height = 0.2 + blocks * block, top + 0.24 * (length + 1) + 0.15
    figure = Figure(figsize=(max(width, 3.0), height), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, max(width, 3.0)), ylim=(height, 0))
    axes.set_axis_off()
    axes.text(0.2, 0.27, title, fontsize=12, fontweight="bold", va="center")
    for k in range(blocks):
        part = [list(header), *texts[k * length : (k + 1) * length]]
        _table_block(axes, part, right, edges + 0.2 + k * block, top)
    return figure


def _table_block(
    axes: Axes, lines: Sequence[Sequence[str]], right: Sequence[bool], edges: np.ndarray, top: float
) -> None:
    """One block of lines (the first is the header) at `edges` [columns + 1] inches from the left."""
    for number, line in enumerate(lines):
        y = top + 0.24 * number
        shade = "#d9e6ef" if number == 0 else "#f4f4f4" if number % 2 else "white"
        axes.fill_between(edges[[0, -1]], y, y + 0.24, color=shade, linewidth=0)
        for text, start, end, is_right in zip(line, edges, edges[1:], right):
            x, side = (end - 0.1, "right") if is_right else (start + 0.08, "left")
            colour = "#777777" if text == UNDEFINED else "black"
            weight = "bold" if number == 0 else "normal"
            axes.text(x, y + 0.125, text, fontsize=9.5, ha=side, va="center", color=colour, fontweight=weight)
