"""A subset of one COCO annotation file: chosen from its index, then read and checked entry by entry.

What is chosen is what `maskrcnn.data.subset.select` would choose from the whole file, whose other entries are not
read again. The doctor's checks apply to the entries that are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.data.coco import to_dataset
from maskrcnn.data.coco_index import CocoIndex
from maskrcnn.data.doctor import HEADS, Entries, Inspection, inspect_entries
from maskrcnn.data.faults.categories import CheckedCategories
from maskrcnn.data.faults.images import CheckedImages, open_folder
from maskrcnn.data.faults.report import Findings
from maskrcnn.data.keypoint_schemas import OwnJoints
from maskrcnn.data.records import Dataset
from maskrcnn.data.strata import Labels
from maskrcnn.data.subset import (
    Exclusion,
    Exclusions,
    check_numbers,
    choose_images,
    find_categories,
    lost_categories,
    select,
)


@dataclass(frozen=True)
class Reading:
    """How a file is read, whatever is chosen of it; arguments as of `maskrcnn.data.coco.load_coco`."""

    head: str
    faults: str = "fail"
    joints: OwnJoints | None = None


@dataclass(frozen=True)
class Wish:
    """What is wanted of a file; arguments as of `maskrcnn.data.subset.select`."""

    categories: Sequence[str] | None = None
    max_images: int | None = None
    min_area: float = 0.0
    background: bool = True
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Choice:
    """Rows of the index that were chosen, the checked categories, and what was left out.

    Attributes:
        images: rows, in order.
        annotations: rows of the kept categories' annotations in these images.
        categories: only those that were chosen are `kept`.
        findings: what was found in the categories, and while the file was indexed.
    """

    images: np.ndarray
    annotations: np.ndarray
    categories: CheckedCategories
    findings: Findings
    exclusions: Exclusions


def choose(index: CocoIndex, wish: Wish, reading: Reading, name: str) -> Choice:
    """What `wish` takes of the file, before any entry of an image or annotation is read.

    Raises:
        UserError: an unknown category, or a number out of range.
    """
    check_numbers(wish.max_images, wish.min_area, wish.seed)
    findings = Findings()
    index.note_findings(findings)
    categories = _categories(index, wish, reading, findings)
    learned = {category.id for category in categories.kept}
    kept = find_categories(categories.kept, wish.categories) if categories.kept else ()
    marks = _Marks(index, learned, [category.id for category in kept], wish.min_area)
    rows, left_out = choose_images(
        marks.labels_of_images(),
        marks.instances_of_images(),
        marks.emptied_images(),
        max_images=wish.max_images,
        background=wish.background,
        seed=wish.seed,
    )
    images = marks.images[np.array(rows, np.int64)]
    categories.excluded |= learned - {category.id for category in kept}
    categories.kept[:] = kept
    lost = lost_categories(kept, marks.labels_of_images(), rows)
    items = (*marks.exclusions(wish.min_area), *left_out)
    return Choice(images, marks.annotations_of(images), categories, findings, Exclusions(name, items, lost))


def file_names(index: CocoIndex, choice: Choice) -> Iterator[tuple[str, int, int]]:
    """(file name, height, width) of each chosen image, as far as its entry is whole."""
    images = CheckedImages(Findings())
    for row, entry in index.image_entries(choice.images):
        images.add(row, entry)
    for image in images.by_id.values():
        if image.good and image.size is not None:
            yield image.file_name, *image.size


def inspect_choice(
    index: CocoIndex, choice: Choice, folders: Sequence[Path], reading: Reading, *, decode_images: bool, keep: bool
) -> Inspection:
    """The doctor's checks of the chosen entries; arguments as `maskrcnn.data.doctor.inspect`.

    Args:
        folders: where image files are looked for, in this order.
    """
    images = CheckedImages(choice.findings)
    for row, entry in index.image_entries(choice.images):
        images.add(row, entry)
    found = [open_folder(folder, choice.findings) for folder in folders]

    def annotations() -> Iterator[tuple[int, Any]]:
        return index.annotation_entries(choice.annotations)

    sizes = {
        "images": len(choice.images),
        "annotations": len(choice.annotations),
        "categories": len(index.categories),
    }
    entries = Entries(str(index.path), images, choice.categories, annotations, sizes)
    existing = [folder for folder in found if folder is not None]
    return inspect_entries(entries, existing, head=reading.head, decode_images=decode_images, keep=keep)


def load_choice(
    index: CocoIndex, choice: Choice, folders: Sequence[Path], wish: Wish, reading: Reading, name: str
) -> tuple[Dataset, Exclusions]:
    """The chosen part as a data set, and what was left out for its faults.

    An area that the file does not tell is known only now: `wish.min_area` is applied once more.

    Raises:
        ProblemsError: faults, as `maskrcnn.data.coco.load_coco`.
    """
    found = inspect_choice(index, choice, folders, reading, decode_images=False, keep=True)
    dataset = to_dataset(found, name, head=reading.head, faults=reading.faults, joints=reading.joints)
    counts = found.report.counts
    items = [
        Exclusion(counts["images dropped"] + int((~index.image_good).sum()), "images", "with faults"),
        Exclusion(counts["annotations dropped"] + int((~index.annotation_good).sum()), "instances", "with faults"),
    ]
    if wish.min_area > 0:
        dataset, small = select(dataset, categories=None, max_images=None, min_area=wish.min_area, seed=wish.seed)
        items += small.items
    return dataset, Exclusions(name, tuple(item for item in items if item.count))


def _categories(index: CocoIndex, wish: Wish, reading: Reading, findings: Findings) -> CheckedCategories:
    """All categories that the head learns, checked."""
    keypoints = HEADS[reading.head][1]
    own = reading.joints.names if reading.joints is not None and keypoints else ()
    categories = CheckedCategories(keypoints, reading.head == "keypoint", findings, own, wish.categories)
    for row, entry in enumerate(index.categories):
        categories.add(row, entry)
    categories.finish()
    return categories


class _Marks:
    """Which annotations count, and what they make of each good image; images are places in `images` here."""

    def __init__(self, index: CocoIndex, learned: set[int], kept: Sequence[int], min_area: float) -> None:
        self.images = np.flatnonzero(index.image_good)
        self._index = index
        places = np.full(len(index.image_ids), -1, np.int32)
        places[self.images] = np.arange(len(self.images), dtype=np.int32)
        kinds = index.annotation_categories
        labels = np.array([kept.index(number) + 1 if number in kept else 0 for number in index.category_ids], np.int32)
        is_learned = np.array([number in learned for number in index.category_ids], bool)
        self._of_head = _taken(is_learned, kinds) & index.annotation_good
        self._labels = np.where(self._of_head, _taken(labels, kinds), 0)
        self._small = (self._labels > 0) & ~index.annotation_crowds & (index.annotation_areas < min_area)
        self._kept = (self._labels > 0) & ~self._small
        self._places = places[index.annotation_images] if len(places) else index.annotation_images
        self._instances = self._kept & ~index.annotation_crowds
        self._sets: list[frozenset[int]] | None = None

    def labels_of_images(self) -> Labels:
        """Equal sets are one object: there are far fewer of them than images."""
        if self._sets is None:
            pairs = np.unique(np.stack([self._places[self._instances], self._labels[self._instances]], axis=1), axis=0)
            self._sets = [frozenset()] * len(self.images)
            shared: dict[frozenset[int], frozenset[int]] = {}
            ends = np.flatnonzero(np.diff(pairs[:, 0], append=-1)) + 1
            start = 0
            for end in ends.tolist():
                held = frozenset(pairs[start:end, 1].tolist())
                self._sets[pairs[start, 0]] = shared.setdefault(held, held)
                start = end
        return self._sets

    def instances_of_images(self) -> list[int]:
        return np.bincount(self._places[self._instances], minlength=len(self.images)).tolist()

    def emptied_images(self) -> set[int]:
        before = np.bincount(self._places[self._of_head], minlength=len(self.images))
        after = np.bincount(self._places[self._kept], minlength=len(self.images))
        return set(np.flatnonzero((before > 0) & (after == 0)).tolist())

    def annotations_of(self, images: np.ndarray) -> np.ndarray:
        """Rows of the kept annotations of these images (rows of the index)."""
        chosen = np.zeros(len(self._index.image_ids), bool)
        chosen[images] = True
        return np.flatnonzero(self._kept & chosen[self._index.annotation_images])

    def exclusions(self, min_area: float) -> Iterator[Exclusion]:
        crowds = self._index.annotation_crowds
        other = self._of_head & (self._labels == 0)
        for unit, count in (("instances", int((other & ~crowds).sum())), ("crowds", int((other & crowds).sum()))):
            if count:
                yield Exclusion(count, unit, "of other categories")
        if self._small.any():
            yield Exclusion(int(self._small.sum()), "instances", f"smaller than min_area={min_area:g}")


def _taken(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`values` at `rows`, where -1 and no values at all give 0."""
    return np.append(values, values.dtype.type(0))[rows]
