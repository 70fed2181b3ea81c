"""The data doctor: every fault of a COCO annotation file and its images, found before a library crashes on it.

`inspect` reads and checks in one pass, so that what the doctor calls good is exactly what `maskrcnn.data.coco` loads.
A fault is whatever would crash, give a wrong number or have to be dropped; a warning is legal but suspicious.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from maskrcnn.data.faults.annotations import AnnotationChecks
from maskrcnn.data.faults.categories import CheckedCategories
from maskrcnn.data.faults.contents import Contents, warn_of_unused_files
from maskrcnn.data.faults.decoding import decode_all
from maskrcnn.data.faults.document import read_document
from maskrcnn.data.faults.images import CheckedImage, CheckedImages, ImageFolder, open_folder
from maskrcnn.data.faults.report import FaultReport, Findings
from maskrcnn.data.keypoint_schemas import OwnJoints
from maskrcnn.data.records import Annotation, Category, ImageRecord
from maskrcnn.progress import ProgressLine

HEADS: Mapping[str, tuple[bool, bool]] = MappingProxyType(
    {"box": (False, False), "mask": (True, False), "keypoint": (False, True), "mask_keypoint": (True, True)}
)
"""Head → whether it learns (masks, keypoints)."""


@dataclass(frozen=True)
class Inspection:
    """The good part of a data set, and the report on the rest."""

    categories: tuple[Category, ...]
    images: tuple[ImageRecord, ...]
    report: FaultReport


def examine(annotations: Path, images: Path, *, head: str, decode_images: bool = True) -> FaultReport:
    """Everything that is wrong with a COCO annotation file and its image folder, for a head.

    Args:
        annotations: COCO JSON file.
        images: folder that its file names are relative to.
        head: box | mask | keypoint | mask_keypoint; annotations and categories follow it.
        decode_images: decode every pixel, and look for unused files; else only the headers are read.
    """
    return inspect(annotations, images, head=head, decode_images=decode_images, keep=False).report


def inspect(
    annotations: Path,
    images: Path,
    *,
    head: str,
    decode_images: bool,
    keep: bool,
    joints: OwnJoints | None = None,
    wanted: Sequence[str] | None = None,
) -> Inspection:
    """The good images and annotations, with the report; arguments as `examine` and `data.coco.load_coco`.

    With `keep` false the images come without their annotations, and memory does not grow with those.
    """
    keypoints = HEADS[head][1]
    findings = Findings()
    checked_images = CheckedImages(findings)
    names = joints.names if joints is not None and keypoints else ()
    categories = CheckedCategories(keypoints, head == "keypoint", findings, names, wanted)
    document = read_document(annotations, {"images": checked_images.add, "categories": categories.add}, findings)
    folder = open_folder(images, findings)
    if document is None:
        return Inspection((), (), findings.report(str(annotations), {}))
    categories.finish()
    if not document.sizes["images"]:
        findings.fault("no images", "images", "the list is empty: there is nothing to learn from")
    entries = Entries(str(annotations), checked_images, categories, document.annotations, document.sizes)
    folders = [] if folder is None else [folder]
    return inspect_entries(entries, folders, head=head, decode_images=decode_images, keep=keep, is_whole=True)


@dataclass(frozen=True)
class Entries:
    """What a document holds, or the part of it that is used: images and categories as they were added to their checks.

    Attributes:
        source: path of the annotation file.
        images: all entries of images, their files not yet looked at.
        categories: finished.
        annotations: opens the list of (index, entry).
        sizes: how many images, annotations and categories there were.
    """

    source: str
    images: CheckedImages
    categories: CheckedCategories
    annotations: Callable[[], Iterable[tuple[int, Any]]]
    sizes: Mapping[str, int]


def inspect_entries(
    entries: Entries,
    folders: Sequence[ImageFolder],
    *,
    head: str,
    decode_images: bool,
    keep: bool,
    is_whole: bool = False,
) -> Inspection:
    """The good images and annotations of `entries`, with the report; arguments as `inspect`.

    Args:
        folders: where image files are looked for, in this order; none: not at all.
        is_whole: the entries are all of their file: with nothing to learn in them, or pictures beside them that they do
            not name, something is wrong.
    """
    findings, categories = entries.images.findings, entries.categories
    entries.images.finish(folders)
    by_id = entries.images.by_id
    if decode_images and folders:
        _check_all_pixels(by_id, findings)
        if is_whole:
            warn_of_unused_files(folders[0].path, by_id.values(), findings)
    checks = AnnotationChecks(by_id, categories, *HEADS[head], findings)
    contents = Contents(categories, head, findings, is_whole)
    kept: dict[int, list[Annotation]] = defaultdict(list)
    for image_id, annotation in checks.read(entries.annotations()):
        contents.add(by_id[image_id], annotation)
        if keep:
            kept[image_id].append(annotation)
    num_annotations = entries.sizes.get("annotations", 0)
    contents.finish(by_id.values(), num_entries=num_annotations, num_dropped=checks.num_dropped)
    records = _records(by_id, kept)
    counts = {
        "images": entries.sizes["images"],
        "images dropped": entries.sizes["images"] - len(records),
        "annotations": num_annotations,
        "annotations dropped": checks.num_dropped,
        "annotations excluded": checks.num_excluded,
        "crowds": contents.crowds,
        "categories": entries.sizes.get("categories", 0),
        "categories excluded": len(categories.excluded),
    }
    return Inspection(tuple(categories.kept), records, findings.report(entries.source, counts))


def _check_all_pixels(images: Mapping[int, CheckedImage], findings: Findings) -> None:
    candidates = [image for image in images.values() if image.good and image.path and image.size]
    sizes = [image.size[0] * image.size[1] for image in candidates if image.size]
    with ProgressLine(len(candidates), "decoding images") as line:
        answers = decode_all([image.path for image in candidates], sizes, done=line.update)
    for image, answer in zip(candidates, answers):
        if answer:
            image.good = False
            findings.fault("broken image", image.where, answer)


def _records(images: Mapping[int, CheckedImage], by_image: Mapping[int, list[Annotation]]) -> tuple[ImageRecord, ...]:
    return tuple(
        ImageRecord(image.id, image.file_name, image.path, *image.size, tuple(by_image.get(image.id, ())))
        for image in images.values()
        if image.good and image.path and image.size
    )
