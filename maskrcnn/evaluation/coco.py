"""COCO's figures for boxes, masks and keypoints, computed by pycocotools behind guards.

pycocotools answers several legal inputs with a crash or a wrong number (FACTS §5). So every evaluation gets ground
truth and detections built for it alone: ids from 1, area and iscrowd always there, no detections allowed, categories
without ground truth left out, keypoints in the detector's own joints. Undefined figures are None, never -1.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn.data import rle
from maskrcnn.data.detections import Detections
from maskrcnn.data.keypoint_schemas import DEFAULT_SIGMA
from maskrcnn.data.records import Annotation, Dataset, ImageRecord
from maskrcnn.errors import UserError
from maskrcnn.evaluation.results import PREFIXES, check_detections, to_coco_results, xyxy_to_xywh

OBJECT_FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
KEYPOINT_FIGURES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
"""In the order of `COCOeval.summarize`, which asks for 100 and for 20 detections an image (FACTS §5.12)."""


@dataclass(frozen=True, eq=False)
class PrecisionCurves:
    """Precision [C, R] at recall [R] (0, 0.01 … 1) of the categories that have ground truth; all areas."""

    categories: tuple[str, ...]
    recall: np.ndarray
    at_50: np.ndarray
    at_75: np.ndarray
    mean: np.ndarray
    """Mean over the ten thresholds of IoU (OKS for keypoints), 0.50…0.95."""


@dataclass(eq=False)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        metrics: `box/AP`, `mask/AP50` … → 0…1, or None where undefined (no ground truth).
        per_category: one dict for each category of the data set: `category`, `id`, `ground_truth` (objects),
            `crowd`, `detections`, and `box/AP`, `box/AP50` … of each kind.
        curves: `box`, `mask`, `keypoint` → precision against recall.
        remarks: sentences for a reader who wonders about a 0 or a «–».
    """

    metrics: dict[str, float | None] = field(default_factory=dict)
    per_category: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, PrecisionCurves] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Header and rows of the table of categories."""
        header = list(self.per_category[0]) if self.per_category else ["category"]
        return header, [list(row.values()) for row in self.per_category]


def evaluate(dataset: Dataset, detections: Sequence[Detections], kinds: Sequence[str] = ("bbox",)) -> Evaluation:
    """COCO's figures of detections on a data set.

    Masks without a ground-truth segmentation count as crowd: what is found there is neither right nor wrong.
    Keypoints are judged over the joints of the data set's schema alone, so that a detector of seven joints is
    compared with those seven; objects without a labelled joint are ignored, as COCO does.

    Args:
        detections: one for each image of the data set, in its order; may be empty ones.
        kinds: of bbox, segm, keypoints.

    Returns:
        12 figures for boxes and masks each, 10 for keypoints. Without any detection they are 0.0; without ground
        truth (in a size bin) None.

    Raises:
        UserError: detections that do not fit the data set (`check_detections`), a sigma that is not positive.
    """
    check_detections(dataset, detections, kinds)
    evaluation = Evaluation(per_category=_counts(dataset, detections))
    for kind in kinds:
        _add_kind(evaluation, dataset, detections, kind)
    if not any(len(found) for found in detections):
        evaluation.remarks.append(f"no detection on any of the {len(dataset.images)} images: defined figures are 0")
    return evaluation


def _counts(dataset: Dataset, detections: Sequence[Detections]) -> list[dict[str, Any]]:
    size = dataset.num_classes + 1
    annotations = [a for image in dataset.images for a in image.annotations]
    objects = np.bincount([a.label for a in annotations if not a.is_crowd], minlength=size)
    crowds = np.bincount([a.label for a in annotations if a.is_crowd], minlength=size)
    found = sum((np.bincount(d.labels, minlength=size) for d in detections), np.zeros(size, np.int64))
    return [
        {
            "category": category.name,
            "id": category.id,
            "ground_truth": int(objects[label]),
            "crowd": int(crowds[label]),
            "detections": int(found[label]),
        }
        for label, category in enumerate(dataset.categories, start=1)
    ]


def _add_kind(evaluation: Evaluation, dataset: Dataset, detections: Sequence[Detections], kind: str) -> None:
    prefix = PREFIXES[kind]
    truth = _truth_entries(dataset, kind)
    counted = {entry["category_id"] for entry in truth if _counts_as_object(entry)}
    names = KEYPOINT_FIGURES if kind == "keypoints" else OBJECT_FIGURES
    if not counted:
        evaluation.metrics.update({f"{prefix}/{name}": None for name in names})
        evaluation.remarks.append(f"no ground truth for {prefix} figures: they are undefined")
        for row in evaluation.per_category:
            row.update({f"{prefix}/AP": None, f"{prefix}/AP50": None})
        return
    # False detections of categories without ground truth cost nothing (FACTS §5.10); without them COCOeval,
    # whose time grows with images x categories, has less to do (FACTS §7.2).
    results = [r for r in to_coco_results(dataset, detections, kind) if r["category_id"] in counted]
    truth = [entry for entry in truth if entry["category_id"] in counted]
    judged = _judge(
        truth, _result_entries(results, kind), kind, schema_sigmas(dataset) if kind == "keypoints" else None
    )
    evaluation.metrics.update(
        {f"{prefix}/{name}": _defined(value) for name, value in zip(names, judged.stats, strict=True)}
    )
    # axes: 10 thresholds, 101 recalls, categories, areas (the first: all), detections an image (the last: most)
    precision = judged.eval["precision"][:, :, :, 0, -1].transpose(2, 0, 1)
    order = {category_id: k for k, category_id in enumerate(judged.params.catIds)}
    for row in evaluation.per_category:
        own = precision[order[row["id"]]] if row["id"] in order else None
        row[f"{prefix}/AP"] = None if own is None else float(own.mean())
        row[f"{prefix}/AP50"] = None if own is None else float(own[0].mean())
    evaluation.curves[prefix] = PrecisionCurves(
        categories=tuple(row["category"] for row in evaluation.per_category if row["id"] in order),
        recall=np.array(judged.params.recThrs),
        **_settings(precision[[order[row["id"]] for row in evaluation.per_category if row["id"] in order]]),
    )


def _settings(precision: np.ndarray) -> dict[str, np.ndarray]:
    """Precision [C, 10, R] at IoU 0.50 (first threshold), 0.75 (sixth) and in the mean."""
    return {"at_50": precision[:, 0], "at_75": precision[:, 5], "mean": precision.mean(axis=1)}


def _defined(value: float) -> float | None:
    return None if value < 0 else float(value)


def _counts_as_object(entry: dict[str, Any]) -> bool:
    return not entry["iscrowd"] and entry.get("num_keypoints", 1) > 0


def _truth_entries(dataset: Dataset, kind: str) -> list[dict[str, Any]]:
    """Ground truth as COCOeval reads it, with ids from 1: an id of 0 would count as unmatched (FACTS §5.7)."""
    ids = [category.id for category in dataset.categories]
    entries: list[dict[str, Any]] = []
    for image in dataset.images:
        for annotation in image.annotations:
            entry = {
                "id": len(entries) + 1,
                "image_id": image.id,
                "category_id": ids[annotation.label - 1],
                "iscrowd": int(annotation.is_crowd),
                "area": float(annotation.area),
                "bbox": xyxy_to_xywh(np.array(annotation.box))[0].tolist(),
            }
            if kind == "segm":
                entry.update(_truth_mask(annotation, image))
            elif kind == "keypoints":
                entry.update(_truth_keypoints(annotation, dataset))
            entries.append(entry)
    return entries


def _truth_mask(annotation: Annotation, image: ImageRecord) -> dict[str, Any]:
    """Segmentation as compressed RLE; an object without one becomes a crowd that fills its box."""
    try:
        if annotation.segmentation is not None:
            return {"segmentation": rle.segmentation_to_rle(annotation.segmentation, image.height, image.width)}
    except rle.RleError as error:
        raise UserError(str(error), f"annotation {annotation.id}") from error
    return {"segmentation": box_to_rle(annotation.box, image), "iscrowd": 1}


def box_to_rle(box: Sequence[float], image: ImageRecord) -> rle.Rle:
    """The box x1, y1, x2, y2, clipped to its image, as a mask."""
    x1, x2 = (min(max(float(v), 0.0), image.width) for v in (box[0], box[2]))
    y1, y2 = (min(max(float(v), 0.0), image.height) for v in (box[1], box[3]))
    return rle.polygons_to_rle([np.array([x1, y1, x2, y1, x2, y2, x1, y2])], image.height, image.width)


def _truth_keypoints(annotation: Annotation, dataset: Dataset) -> dict[str, Any]:
    """Keypoints of the schema's joints and their own count: a subset may hold none of an object's labelled ones."""
    joints = keypoints_of_schema(annotation, dataset)
    return {"keypoints": joints.reshape(-1).tolist(), "num_keypoints": int(np.count_nonzero(joints[:, 2] > 0))}


def keypoints_of_schema(annotation: Annotation, dataset: Dataset) -> np.ndarray:
    """The object's joints of the data set's schema, [K, 3] in the file's coordinates; zeros where it has none."""
    assert dataset.schema is not None  # checked with the detections
    if annotation.keypoints is None:
        return np.zeros((len(dataset.schema), 3))
    return np.asarray(annotation.keypoints, np.float64)[list(dataset.schema.index_map)]


