"""Figures and sheets of several runs."""

from __future__ import annotations

import numpy as np

from maskrcnn.visualization.comparison import runs_figure, runs_sheet
from maskrcnn.visualization.figures import LINE_COLOURS, figure_pixels

RISING = ([1.0, 2.0], [0.1, 0.2])


def test_each_figure_has_its_plot_and_a_run_the_same_colour_in_all() -> None:
    panels = {"loss": {"a": RISING, "b": RISING, "c": RISING}, "val/box/AP": {"c": ([1.0], [float("nan")])}, "none": {}}
    figure = runs_figure(panels, ["a", "b", "c"])
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("loss", "val/box/AP")
    assert [line.get_color() for line in first.lines] == LINE_COLOURS[:3]
    assert second.lines[0].get_color() == LINE_COLOURS[2], "the runs without a curve keep theirs"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]
    assert figure_pixels(figure).shape[2] == 3


def test_no_curve_at_all_is_said() -> None:
    assert "no run" in runs_figure({"loss": {}}, ["a"]).texts[0].get_text()
    assert "no run" in runs_figure({}, []).texts[0].get_text()


def test_many_runs_keep_a_legible_width() -> None:
    figure = runs_figure({"loss": {f"optimizer.learning_rate={k}": RISING for k in range(20)}}, [
        f"optimizer.learning_rate={k}" for k in range(20)
    ])  # fmt: skip
    assert figure_pixels(figure).shape[1] < 1000


def test_the_sheet_puts_the_truth_first_and_leaves_missing_pictures_empty() -> None:
    red, blue = np.zeros((10, 20, 3), np.uint8), np.zeros((10, 20, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    sheet = runs_sheet(["x", "y"], {"x": red, "y": red}, {"one": {"x": blue, "y": blue}, "two": {"y": blue}})
    columns = [np.flatnonzero((sheet == colour).all(-1).any(0)) for colour in ([255, 0, 0], [0, 0, 255])]
    assert columns[0].max() < columns[1].min()
    assert (sheet == [0, 0, 255]).all(-1).sum() == 3 * 160 * 320


def test_many_columns_are_smaller() -> None:
    picture = np.zeros((20, 20, 3), np.uint8)
    sheet = runs_sheet(["x"], {"x": picture}, {str(k): {"x": picture} for k in range(24)})
    assert sheet.shape[1] < 4400
