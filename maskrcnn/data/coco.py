"""COCO JSON files as data sets, and back.

Reading goes through the doctor's checks (`maskrcnn.data.doctor`): a faulty file is refused, or exactly the items with
a fault are left out. Labels 1…C follow the category ids, whose gaps vanish.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from maskrcnn.data.doctor import HEADS, Inspection, inspect
from maskrcnn.data.faults.report import FaultReport
from maskrcnn.data.keypoint_schemas import OwnJoints, keypoint_schema
from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord, Segmentation
from maskrcnn.errors import UserError
from maskrcnn.structures import KeypointSchema

_DECIMALS = 9
"""Of written box sides: the difference of two corners has rounding noise behind them."""


def load_coco(
    annotations: Path,
    images: Path,
    *,
    head: str,
    faults: str = "fail",
    name: str = "",
    joints: OwnJoints | None = None,
    wanted: Sequence[str] | None = None,
) -> tuple[Dataset, FaultReport]:
    """The data set of a COCO annotation file and its image folder, and what its checks found.

    Args:
        annotations: COCO JSON file.
        images: folder that its file names are relative to.
        head: box | mask | keypoint | mask_keypoint. Under `keypoint` the categories without joints are left out.
        faults: fail: refuse a file with faults; drop: leave out exactly the faulty images and annotations.
        name: of the data set; empty: the file's.
        joints: own names, pairs, bones and tolerances of the file's joints, under a head with keypoints.
        wanted: names or ids of categories that will be chosen; others may have joints of another kind. None: all.

    Raises:
        ProblemsError: there are faults, and `faults` is not drop or nothing is left without them.
    """
    found = inspect(annotations, images, head=head, decode_images=False, keep=True, joints=joints, wanted=wanted)
    return to_dataset(found, name or annotations.stem, head=head, faults=faults, joints=joints), found.report


def to_dataset(found: Inspection, name: str, *, head: str, faults: str, joints: OwnJoints | None) -> Dataset:
    """The data set of what the doctor found good; arguments as `load_coco`.

    Raises:
        ProblemsError: there are faults, and `faults` is not drop or nothing is left without them.
    """
    report = found.report
    if report.faults and (faults != "drop" or report.is_fatal or not any(i.annotations for i in found.images)):
        report.raise_for_faults()
    schema = _schema(found.categories, joints) if HEADS[head][1] else None
    return Dataset(name, found.categories, found.images, schema)


def to_coco(dataset: Dataset) -> dict[str, Any]:
    """The data set as a COCO document: annotation ids from 1, everything that pycocotools asks for always present."""
    images = [
        {"id": image.id, "file_name": image.file_name, "height": image.height, "width": image.width}
        for image in dataset.images
    ]
    numbered = enumerate(((image, item) for image in dataset.images for item in image.annotations), start=1)
    return {
        "info": {"description": dataset.name},
        "images": images,
        "annotations": [_annotation_entry(number, *pair, dataset.categories) for number, pair in numbered],
        "categories": [_category_entry(category) for category in dataset.categories],
    }


def write_coco(dataset: Dataset, path: Path) -> None:
    """Writes `to_coco` to `path`, whole or not at all. Raises UserError where that is not possible."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(to_coco(dataset)), encoding="ascii")
        os.replace(aside, path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise UserError(f"cannot be written ({error.strerror or error})", str(path)) from error


def _schema(categories: Iterable[Category], joints: OwnJoints | None) -> KeypointSchema | None:
    """Of the first category with joints; the doctor lets only categories of the same joints pass."""
    return next((keypoint_schema(category, joints) for category in categories if category.keypoints), None)


def _annotation_entry(
    number: int, image: ImageRecord, annotation: Annotation, categories: tuple[Category, ...]
) -> dict[str, Any]:
    x1, y1, x2, y2 = annotation.box
    joints = annotation.keypoints
    entry: dict[str, Any] = {
        "id": number,
        "image_id": image.id,
        "category_id": categories[annotation.label - 1].id,
        "bbox": [x1, y1, round(x2 - x1, _DECIMALS), round(y2 - y1, _DECIMALS)],
        "area": annotation.area,
        "iscrowd": int(annotation.is_crowd),
        "num_keypoints": 0 if joints is None else int((joints[:, 2] > 0).sum()),
    }
    if annotation.segmentation is not None:
        entry["segmentation"] = _plain_segmentation(annotation.segmentation)
    if joints is not None:
        entry["keypoints"] = [round(value, 4) for value in joints.ravel().tolist()]
    return entry


def _plain_segmentation(segmentation: Segmentation) -> Any:
    """Polygons as lists, RLE with its counts as text or list: what JSON can hold."""
    if not isinstance(segmentation, dict):
        return [polygon.tolist() for polygon in segmentation or ()]
    counts = segmentation["counts"]
    return {
        "size": [int(side) for side in segmentation["size"]],
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }


def _category_entry(category: Category) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": category.id, "name": category.name, "supercategory": category.supercategory}
    if category.keypoints:
        entry["keypoints"] = list(category.keypoints)
        entry["skeleton"] = [[start + 1, end + 1] for start, end in category.skeleton]
    return entry
