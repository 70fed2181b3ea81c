"""Detections as COCO results and back, and the checks that both kinds of evaluation rest on.

COCO's `x, y, w, h` and its keypoints in pixel indices (0 is the middle of the first pixel) exist only here and in
`data`; everywhere else boxes are x1, y1, x2, y2 and keypoints continuous (the middle of the first pixel is 0.5).
Imported detectors that were taught with pixel indices are the exception, which `Detections.keypoint_offset` tells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskrcnn.data import rle
from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Dataset, ImageRecord
from maskrcnn.errors import UserError

KINDS = ("bbox", "segm", "keypoints")
PREFIXES = {"bbox": "box", "segm": "mask", "keypoints": "keypoint"}
"""What the figures of a kind are called: `box/AP`, `mask/AP`, `keypoint/AP`."""

PIXEL_CENTRE = 0.5


def to_coco_results(dataset: Dataset, detections: Sequence[Detections], kind: str) -> list[dict[str, Any]]:
    """COCO results of one kind: plain numbers, with the data set's image and category ids.

    Results of keypoints are of the categories that have some (`Dataset.keypoint_labels`) alone.

    Entries of `segm` and `keypoints` carry no `bbox`: with one, COCO would take the box's area for the size bins of
    masks and keypoints (PAPER §3.5).

    Args:
        detections: one for each image of the data set, in its order.
        kind: bbox | segm | keypoints.

    Raises:
        UserError: detections that do not fit the data set, or lack what the kind needs (`check_detections`).
    """
    check_detections(dataset, detections, (kind,))
    category_ids = [category.id for category in dataset.categories]
    chosen = dataset.keypoint_labels if kind == "keypoints" else range(1, dataset.num_classes + 1)
    entries = []
    for image, found in zip(dataset.images, detections):
        labels, scores = found.labels.tolist(), found.scores.tolist()
        for label, score, value in zip(labels, scores, _values(found, kind)):
            if label not in chosen:
                continue
            entry = {"image_id": image.id, "category_id": category_ids[label - 1]}
            entries.append({**entry, _FIELDS[kind]: value, "score": score})
    return entries


_FIELDS = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}


def _values(found: Detections, kind: str) -> list[Any]:
    """The field of each detection that a kind of result holds."""
    if kind == "bbox":
        return xyxy_to_xywh(found.boxes).tolist()
    if kind == "segm":
        return [_text_counts(mask) for mask in found.masks or []]
    return [points.reshape(-1).tolist() for points in found.indexed_keypoints()]


def _text_counts(mask: Mapping[str, Any]) -> dict[str, Any]:
    counts = mask["counts"]
    size = [int(side) for side in mask["size"]]
    return {"size": size, "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def xyxy_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Corners [N, 4] as x, y, width, height, in float64 so that no digit of the input is lost."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def check_detections(dataset: Dataset, detections: Sequence[Detections], kinds: Sequence[str]) -> None:
    """Refuses what would give a silent wrong number: other images, NaN, unknown labels, masks of another size.

    Raises:
        UserError: naming the first image that does not fit.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UserError(f"unknown kind of evaluation {unknown[0]!r}", "kinds", f"known: {', '.join(KINDS)}")
    if "keypoints" in kinds and dataset.schema is None:
        raise UserError("the data set has no keypoints to evaluate", dataset.name, "choose head=box or head=mask")
    if len(detections) != len(dataset.images):
        raise UserError(f"detections of {len(detections)} images for a data set of {len(dataset.images)}", dataset.name)
    for image, found in zip(dataset.images, detections):
        fault = _fault(dataset, image, found, kinds)
        if fault:
            raise UserError(fault, f"detections on image {image.id} ({image.file_name})")


def _fault(dataset: Dataset, image: ImageRecord, found: Detections, kinds: Sequence[str]) -> str | None:
    size = (image.height, image.width)
    if (found.height, found.width) != size:
        return f"made for {found.width} x {found.height} pixels, the image has {image.width} x {image.height}"
    if found.boxes.shape != (len(found), 4) or len(found.labels) != len(found):
        return f"{len(found)} scores, {len(found.boxes)} boxes and {len(found.labels)} labels"
    if not np.isfinite(found.scores).all():
        return "a score is not finite"
    if not np.isfinite(found.boxes).all():
        return "a box is not finite"
    if len(found) and not (int(found.labels.min()) >= 1 and int(found.labels.max()) <= dataset.num_classes):
        return f"labels {found.labels.min()}…{found.labels.max()}, expected 1…{dataset.num_classes}"
    return _mask_fault(found, size, kinds) or _keypoint_fault(dataset, found, kinds)


def _mask_fault(found: Detections, size: tuple[int, int], kinds: Sequence[str]) -> str | None:
    if "segm" not in kinds:
        return None
    if found.masks is None:
        return "no masks, but masks are to be evaluated"
    if len(found.masks) != len(found):
        return f"{len(found.masks)} masks for {len(found)} boxes"
    # COCO would silently match nothing (FACTS §5.14)
    other = [mask["size"] for mask in found.masks if tuple(mask["size"]) != size]
    return f"a mask of size {list(other[0])}, the image is {list(size)}" if other else None


