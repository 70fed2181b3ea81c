"""A table as text in the three forms that are kept of it: MLflow's JSON, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence

UNDEFINED = "–"
"""What a reader sees for None and not-a-number."""


def formats(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[tuple[str, str]]:
    """Text and file suffix of each form."""
    return [
        (to_json(header, rows), ".json"),
        (to_markdown(header, rows), ".md"),
        (to_csv(header, rows), ".csv"),
    ]


def to_json(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The "split" form that MLflow's page shows as a table; undefined figures become null."""
    return json.dumps({"columns": list(header), "data": [[_plain(cell) for cell in row] for row in rows]})


def to_markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; columns of figures are set right, figures have three decimals."""
    right = [_is_numeric([row[column] for row in rows]) for column in range(len(header))]
    lines = [
        _markdown_row(header),
        _markdown_row(["--:" if is_right else "---" for is_right in right]),
        *(_markdown_row([cell_text(cell) for cell in row]) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def to_csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Comma-separated values with full figures; undefined ones are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if _plain(cell) is None else _plain(cell) for cell in row] for row in rows])
    return text.getvalue()


def cell_text(cell: object) -> str:
    """A cell for people."""
    value = _plain(cell)
    if value is None:
        return UNDEFINED
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plain(cell: object) -> object:
    """NumPy scalars as Python's; None for figures that are not finite."""
    value = cell.item() if hasattr(cell, "item") else cell
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float)) or value is None else str(value)


def _is_numeric(cells: Sequence[object]) -> bool:
    values = [_plain(cell) for cell in cells]
    numbers = [value for value in values if value is not None and value != UNDEFINED]
    return bool(numbers) and all(isinstance(value, (int, float)) for value in numbers)


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = [" ".join(str(cell).replace("|", "\\|").split()) for cell in cells]
    return "| " + " | ".join(escaped) + " |"
