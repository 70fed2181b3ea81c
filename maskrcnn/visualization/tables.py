"""Tables as text: Markdown for reports, aligned columns for the terminal. An undefined figure is an en dash."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNDEFINED = "–"

Cell = str | int | float | None


def cell_text(value: Cell, digits: int = 3) -> str:
    """A cell's text: «–» for None and NaN, whole numbers in full, other numbers with `digits` decimals.

    >>> [cell_text(v) for v in (None, 3, 0.12345, "cup")]
    ['–', '3', '0.123', 'cup']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNDEFINED
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def is_numeric_column(rows: Sequence[Sequence[Cell]], column: int) -> bool:
    """Whether a column holds numbers alone (or nothing), and is therefore aligned right."""
    return all(not isinstance(row[column], str) for row in rows)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Cell]], digits: int = 3) -> str:
    """The table in Markdown (GitHub's form), numbers aligned right; ends with a line break.

    >>> print(markdown_table(["category", "AP"], [["cup", 0.5], ["car", None]]), end="")
    | category | AP |
    | --- | --: |
    | cup | 0.500 |
    | car | – |
    """
    rules = ["--:" if rows and is_numeric_column(rows, column) else "---" for column in range(len(header))]
    body = [[cell_text(value, digits).replace("|", "\\|").replace("\n", " ") for value in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in [list(header), rules, *body])


def text_table(header: Sequence[str], rows: Sequence[Sequence[Cell]], digits: int = 3) -> str:
    """The table in aligned columns, two spaces apart; ends with a line break.

    >>> print(text_table(["category", "AP"], [["cup", 0.5], ["car", None]]), end="")
    category     AP
    cup       0.500
    car           –
    """
    lines = [list(header), *([cell_text(value, digits) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    right = [bool(rows) and is_numeric_column(rows, column) for column in range(len(header))]

    def aligned(line: Sequence[str]) -> str:
        cells = (text.rjust(width) if r else text.ljust(width) for text, width, r in zip(line, widths, right))
        return "  ".join(cells).rstrip() + "\n"

    return "".join(aligned(line) for line in lines)