def _keypoint_fault(dataset: Dataset, found: Detections, kinds: Sequence[str]) -> str | None:
    if "keypoints" not in kinds or dataset.schema is None:
        return None
    if found.keypoints is None:
        return "no keypoints, but keypoints are to be evaluated"
    expected = (len(found), len(dataset.schema), 3)
    if found.keypoints.shape != expected:
        return f"keypoints of shape {list(found.keypoints.shape)}, expected {list(expected)}"
    return None if np.isfinite(found.keypoints).all() else "a keypoint is not finite"


def from_coco_results(dataset: Dataset, results: Sequence[Mapping[str, Any]], where: str = "") -> list[Detections]:
    """Detections of a COCO results list, one for each image of the data set; equal scores keep their order.

    An entry's box is its `bbox`, else the extent of its mask or of its keypoints. There are masks if
    every entry has them, keypoints if every entry of a category that has joints does (those of others are zeros);
    with no entry at all there are empty ones.

    Args:
        where: the file, for error messages.

    Raises:
        UserError: entries on images or categories that the data set does not have, without a finite score, or with
            a box, run-length code or keypoint list that cannot be read.
    """
    rows = {image.id: row for row, image in enumerate(dataset.images)}
    labels = {category.id: label for label, category in enumerate(dataset.categories, start=1)}
    joints = len(dataset.schema) if dataset.schema else 0
    by_image: list[list[_Result]] = [[] for _ in dataset.images]
    for number, entry in enumerate(results):
        try:
            row = _known(entry, "image_id", rows)
            label = _known(entry, "category_id", labels)
            by_image[row].append(_read_result(entry, label, dataset.images[row], joints))
        except ValueError as error:
            place = f"{where}: result {number}" if where else f"result {number}"
            raise UserError(f"{error} (data set {dataset.name})", place) from error
    with_masks = all("segmentation" in entry for entry in results)
    with_joints = {dataset.categories[label - 1].id for label in dataset.keypoint_labels}
    with_keypoints = joints > 0 and all("keypoints" in e for e in results if e["category_id"] in with_joints)
    return [
        _gathered(image, entries, with_masks, joints if with_keypoints else 0)
        for image, entries in zip(dataset.images, by_image)
    ]


@dataclass(frozen=True)
class _Result:
    """One entry of a results list in our own conventions."""

    label: int
    score: float
    box: tuple[float, ...]
    mask: rle.Rle | None
    keypoints: np.ndarray | None


def _known(entry: Any, key: str, known: Mapping[int, int]) -> int:
    value = entry.get(key) if isinstance(entry, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"no number under {key!r}")
    if value not in known:
        raise ValueError(f"{key} {value} is unknown")
    return known[int(value)]


def _read_result(entry: Mapping[str, Any], label: int, image: ImageRecord, joints: int) -> _Result:
    """Raises ValueError for whatever cannot be read."""
    score = entry.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise ValueError(f"score {score!r} is not a finite number")
    mask = keypoints = None
    if "segmentation" in entry:
        if not isinstance(entry["segmentation"], dict):
            raise ValueError("segmentation is not a run-length code {size, counts}")
        mask = rle.segmentation_to_rle(entry["segmentation"], image.height, image.width)
    if "keypoints" in entry:
        keypoints = _numbers(entry["keypoints"], 3 * joints if joints else None).reshape(-1, 3)
        keypoints[:, :2] += PIXEL_CENTRE
    return _Result(label, float(score), _read_box(entry, mask, keypoints), mask, keypoints)


def _numbers(value: Any, count: int | None) -> np.ndarray:
    """float64 [count] (None: any multiple of three). Raises ValueError otherwise, and for numbers not finite."""
    try:
        numbers = np.asarray(value, np.float64)
    except (ValueError, TypeError):
        numbers = np.full(0, np.nan)
    fits = numbers.ndim == 1 and len(numbers) > 0 and (len(numbers) == count if count else len(numbers) % 3 == 0)
    if not fits or not np.isfinite(numbers).all():
        raise ValueError(f"expected {count or 'three for each point'} finite numbers, got {str(value)[:60]}")
    return numbers


def _read_box(entry: Mapping[str, Any], mask: rle.Rle | None, keypoints: np.ndarray | None) -> tuple[float, ...]:
    """x1, y1, x2, y2 of an entry."""
    if "bbox" in entry:
        x, y, width, height = _numbers(entry["bbox"], 4).tolist()
        return x, y, x + width, y + height
    if mask is not None:
        return rle.bounds(mask)
    if keypoints is not None:
        return (*keypoints[:, :2].min(axis=0).tolist(), *keypoints[:, :2].max(axis=0).tolist())
    raise ValueError("neither bbox nor segmentation nor keypoints")


def _gathered(image: ImageRecord, results: Sequence[_Result], with_masks: bool, joints: int) -> Detections:
    ordered = sorted(results, key=lambda result: -result.score)
    none = np.zeros((joints, 3))
    keypoints = [none if result.keypoints is None else result.keypoints for result in ordered]
    return Detections(
        boxes=np.array([result.box for result in ordered], np.float32).reshape(-1, 4),
        scores=np.array([result.score for result in ordered], np.float32),
        labels=np.array([result.label for result in ordered], np.int32),
        masks=[result.mask for result in ordered if result.mask is not None] if with_masks else None,
        keypoints=np.array(keypoints, np.float32).reshape(-1, joints, 3) if joints else None,
        height=image.height,
        width=image.width,
    )
