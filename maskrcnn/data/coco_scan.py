"""Reads a COCO annotation file once from end to end, item by item, into an index of it.

Memory holds a few numbers for each item, never the items. What can only be seen with the whole file at hand (an id
that stands twice, an owner that does not exist) is judged here, in the doctor's words; everything else when an entry
is used.
"""

from __future__ import annotations

import codecs
import dataclasses
from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from maskrcnn.data.coco_index import CocoIndex
from maskrcnn.data.faults.annotations import AnnotationChecks
from maskrcnn.data.faults.categories import CheckedCategories
from maskrcnn.data.faults.document import read_document
from maskrcnn.data.faults.images import CheckedImages
from maskrcnn.data.faults.json_stream import JsonReader, parse_item
from maskrcnn.data.faults.report import Findings
from maskrcnn.data.faults.values import UnfitError, finite, whole
from maskrcnn.progress import ProgressLine

_NOBODY = -(2**63)
"""Stands for an id that is none."""
_NAMED = 1000
"""Findings that an index keeps with their words."""
_STEP = 10_000
"""Items between two movements of the progress line."""


def scan_file(path: Path) -> CocoIndex:
    """The index of the annotation file at `path`.

    Raises:
        ProblemsError: it is no COCO file as a whole.
    """
    whole_file = Findings()
    with ProgressLine(None, f"indexing {path.name} (items)") as line:
        scan = _Scan(path, line)
        visitors = {"images": scan.add_image, "annotations": scan.add_annotation, "categories": scan.add_category}
        document = read_document(path, visitors, whole_file, scan.open)
    if document is not None and not scan.image_ids:
        whole_file.fault("no images", "images", "the list is empty: there is nothing to learn from")
    report = whole_file.report(str(path), {})
    report.raise_for_faults()
    for warning in report.warnings:
        scan.findings.warn(warning.kind, warning.where, warning.what, warning.hint)
    return scan.finish()


