"""Figures: that they are drawn without global state, say what they should, and survive odd input."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.figure import Figure

from maskrcnn.visualization.figures import (
    curves_figure,
    figure_pixels,
    per_category_figure,
    precision_recall_figure,
    samples_figure,
)


@dataclass
class Curves:
    categories: tuple[str, ...]
    recall: np.ndarray = field(default_factory=lambda: np.linspace(0, 1, 101))

    def _precision(self, factor: float) -> np.ndarray:
        return (
            np.stack([factor * (1 - self.recall) for _ in self.categories]) if self.categories else np.zeros((0, 101))
        )

    @property
    def at_50(self) -> np.ndarray:
        return self._precision(1.0)

    @property
    def at_75(self) -> np.ndarray:
        return self._precision(0.6)

    @property
    def mean(self) -> np.ndarray:
        return self._precision(0.4)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")) if text.get_text()]


def test_precision_recall_shows_each_kind_and_names_few_categories() -> None:
    figure = precision_recall_figure({"box": Curves(("cup", "car")), "keypoint": Curves(("person",))})
    figure_pixels(figure)
    assert len(figure.axes) == 4
    words = " ".join(texts(figure))
    assert "Boxes: mean over 2 categories" in words
    assert "Keypoints: mean over 1 category" in words
    assert "OKS 0.75" in words
    assert "AP 0.500" in words
    assert "cup  0.500" in words


def test_many_categories_are_grey_with_their_mean() -> None:
    figure = precision_recall_figure({"mask": Curves(tuple(f"c{k}" for k in range(80)))})
    assert len(figure.axes[1].lines) == 81
    assert [t.get_text() for t in figure.axes[1].get_legend().get_texts()] == ["mean"]


def test_no_defined_category_is_said_in_words() -> None:
    for curves in ({}, {"box": Curves(())}):
        assert "no precision" in texts(precision_recall_figure(curves))[0]


def test_bars_fall_and_undefined_categories_come_last_as_a_dash() -> None:
    figure = per_category_figure({"cup": 0.25, "dog": None, "car": 0.75})
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["car", "cup", "dog"]
    assert [text.get_text() for text in axes.texts] == ["0.75", "0.25", "–"]


def test_eighty_categories_stand_in_three_columns_of_bars() -> None:
    figure = per_category_figure({f"category {k}": k / 80 for k in range(80)})
    assert len(figure.axes) == 3
    assert sum(len(axes.get_yticklabels()) for axes in figure.axes) == 80


def test_curves_leave_gaps_where_a_value_is_missing() -> None:
    figure = curves_figure({"loss/mask": ([0, 1, 2, 3], [1.0, None, math.inf, 0.5])}, "Losses", logarithmic=True)
    (line,) = figure.axes[0].lines
    assert np.isnan(line.get_ydata()).tolist() == [False, True, True, False]
    assert figure_pixels(figure).dtype == np.uint8


def test_curves_of_many_jobs_differ_in_colour_or_style() -> None:
    figure = curves_figure({f"job {k}": ([0, 1], [k, k + 1]) for k in range(20)})
    looks = {(matplotlib.colors.to_hex(line.get_color()), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 20


def test_table_of_eighty_rows_is_legible_and_not_too_long() -> None:
    rows = [[f"category number {k}", k, 0.5 if k % 2 else None, 10**6] for k in range(80)]
    figure = samples_figure(["category", "images", "AP", "instances"], rows, "Samples")
    width, height = figure.get_size_inches()
    assert width < 20
    assert height < 12
    shown = texts(figure)
    assert shown.count("category") == 3
    assert shown.count("–") == 40
    assert "category number 79" in shown


@pytest.mark.parametrize(
    "make", [lambda: curves_figure({}), lambda: per_category_figure({}), lambda: samples_figure(["a"], [])]
)
def test_empty_input_gives_a_picture(make: object) -> None:
    assert callable(make)
    pixels = figure_pixels(make())
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


def test_figures_do_not_load_pyplot() -> None:
    assert "matplotlib.pyplot" not in sys.modules or sys.modules["matplotlib.pyplot"].get_fignums() == []
