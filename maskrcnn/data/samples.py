"""The table of samples: how many images, instances and crowds of each category every part of the data holds."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskrcnn.data.records import Dataset
from maskrcnn.data.subset import Exclusions

_COLUMNS = ("images", "instances", "crowds")
_WITHOUT_OBJECTS = "without objects"
_TOTAL = "total"
_GAP, _PART_GAP = "  ", "    "


Row = tuple[str | int, ...]


@dataclass(frozen=True)
class SampleTable:
    """Counts by category and part, with a row of images without objects and one of totals at the end.

    A row is (category, then for each part: images, instances, crowds). The images of a category are those with an
    instance or a crowd of it, so they do not add up to the total, which is the number of images of the part.
    """

    parts: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """What was excluded, and which categories can be tested but not learnt, in sentences."""

    @property
    def header(self) -> tuple[str, ...]:
        """Names of the columns: "category", "training images", …"""
        return ("category", *(f"{part} {column}" for part in self.parts for column in _COLUMNS))

    def records(self) -> list[dict[str, str | int]]:
        """One flat dict for each row, keyed by `header`."""
        return [dict(zip(self.header, row, strict=True)) for row in self.rows]

    def to_text(self, max_categories: int | None = None) -> str:
        """Aligned columns for a terminal, then the notes; `max_categories` shortens a longer list of categories."""
        rows = [("category", *_COLUMNS * len(self.parts)), *map(_format_row, self._shortened(max_categories))]
        widths = self._column_widths(rows)
        lines = [_align(row, widths) for row in rows]
        rule = "-" * max(map(_display_width, lines))
        table = [self._part_titles(widths), lines[0], rule, *lines[1:-2], rule, *lines[-2:]]
        return "\n".join([*table, *self.notes])

    def to_markdown(self) -> str:
        """A Markdown table, then the notes as a list."""
        heads = [_escape(name) for name in self.header]
        lines = [f"| {' | '.join(heads)} |", f"| --- |{' --: |' * (len(heads) - 1)}"]
        lines += [f"| {' | '.join(map(_escape, _format_row(row)))} |" for row in self.rows]
        notes = [f"- {_escape(note)}" for note in self.notes]
        return "\n".join([*lines, "", *notes]) if notes else "\n".join(lines)

    def _column_widths(self, rows: Sequence[Sequence[str]]) -> list[int]:
        """Widths that hold every cell, and the name of a part above its three columns."""
        widths = [max(map(_display_width, column)) for column in zip(*rows, strict=True)]
        for first, part in zip(range(1, len(widths), len(_COLUMNS)), self.parts, strict=True):
            widths[first] += max(0, _display_width(part) - _group_width(widths, first))
        return widths

    def _part_titles(self, widths: Sequence[int]) -> str:
        """The line above the header: each part's name in the middle of its columns."""
        groups = zip(range(1, len(widths), len(_COLUMNS)), self.parts, strict=True)
        titles = [_PART_GAP + part.center(_group_width(widths, first)) for first, part in groups]
        return (" " * widths[0] + "".join(titles)).rstrip()

    def _shortened(self, limit: int | None) -> list[Row]:
        categories, closing = list(self.rows[:-2]), self.rows[-2:]
        if limit is None or len(categories) <= limit:
            return [*categories, *closing]
        blank = ("",) * (len(self.header) - 1)
        return [*categories[:limit], (f"… {len(categories) - limit:,} more", *blank), *closing]


def count_samples(parts: Mapping[str, Dataset], exclusions: Sequence[Exclusions] = ()) -> SampleTable:
    """The table of samples of the parts, in their order; the first is the one that is trained on.

    Categories are matched by name; one that a part does not have counts 0 there.
    """
    names = list(dict.fromkeys(name for dataset in parts.values() for name in dataset.category_names))
    counts = [_count_part(dataset) for dataset in parts.values()]
    categories: list[Row] = [
        (name, *(count[name, column] for count in counts for column in _COLUMNS)) for name in names
    ]
    empty: list[int] = []
    total: list[int] = []
    for dataset in parts.values():
        annotations = [item for image in dataset.images for item in image.annotations]
        crowds = sum(item.is_crowd for item in annotations)
        empty += [sum(not image.annotations for image in dataset.images), 0, 0]
        total += [len(dataset), len(annotations) - crowds, crowds]
    notes = [sentence for entry in exclusions for sentence in entry.sentences()]
    rows: tuple[Row, ...] = (*categories, (_WITHOUT_OBJECTS, *empty), (_TOTAL, *total))
    return SampleTable(tuple(parts), rows, (*notes, *_name_unlearnable(tuple(parts), names, counts)))


def _count_part(dataset: Dataset) -> Counter[tuple[str, str]]:
    """Counts by (category name, column)."""
    counts: Counter[tuple[str, str]] = Counter()
    names = dataset.category_names
    for image in dataset.images:
        for item in image.annotations:
            counts[names[item.label - 1], "crowds" if item.is_crowd else "instances"] += 1
        for name in {names[item.label - 1] for item in image.annotations}:
            counts[name, "images"] += 1
    return counts


def _name_unlearnable(
    parts: tuple[str, ...], names: Sequence[str], counts: Sequence[Counter[tuple[str, str]]]
) -> list[str]:
    """Sentences about categories with instances in a later part and none in the first."""
    notes = []
    for part, count in list(zip(parts, counts, strict=True))[1:]:
        absent = [name for name in names if count[name, "instances"] and not counts[0][name, "instances"]]
        if absent:
            notes.append(f"{part}: has instances of {', '.join(absent)}, but {parts[0]} has none to learn from.")
    return notes


def _format_row(row: Sequence[str | int]) -> list[str]:
    return [cell if isinstance(cell, str) else f"{cell:,}" for cell in row]


def _align(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The first cell to the left, the others to the right, a wider gap before each part."""
    line = cells[0] + " " * (widths[0] - _display_width(cells[0]))
    for k, (cell, width) in enumerate(zip(cells[1:], widths[1:], strict=True)):
        line += (_GAP if k % len(_COLUMNS) else _PART_GAP) + cell.rjust(width)
    return line.rstrip()


def _group_width(widths: Sequence[int], first: int) -> int:
    """Width of one part's columns with the gaps between them."""
    return sum(widths[first : first + len(_COLUMNS)]) + len(_GAP) * (len(_COLUMNS) - 1)


def _display_width(text: str) -> int:
    """Columns that a terminal needs: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
