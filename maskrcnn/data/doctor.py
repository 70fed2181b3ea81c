"""The data doctor: every fault of a COCO annotation file and its images, found before a library crashes on it.

`inspect` reads and checks in one pass, so that what the doctor calls good is exactly what `maskrcnn.data.coco` loads.
A fault is whatever would crash, give a wrong number or have to be dropped; a warning is legal but suspicious.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from maskrcnn.data.faults.annotations import AnnotationChecks
from maskrcnn.data.faults.categories import check_categories
from maskrcnn.data.faults.contents import check_contents, warn_of_unused_files
from maskrcnn.data.faults.decoding import decode_all
from maskrcnn.data.faults.document import read_document
from maskrcnn.data.faults.images import CheckedImage, check_images, open_folder
from maskrcnn.data.faults.report import FaultReport, Findings
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
    return inspect(annotations, images, head=head, decode_images=decode_images).report


def inspect(annotations: Path, images: Path, *, head: str, decode_images: bool) -> Inspection:
    """The good images and annotations, with the report; arguments as `examine`."""
    masks, keypoints = HEADS[head]
    findings = Findings()
    document = read_document(annotations, findings)
    folder = open_folder(images, findings)
    if document is None:
        return Inspection((), (), findings.report(str(annotations), {}))
    num_images, num_annotations = len(document.images), len(document.annotations)
    categories = check_categories(
        document.categories, keypoints=keypoints, keypoints_only=head == "keypoint", findings=findings
    )
    checked_images = check_images(document.images, folder, findings)
    if decode_images and folder is not None:
        _check_all_pixels(checked_images, findings)
        warn_of_unused_files(folder.path, checked_images.values(), findings)
    checks = AnnotationChecks(checked_images, categories, masks, keypoints, findings)
    by_image: dict[int, list[Annotation]] = defaultdict(list)
    for image_id, annotation in checks.read(document.annotations):
        by_image[image_id].append(annotation)
    check_contents(
        by_image, checked_images, categories, head=head, any_annotation=num_annotations > 0, findings=findings
    )
    records = _records(checked_images, by_image)
    everything = [annotation for record in records for annotation in record.annotations]
    counts = {
        "images": num_images,
        "images dropped": num_images - len(records),
        "annotations": num_annotations,
        "annotations dropped": checks.num_dropped,
        "annotations excluded": checks.num_excluded,
        "crowds": sum(annotation.is_crowd for annotation in everything),
        "categories": len(document.categories),
        "categories excluded": len(categories.excluded),
    }
    return Inspection(tuple(categories.kept), records, findings.report(str(annotations), counts))


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
