"""Checks of a data set as a whole: is there something to learn, is something never used."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from maskrcnn.data.faults.categories import CheckedCategories
from maskrcnn.data.faults.images import CheckedImage
from maskrcnn.data.faults.report import Findings
from maskrcnn.data.faults.values import name_file
from maskrcnn.data.records import Annotation

NAMED = 12
"""Names that a line lists before it goes on with a number."""

_PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")
_MOST_FILES = 1_000_000


@dataclass
class Contents:
    """What must be known of all good annotations together, gathered one after the other."""

    categories: CheckedCategories
    head: str
    findings: Findings
    is_whole: bool = True
    """Of a part of a file nobody expects that there is something to learn: it may be a few test images."""
    total: int = 0
    crowds: int = 0
    instances: Counter[int] = field(default_factory=Counter)
    """Objects that are no crowds, by label."""
    used_images: set[int] = field(default_factory=set)
    any_labelled: bool = False
    _in_first_pixel: int = 0
    _beyond: int = 0
    _as_corners: int = 0

    def add(self, image: CheckedImage, annotation: Annotation) -> None:
        """Takes note of a good annotation."""
        self.total += 1
        self.used_images.add(image.id)
        if annotation.is_crowd:
            self.crowds += 1
        else:
            self.instances[annotation.label] += 1
        if annotation.keypoints is not None and not self.any_labelled:
            self.any_labelled = bool((annotation.keypoints[:, 2] > 0).any())
        box, size = annotation.box, image.size
        self._in_first_pixel += max(box) <= 1.001
        if size is not None and (box[2] > size[1] + 2 or box[3] > size[0] + 2):
            self._beyond += 1
            self._as_corners += _fits_as_corners(box, size)

    def finish(self, images: Iterable[CheckedImage], *, num_entries: int, num_dropped: int) -> None:
        """Notes categories without instances, images without annotations, and a head that has nothing to learn.

        Args:
            images: all of the list.
            num_entries: annotations in the file, good or not.
            num_dropped: those with a fault.
        """
        self._check_that_something_is_left(num_entries, num_dropped)
        if not self.total:
            return
        labels = self.categories.labels
        for category in self.categories.kept:
            if not self.instances[labels[category.id]]:
                where = f"category {category.id} ({name_file(category.name)})"
                self.findings.warn("category without instances", where, "has no instance")
        bare = [image.where for image in images if image.good and image.id not in self.used_images]
        if bare:
            what = f"{len(bare)} without annotations: {_some(bare)}"
            self.findings.warn("image without annotations", "images", what)
        self._warn_of_other_units()

    def _check_that_something_is_left(self, num_entries: int, num_dropped: int) -> None:
        kind, categories, findings = "nothing to learn", self.categories, self.findings
        if not categories.kept and categories.excluded:
            what = f"none declares keypoints, which head={self.head} needs"
            findings.fault(kind, "categories", what, "task=segmentation or task=detection")
        elif not categories.kept and not categories.faulty:
            findings.fault(kind, "categories", "the list is empty")
        elif not self.is_whole:
            return
        elif not num_entries:
            findings.fault(kind, "annotations", "the list is empty")
        elif not self.total and not num_dropped:
            findings.fault(kind, "annotations", f"none is of a category that head={self.head} learns")
        elif "keypoint" in self.head and self.total and not self.any_labelled:
            findings.fault(kind, "annotations", f"none has a labelled keypoint, which head={self.head} needs")
        elif self.total and self.crowds == self.total:
            findings.warn("crowds only", "annotations", "all are crowds, from which nothing is learned")

    def _warn_of_other_units(self) -> None:
        """Boxes in shares of the image, or as two corners: legal numbers with another meaning."""
        kind, hint = "boxes in other units", "COCO has [x, y, width, height] in pixels"
        if self._in_first_pixel == self.total:
            self.findings.warn(kind, "annotations", "all boxes lie within the first pixel", hint)
        elif self._as_corners >= max(3, 0.2 * self.total, 0.9 * self._beyond):
            what = f"{self._as_corners} boxes pass the border and would fit as x1, y1, x2, y2"
            self.findings.warn(kind, "annotations", what, hint)


def _fits_as_corners(box: tuple[float, float, float, float], size: tuple[int, int]) -> bool:
    """Whether the file's four numbers, read as two corners, give a box inside the image."""
    x1, y1, x2, y2 = box[0], box[1], box[2] - box[0], box[3] - box[1]
    return x1 < x2 <= size[1] and y1 < y2 <= size[0]


def warn_of_unused_files(folder: str, images: Iterable[CheckedImage], findings: Findings) -> None:
    """One line about pictures that no image of the list names, in the folders where the named ones lie."""
    used = {os.path.normpath(image.path) for image in images if image.path}
    parents = {os.path.dirname(path) for path in used}
    unused = sorted(path for path in islice(_pictures(sorted(parents)), _MOST_FILES) if path not in used)
    if unused:
        names = [name_file(os.path.relpath(path, folder)) for path in unused]
        findings.warn("unused image files", folder, f"{len(unused)} not in the annotation file: {_some(names)}")


def _pictures(folders: Iterable[str]) -> Iterator[str]:
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.lower().endswith(_PICTURE_ENDINGS):
                    yield os.path.join(folder, entry.name)


def _some(names: Sequence[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
