"""The data doctor: every fault of a COCO annotation file and its images, found before a library crashes on it.

`inspect` reads and checks in one pass, so that what the doctor calls good is exactly what `maskrcnn.data.coco` loads.
A fault is whatever would crash, give a wrong number or have to be dropped; a warning is legal but suspicious.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from maskrcnn.data.faults.annotations import AnnotationChecks
from maskrcnn.data.faults.categories import CheckedCategories
from maskrcnn.data.faults.contents import Contents, warn_of_unused_files
from maskrcnn.data.faults.decoding import decode_all
from maskrcnn.data.faults.document import read_document
from maskrcnn.data.faults.images import CheckedImage, CheckedImages, open_folder
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
    masks, keypoints = HEADS[head]
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
    checked_images.finish(folder)
    by_id = checked_images.by_id
    if decode_images and folder is not None:
        _check_all_pixels(by_id, findings)
        warn_of_unused_files(folder.path, by_id.values(), findings)
    checks = AnnotationChecks(by_id, categories, masks, keypoints, findings)
    contents = Contents(categories, head, findings)
    kept: dict[int, list[Annotation]] = defaultdict(list)
    for image_id, annotation in checks.read(document.annotations()):
        contents.add(by_id[image_id], annotation)
        if keep:
            kept[image_id].append(annotation)
    num_annotations = document.sizes.get("annotations", 0)
    contents.finish(by_id.values(), num_entries=num_annotations, num_dropped=checks.num_dropped)
    records = _records(by_id, kept)
    counts = {
        "images": document.sizes["images"],
        "images dropped": document.sizes["images"] - len(records),
        "annotations": num_annotations,
        "annotations dropped": checks.num_dropped,
        "annotations excluded": checks.num_excluded,
        "crowds": contents.crowds,
        "categories": document.sizes.get("categories", 0),
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
