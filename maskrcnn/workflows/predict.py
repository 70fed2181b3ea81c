"""`predict`: images → overlays and a COCO results file."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.data.coco import to_coco
from maskrcnn.data.detections import Detections
from maskrcnn.data.images import read_image
from maskrcnn.data.records import Category, Dataset, ImageRecord
from maskrcnn.errors import UserError
from maskrcnn.evaluation.results import to_coco_results
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.progress import progress
from maskrcnn.structures import KeypointSchema, TTASettings
from maskrcnn.tracking.pictures import write_image
from maskrcnn.visualization.canvas import Style
from maskrcnn.visualization.overlays import draw
from maskrcnn.workflows.load import load

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
RESULTS = "results.json"
IMAGES = "images.json"


def predict(run: str, images: Path, out: Path, *, score: float, tta: TTASettings | None = None) -> int:
    """Draw the detections of an image or of a folder's images, and write them as COCO results.

    `out` gets one overlay for each image (its name, with .png), `results.json` (COCO's results format; all
    detections, whatever their score) and `images.json` (which image id is which file, and what the categories and
    their joints are called).

    Raises:
        UserError: no such run, no images, an image that cannot be read.
    """
    predictor = load(run, tta=tta)
    paths = image_files(images)
    root = images if images.is_dir() else images.parent
    found: list[Detections] = []
    results_of = predictor.predict_files(paths)
    began, drawing_s = time.perf_counter(), 0.0
    for path, detections in progress(zip(paths, results_of), total=len(paths), label="predicting"):
        found.append(detections)
        before_drawing = time.perf_counter()
        _draw_overlay(predictor, path, detections, score, out / path.relative_to(root).with_suffix(".png"))
        drawing_s += time.perf_counter() - before_drawing
    _write_results(predictor, paths, root, found, out)
    _print_summary(predictor, found, out, score, drawing_s, time.perf_counter() - began)
    return 0


def _draw_overlay(predictor: Predictor, path: Path, detections: Detections, score: float, out: Path) -> None:
    overlay = draw(
        read_image(path),
        detections,
        predictor.category_names,
        schema=predictor.schema,
        min_score=score,
        style=Style(max_side=None),
    )
    write_image(out, overlay)


def image_files(images: Path) -> list[Path]:
    """The image itself, or the images of a folder and its sub-folders in the order of their names."""
    if images.is_file():
        return [images]
    paths = sorted(p for p in images.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise UserError("holds no images", f"images={images}", f"files that end in {', '.join(SUFFIXES)} are read")
    return paths


def _write_results(
    predictor: Predictor, paths: Sequence[Path], root: Path, found: Sequence[Detections], out: Path
) -> None:
    """Boxes, masks and keypoints of one detection in one entry, as COCO's results allow."""
    categories = _categories(predictor)
    names = [path.relative_to(root).as_posix() for path in paths]
    records = tuple(
        ImageRecord(number, name, str(path), d.height, d.width)
        for number, (name, path, d) in enumerate(zip(names, paths, found, strict=True), start=1)
    )
    dataset = Dataset("predictions", categories, records, predictor.schema)
    entries: list[dict[str, Any]] = to_coco_results(dataset, found, "bbox")
    for kind, present in (("segm", _have(found, "masks")), ("keypoints", _have(found, "keypoints"))):
        if present:
            _merge(entries, to_coco_results(dataset, found, kind), dataset if kind == "keypoints" else None)
    out.mkdir(parents=True, exist_ok=True)
    (out / RESULTS).write_text(json.dumps(entries), encoding="utf-8")
    document = to_coco(dataset)
    listing = {key: document[key] for key in ("images", "categories")}
    (out / IMAGES).write_text(json.dumps(listing, ensure_ascii=False), encoding="utf-8")


def _categories(predictor: Predictor) -> tuple[Category, ...]:
    """The model's categories, with the joints of those that have some."""
    schema, labels = predictor.schema or KeypointSchema(()), predictor.keypoint_labels
    return tuple(
        Category(c["id"], c["name"], keypoints=schema.names, skeleton=schema.skeleton)
        if labels is None or label in labels
        else Category(c["id"], c["name"])
        for label, c in enumerate(predictor.categories, start=1)
    )


def _merge(entries: list[dict[str, Any]], more: Sequence[dict[str, Any]], with_joints: Dataset | None) -> None:
    """Add the fields of `more` to the entries, in order; given a data set, to those of its categories with joints."""
    ids = None if with_joints is None else {with_joints.categories[k - 1].id for k in with_joints.keypoint_labels}
    chosen = [entry for entry in entries if ids is None or entry["category_id"] in ids]
    for entry, fields in zip(chosen, more, strict=True):
        entry.update(fields)


def _have(found: Sequence[Detections], field: str) -> bool:
    return all(getattr(detections, field) is not None for detections in found)


def _print_summary(
    predictor: Predictor, found: Sequence[Detections], out: Path, score: float, drawing_s: float, total_s: float
) -> None:
    drawn = sum(int(np.count_nonzero(d.scores >= score)) for d in found)
    timings, images = predictor.timings, max(len(found), 1)
    stages = {
        "read": timings.read_s,
        "resize": timings.resize_s,
        "network": timings.network_s,
        "paste": timings.paste_s,
        "draw": drawing_s,
    }
    print(f"{len(found)} images, {drawn} objects with a score of {score:g} or more, in {out}")
    listed = ", ".join(f"{name} {seconds / images:.3f}" for name, seconds in stages.items())
    print(f"seconds per image: {listed}; {total_s / images:.3f} in all, the first batch's compilation included")
