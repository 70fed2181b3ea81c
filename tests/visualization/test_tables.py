"""Text tables: alignment, undefined figures, characters that would break Markdown."""

from __future__ import annotations

import doctest
import math

from maskrcnn.visualization import colours, tables
from maskrcnn.visualization.tables import markdown_table, text_table


def test_examples_in_the_documentation_hold() -> None:
    for module in (tables, colours):
        assert doctest.testmod(module).failed == 0


def test_undefined_figures_are_a_dash_and_zero_is_zero() -> None:
    text = text_table(["name", "AP", "count"], [["cup", None, 0], ["car", math.nan, 12], ["dog", 0.0, 3]])
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["cup", "–", "0"],
        ["car", "–", "12"],
        ["dog", "0.000", "3"],
    ]
    assert len({len(line) for line in text.splitlines()}) == 1


def test_markdown_cells_keep_to_their_column() -> None:
    table = markdown_table(["a|b", "n"], [["x|y\nz", 1]])
    assert table.splitlines()[2] == "| x\\|y z | 1 |"


def test_tables_without_rows_have_a_header() -> None:
    assert markdown_table(["a", "b"], []).splitlines() == ["| a | b |", "| --- | --- |"]
    assert text_table(["a", "b"], []) == "a  b\n"
