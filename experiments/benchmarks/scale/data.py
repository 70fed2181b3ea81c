"""Generated COCO data of any size: the files hold as many images, instances and categories as a measurement asks for.

Pixels matter to no cost here, so a few pictures stand behind all names (hard links where the file system has them).
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Dataset
from maskrcnn.data.rle import polygons_to_rle

SIDE = 128
PICTURES = 20
CORNERS = 24
"""Of the polygons: about what COCO's outlines have."""
DETECTIONS = 20
"""An image, in the evaluation: each object once, the rest wrong."""


@dataclass(frozen=True)
class Size:
    """Images of a data set, instances of each image, categories that the instances take in turn."""

    images: int
    instances: int
    categories: int

    @property
    def annotations(self) -> int:
        return self.images * self.instances

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def write(size: Size, folder: Path) -> Path:
    """The annotation file of a data set in `folder`, its pictures beside it in `images`."""
    rng = np.random.default_rng(0)
    names = [f"{number:08d}.png" for number in range(size.images)]
    _write_pictures(names, folder / "images", rng)
    document = {
        "images": [{"id": k + 1, "file_name": name, "height": SIDE, "width": SIDE} for k, name in enumerate(names)],
        "categories": [{"id": k + 1, "name": f"thing {k + 1}"} for k in range(size.categories)],
        "annotations": [_annotation(number, size, rng) for number in range(size.annotations)],
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def _write_pictures(names: list[str], folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        if number < PICTURES:
            cv2.imwrite(str(folder / name), rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
            continue
        try:
            os.link(folder / names[number % PICTURES], folder / name)
        except OSError:
            shutil.copyfile(folder / names[number % PICTURES], folder / name)


def _annotation(number: int, size: Size, rng: np.random.Generator) -> dict[str, Any]:
    """An object with an outline of `CORNERS` corners around a random centre."""
    radius = rng.uniform(8, 24)
    centre = rng.uniform(radius, SIDE - radius, 2)
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    outline = (centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)).round(2)
    x1, y1 = outline.min(0)
    width, height = outline.max(0) - outline.min(0)
    return {
        "id": number + 1,
        "image_id": number // size.instances + 1,
        "category_id": number % size.categories + 1,
        "segmentation": [outline.ravel().tolist()],
        "bbox": [float(x1), float(y1), float(width), float(height)],
        "area": float(np.pi * radius**2),
        "iscrowd": 0,
    }


def detections(dataset: Dataset) -> list[Detections]:
    """Every object with a score by chance, and wrong ones up to `DETECTIONS` an image."""
    rng = np.random.default_rng(1)
    return [_found(dataset, row, rng) for row in range(len(dataset.images))]


def _found(dataset: Dataset, row: int, rng: np.random.Generator) -> Detections:
    record = dataset.images[row]
    labels = [a.label for a in record.annotations]
    masks = [polygons_to_rle(a.segmentation, SIDE, SIDE) for a in record.annotations]  # type: ignore[arg-type]
    boxes = [a.box for a in record.annotations]
    for _ in range(max(DETECTIONS - len(labels), 0)):
        chosen = int(rng.integers(len(boxes)))
        boxes.append(boxes[chosen])
        masks.append(masks[chosen])
        labels.append(int(rng.integers(dataset.num_classes)) + 1)
    scores = np.sort(rng.uniform(0.05, 1, len(labels)))[::-1]
    arrays = np.array(boxes, np.float32), scores.astype(np.float32), np.array(labels, np.int32)
    return Detections(*arrays, masks, None, SIDE, SIDE)