def schema_sigmas(dataset: Dataset) -> np.ndarray:
    """The OKS sigmas of the data set's joints, [K].

    Raises:
        UserError: another number of them, or one that is not positive.
    """
    assert dataset.schema is not None  # checked with the detections
    sigmas = np.array(dataset.schema.sigmas or [DEFAULT_SIGMA] * len(dataset.schema), np.float64)
    if len(sigmas) != len(dataset.schema) or not (sigmas > 0).all():
        raise UserError(f"sigmas {sigmas.tolist()}: expected {len(dataset.schema)} positive numbers", dataset.name)
    return sigmas


def _result_entries(results: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Results with what `COCO.loadRes` adds (id, area, iscrowd, bbox), for an empty list too (FACTS §5.9)."""
    for number, entry in enumerate(results, start=1):
        if kind == "bbox":
            area = entry["bbox"][2] * entry["bbox"][3]
        elif kind == "segm":
            area = rle.area(entry["segmentation"])
        else:
            x, y = entry["keypoints"][0::3], entry["keypoints"][1::3]
            area = (max(x) - min(x)) * (max(y) - min(y))
        entry.update(id=number, area=area, iscrowd=0)
    return results


def _judge(
    truth: list[dict[str, Any]], results: list[dict[str, Any]], kind: str, sigmas: np.ndarray | None
) -> COCOeval:
    """A COCOeval that has run, over the categories of the truth; what it prints is swallowed."""
    with contextlib.redirect_stdout(io.StringIO()):
        # images where nothing is and nothing was found change no figure
        image_ids = {entry["image_id"] for part in (truth, results) for entry in part}
        category_ids = {entry["category_id"] for entry in truth}
        judged = COCOeval(
            _indexed(truth, image_ids, category_ids), _indexed(results, image_ids, category_ids), iouType=kind
        )
        judged.params.imgIds, judged.params.catIds = sorted(image_ids), sorted(category_ids)
        if sigmas is not None:
            judged.params.kpt_oks_sigmas = sigmas
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return judged


def _indexed(entries: list[dict[str, Any]], image_ids: set[int], category_ids: set[int]) -> COCO:
    coco = COCO()
    coco.dataset = {
        # sides are looked up, but used for polygons alone, of which there are none
        "images": [{"id": image_id, "height": 0, "width": 0} for image_id in image_ids],
        "categories": [{"id": category_id} for category_id in category_ids],
        "annotations": entries,
    }
    coco.createIndex()
    return coco