class _Scan:
    """Takes note of each item as it comes by."""

    def __init__(self, path: Path, line: ProgressLine) -> None:
        self.findings = Findings()
        self.image_ids, self._image_starts, self._image_lengths = array("q"), array("q"), array("i")
        self._image_good = array("b")
        self._ids, self._owners, self._category_ids = array("q"), array("q"), array("q")
        self._areas, self._crowds = array("d"), array("b")
        self._starts, self._lengths = array("q"), array("i")
        self._path = path
        self._line = line
        self._images = CheckedImages(self.findings)
        self._categories: list[Any] = []

    def open(self, file: BinaryIO) -> JsonReader:
        """A reader whose characters are bytes, behind a mark of UTF-8 if there is one."""
        mark = len(codecs.BOM_UTF8)
        file.seek(mark if file.read(mark) == codecs.BOM_UTF8 else 0)
        self._reader = JsonReader(file, "latin-1")
        return self._reader

    def add_image(self, index: int, entry: Any) -> None:
        if not str(entry).isascii():
            entry = self._exact()
        before = self.findings.total
        self._images.add(index, entry)
        image_id = whole(entry.get("id")) if isinstance(entry, dict) else None
        start, end = self._reader.span
        self.image_ids.append(_NOBODY if image_id is None else image_id)
        self._image_starts.append(start)
        self._image_lengths.append(end - start)
        self._image_good.append(self.findings.total == before)
        self._move(index)

    def add_annotation(self, index: int, entry: Any) -> None:
        values: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
        for column, key in ((self._ids, "id"), (self._owners, "image_id"), (self._category_ids, "category_id")):
            number = whole(values.get(key))
            column.append(_NOBODY if number is None else number)
        area = finite(values.get("area"))
        crowd = values.get("iscrowd")
        self._areas.append(np.nan if area is None or area < 0 else area)
        self._crowds.append(crowd is True or whole(crowd) == 1)
        start, end = self._reader.span
        self._starts.append(start)
        self._lengths.append(end - start)
        self._move(index)

    def add_category(self, index: int, entry: Any) -> None:
        self._categories.append(self._exact())

    def finish(self) -> CocoIndex:
        """The index, after what could not be judged item by item."""
        image_ids, image_good = _plain(self.image_ids, np.int64), _plain(self._image_good, np.bool_)
        declared = {whole(entry.get("id")) for entry in self._categories if isinstance(entry, dict)}
        category_ids = np.array(sorted(number for number in declared if number is not None), np.int64)
        index = CocoIndex(
            self._path,
            image_ids=image_ids,
            image_starts=_plain(self._image_starts, np.int64),
            image_lengths=_plain(self._image_lengths, np.int32),
            image_good=image_good,
            annotation_images=_rows_of(_plain(self._owners, np.int64), image_ids, image_good),
            annotation_categories=_rows_of(_plain(self._category_ids, np.int64), category_ids),
            annotation_areas=_plain(self._areas, np.float64),
            annotation_crowds=_plain(self._crowds, np.bool_),
            annotation_starts=_plain(self._starts, np.int64),
            annotation_lengths=_plain(self._lengths, np.int32),
            annotation_good=np.ones(len(self._ids), bool),
            category_ids=category_ids,
            categories=tuple(self._categories),
        )
        good = self._judge_owners(index)
        return dataclasses.replace(index, annotation_good=good, findings=tuple(self._kept_findings()))

    def _judge_owners(self, index: CocoIndex) -> np.ndarray:
        """[N] bool: annotations with an id, an image and a category of their own; faults are noted."""
        ids = _plain(self._ids, np.int64)
        first, later = _repeated(ids)
        good = (index.annotation_images >= 0) & (index.annotation_categories >= 0) & (ids != _NOBODY)
        suspects = ~good
        good[later] = False
        suspects[first] = suspects[later] = True
        categories = CheckedCategories(False, False, Findings())
        for row, entry in enumerate(self._categories):
            categories.add(row, entry)
        categories.finish()
        checks = AnnotationChecks(self._images.by_id, categories, False, False, self.findings)
        for row, entry in index.annotation_entries(np.flatnonzero(suspects)):
            with suppress(UnfitError):
                checks.owner(entry, row)
        return good

    def _kept_findings(self) -> Iterator[tuple[str, str, str, str, str]]:
        report = self.findings.report(str(self._path), {})
        for level, findings in (("fault", report.faults), ("warning", report.warnings)):
            for found in findings[:_NAMED]:
                yield level, found.kind, found.where, found.what, found.hint
            if report.count(level) > _NAMED:
                what = f"{report.count(level) - _NAMED} more of such, not named"
                yield level, "more findings", str(self._path), what, ""

    def _exact(self) -> Any:
        """The item that the reader has just read, with its letters beyond ASCII."""
        start, end = self._reader.span
        with open(self._path, "rb") as file:
            file.seek(start)
            return parse_item(file.read(end - start))

    def _move(self, index: int) -> None:
        if index % _STEP == 0:
            self._line.update(_STEP)


def _plain(column: array[Any], kind: type) -> np.ndarray:
    return np.array(column, kind)


def _rows_of(wanted: np.ndarray, ids: np.ndarray, good: np.ndarray | None = None) -> np.ndarray:
    """For each wanted id its row in `ids`, -1 for none; only `good` rows (all without it) count. int32."""
    candidates = np.arange(len(ids)) if good is None else np.flatnonzero(good)
    if not len(candidates):
        return np.full(len(wanted), -1, np.int32)
    order = candidates[np.argsort(ids[candidates], kind="stable")]
    places = np.minimum(np.searchsorted(ids[order], wanted), len(order) - 1)
    rows = order[places]
    return np.where(ids[rows] == wanted, rows, -1).astype(np.int32)


def _repeated(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the first and of the later ones of ids that stand more than once."""
    order = np.argsort(ids, kind="stable")
    same = ids[order][1:] == ids[order][:-1]
    later = order[1:][same]
    return np.setdiff1d(order[:-1][same], later), later
