"""Checks of a data set as a whole: is there something to learn, is something never used."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def check_contents(
    by_image: Mapping[int, Sequence[Annotation]],
    images: Mapping[int, CheckedImage],
    categories: CheckedCategories,
    *,
    head: str,
    any_annotation: bool,
    findings: Findings,
) -> None:
    """Notes categories without instances, images without annotations and whatever leaves the head nothing to learn."""
    everything = [annotation for annotations in by_image.values() for annotation in annotations]
    instances = Counter(annotation.label for annotation in everything if not annotation.is_crowd)
    _check_that_something_is_left(everything, categories, head, any_annotation, findings)
    unused = [category for category in categories.kept if not instances[categories.labels[category.id]]]
    for category in unused if everything else ():
        where = f"category {category.id} ({name_file(category.name)})"
        findings.warn("category without instances", where, "has no instance")
    bare = [image.where for image in images.values() if image.good and not by_image.get(image.id)]
    if bare and everything:
        findings.warn("image without annotations", "images", f"{len(bare)} without annotations: {_some(bare)}")
    _warn_of_other_units(everything, images, by_image, findings)


def _check_that_something_is_left(
    everything: Sequence[Annotation], categories: CheckedCategories, head: str, any_annotation: bool, findings: Findings
) -> None:
    kind = "nothing to learn"
    if not categories.kept and "keypoint" in head and categories.excluded:
        findings.fault(kind, "categories", f"none declares keypoints, which head={head} needs", "task=mask or task=box")
    elif not categories.kept and not categories.faulty:
        findings.fault(kind, "categories", "the list is empty")
    elif not any_annotation:
        findings.fault(kind, "annotations", "the list is empty")
    elif "keypoint" in head and everything and not any(_is_labelled(annotation) for annotation in everything):
        findings.fault(kind, "annotations", f"none has a labelled keypoint, which head={head} needs")
    elif everything and all(annotation.is_crowd for annotation in everything):
        findings.warn("crowds only", "annotations", "all are crowds, from which nothing is learned")


def _is_labelled(annotation: Annotation) -> bool:
    return annotation.keypoints is not None and bool((annotation.keypoints[:, 2] > 0).any())


def _warn_of_other_units(
    everything: Sequence[Annotation],
    images: Mapping[int, CheckedImage],
    by_image: Mapping[int, Sequence[Annotation]],
    findings: Findings,
) -> None:
    """Boxes in shares of the image, or as two corners: legal numbers with another meaning."""
    if not everything:
        return
    hint = "COCO has [x, y, width, height] in pixels"
    if all(max(annotation.box) <= 2 and max(annotation.box[2:]) <= 1.001 for annotation in everything):
        findings.warn("boxes in other units", "annotations", "all boxes lie within the first pixel", hint)
        return
    sized = [(images[key].size, annotation) for key, found in by_image.items() for annotation in found]
    beyond = [(size, a.box) for size, a in sized if size and (a.box[2] > size[1] + 2 or a.box[3] > size[0] + 2)]
    corners = [box for size, box in beyond if _fits_as_corners(box, size)]
    if len(corners) >= 3 and len(corners) > 0.2 * len(everything) and len(corners) > 0.9 * len(beyond):
        what = f"{len(corners)} boxes pass the border and would fit as x1, y1, x2, y2"
        findings.warn("boxes in other units", "annotations", what, hint)


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
