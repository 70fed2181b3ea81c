"""Where everything stands in a COCO annotation file: read once, kept in the cache, so that later starts take seconds.

The index holds for each image and annotation the few numbers that a subset is chosen by, and the bytes of the file
that hold the rest. Only chosen entries are read again, and checked as the doctor checks them. An index belongs to one
state of its file: size, times and a hash of samples of its bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.data.faults.json_stream import parse_item
from maskrcnn.data.faults.report import Findings
from maskrcnn.downloads import one_at_a_time, writing_to
from maskrcnn.errors import UserError

FORMAT = 1
"""Of the cached files; others are made anew."""

_SAMPLES, _SAMPLE_BYTES = 64, 16384
"""Pieces of the file that its quick hash is made of: a 1 MiB in all, evenly spread from its first to its last byte."""

_COLUMNS = (
    "image_ids", "image_starts", "image_lengths", "image_good",
    "annotation_images", "annotation_categories", "annotation_areas", "annotation_crowds",
    "annotation_starts", "annotation_lengths", "annotation_good", "category_ids",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class CocoIndex:
    """A file's images I and annotations N in the order of their lists; starts and lengths are bytes of the file.

    Attributes:
        path: the annotation file.
        image_ids: [I] int64.
        image_starts, image_lengths: [I] int64, int32.
        image_good: [I] bool: an entry without a fault of its own.
        annotation_images: [N] int32, rows of images.
        annotation_categories: [N] int32, rows of `category_ids`.
        annotation_areas: [N] float64; NaN where the entry tells none, or nonsense.
        annotation_crowds: [N] bool.
        annotation_starts, annotation_lengths: [N] int64, int32.
        annotation_good: [N] bool: it belongs to a good image and a known category, and its id is its own.
        category_ids: [C] int64, as the file declares them.
        categories: the entries of the list of categories.
        findings: (level, kind, where, what, hint) of the faults behind `image_good` and `annotation_good`.
    """

    path: Path
    image_ids: np.ndarray
    image_starts: np.ndarray
    image_lengths: np.ndarray
    image_good: np.ndarray
    annotation_images: np.ndarray
    annotation_categories: np.ndarray
    annotation_areas: np.ndarray
    annotation_crowds: np.ndarray
    annotation_starts: np.ndarray
    annotation_lengths: np.ndarray
    annotation_good: np.ndarray
    category_ids: np.ndarray
    categories: tuple[Any, ...]
    findings: tuple[tuple[str, str, str, str, str], ...] = ()

    def image_entries(self, rows: np.ndarray) -> Iterator[tuple[int, Any]]:
        """(row, entry) of these images. Raises UserError where the file is another one now."""
        return self._entries(rows, self.image_starts, self.image_lengths)

    def annotation_entries(self, rows: np.ndarray) -> Iterator[tuple[int, Any]]:
        """(row, entry) of these annotations. Raises UserError where the file is another one now."""
        return self._entries(rows, self.annotation_starts, self.annotation_lengths)

    def note_findings(self, findings: Findings) -> None:
        """Passes on what was found while the file was indexed."""
        for level, kind, where, what, hint in self.findings:
            (findings.fault if level == "fault" else findings.warn)(kind, where, what, hint)

    def _entries(self, rows: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Iterator[tuple[int, Any]]:
        with open(self.path, "rb", buffering=1 << 16) as file:
            for row in rows.tolist():
                file.seek(starts[row])
                try:
                    yield row, parse_item(file.read(lengths[row]))
                except UnicodeDecodeError as error:
                    raise UserError("is not UTF-8", str(self.path), "save it as UTF-8") from error
                except (ValueError, RecursionError) as error:
                    raise _changed(self.path) from error


def open_index(path: Path, cache: Path) -> CocoIndex:
    """The index of the annotation file at `path`, from the cache if the file is still the same.

    Two processes that want the same index make it once: the second one waits.

    Raises:
        UserError: the file cannot be read or is no COCO file as a whole; the cache cannot be written.
    """
    # imported here: a start with a ready index does not need the whole doctor
    from maskrcnn.data.coco_scan import scan_file

    place = index_file(path, cache)
    signature = sign(path)
    if (index := _load(place, path, signature)) is not None:
        return index
    with writing_to(place.parent), one_at_a_time(place):
        if (index := _load(place, path, signature)) is not None:
            return index
        index = scan_file(path)
        if sign(path) != signature:
            raise _changed(path)
        _save(index, place, signature)
    return index


def index_file(path: Path, cache: Path) -> Path:
    """Where the index of a file is kept: one place for each path, so that the index of an older state is replaced."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]
    return cache / "coco-index" / f"{path.stem[:60]}-{name}.npz"


def sign(path: Path) -> str:
    """What tells two states of a file apart: size, times of change, and a hash of samples of its bytes.

    Raises:
        UserError: it cannot be read.
    """
    state = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            facts = os.fstat(file.fileno())
            last = max(0, facts.st_size - _SAMPLE_BYTES)
            for step in range(_SAMPLES):
                file.seek(last * step // (_SAMPLES - 1))
                state.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", str(path)) from error
    return json.dumps([FORMAT, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, state.hexdigest()])


def _changed(path: Path) -> UserError:
    return UserError("has changed while it was read", str(path), "run again")


def _load(place: Path, path: Path, signature: str) -> CocoIndex | None:
    """The cached index; None if there is none, or one of another state or format, or a damaged one."""
    try:
        with np.load(place, allow_pickle=False) as stored:
            texts = json.loads(stored["texts"].tobytes())
            if texts["signature"] != signature:
                return None
            columns = {name: stored[name] for name in _COLUMNS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    findings = tuple(tuple(finding) for finding in texts["findings"])
    return CocoIndex(path, **columns, categories=tuple(texts["categories"]), findings=findings)


def _save(index: CocoIndex, place: Path, signature: str) -> None:
    """Whole or not at all."""
    texts = {"signature": signature, "categories": index.categories, "findings": index.findings}
    columns = {name: getattr(index, name) for name in _COLUMNS}
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, texts=np.frombuffer(json.dumps(texts).encode("ascii"), np.uint8), **columns)
        os.replace(part, place)
    finally:
        part.unlink(missing_ok=True)
