"""What the embedded data set is like: statistics, time to draw it, and a contact sheet with its annotations.

    python experiments/benchmarks/embedded_data.py experiments/003-embedded-data

Draws the default set (1500 + 200 images of 128 px) into an empty cache, and writes `results.json` (other keys of an
existing file stay) and `scenes.png` into the folder.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from maskrcnn.data import rle
from maskrcnn.data.embedded import load_embedded
from maskrcnn.data.records import Annotation, Dataset, ImageRecord
from maskrcnn.data.statistics import describe
from maskrcnn.structures import COCO_PERSON

COLOURS = {1: (255, 90, 90), 2: (90, 255, 90), 3: (110, 170, 255), 4: (255, 235, 60)}
CROWD_COLOUR = (255, 0, 255)
ZOOM, COLUMNS, ROWS = 2, 2, 4


def main(folder: Path) -> None:
    """Draw, describe and picture the default set."""
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        parts = load_embedded(train_images=1500, test_images=200, image_size=128, seed=0, cache=Path(cache))
        drawn = time.perf_counter()
        load_embedded(train_images=1500, test_images=200, image_size=128, seed=0, cache=Path(cache))
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = {
            "draw": round(drawn - started, 2),
            "draw_cpu": round(usage.ru_utime + usage.ru_stime, 2),
            "load_again": round(time.perf_counter() - drawn, 2),
        }
        figures = {part.name: asdict(describe(part, visible_fractions(part))) for part in parts}
        sheet = contact_sheet(parts[0])
    path = folder / "results.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    digests = {part.name: part.digest for part in parts}
    results = known | figures | {"seconds": seconds, "digests": digests}
    path.write_text(json.dumps(results, indent=1) + "\n")
    cv2.imwrite(str(folder / "scenes.png"), sheet[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


def visible_fractions(part: Dataset) -> list[float]:
    """Visible fractions of the part's instances, which only its files hold."""
    folder, split = Path(part.images[0].path).parents[1], part.name.split()[-1]
    entries = json.loads((folder / f"{split}.json").read_text())["annotations"]
    return [entry["visible_fraction"] for entry in entries if not entry["iscrowd"]]


def contact_sheet(part: Dataset) -> np.ndarray:
    """Images and, to the right of each, the same with its annotations: the first ones, a crowd among them."""
    images = list(part.images[: COLUMNS * ROWS])
    if not any(item.is_crowd for image in images for item in image.annotations):
        images[-1] = next(image for image in part.images if any(item.is_crowd for item in image.annotations))
    tiles = [draw_pair(image) for image in images]
    rows = [np.hstack(tiles[k : k + COLUMNS]) for k in range(0, len(tiles), COLUMNS)]
    # noise does not compress: 32 levels of each colour keep the file below 300 KB
    return np.vstack(rows) // 8 * 8 + 4


def draw_pair(image: ImageRecord) -> np.ndarray:
    """An image beside its annotated copy, enlarged, with a thin frame."""
    pixels = cv2.imread(image.path)[..., ::-1]
    plain = cv2.resize(cv2.bilateralFilter(np.ascontiguousarray(pixels), 5, 60, 2), None, fx=ZOOM, fy=ZOOM)
    annotated = plain.copy()
    for item in image.annotations:
        draw_annotation(annotated, image, item)
    return np.pad(np.hstack([plain, annotated]), ((2, 2), (2, 2), (0, 0)))


def draw_annotation(canvas: np.ndarray, image: ImageRecord, item: Annotation) -> None:
    """Outline of the mask, box, and joints: white dots if visible, black if hidden."""
    colour = CROWD_COLOUR if item.is_crowd else COLOURS[item.label]
    mask = np.ascontiguousarray(rle.segmentation_to_bitmap(item.segmentation, image.height, image.width))
    large = cv2.resize(mask, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, colour, 1)
    x1, y1, x2, y2 = (round(value * ZOOM) for value in item.box)
    cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), colour, 1)
    if item.keypoints is None or item.is_crowd:
        return
    points = [((round((x + 0.5) * ZOOM), round((y + 0.5) * ZOOM)), int(v)) for x, y, v in item.keypoints]
    for a, b in COCO_PERSON.skeleton:
        if points[a][1] and points[b][1]:
            cv2.line(canvas, points[a][0], points[b][0], (255, 255, 255), 1)
    for point, visibility in points:
        if visibility:
            cv2.circle(canvas, point, 2, (255, 255, 255) if visibility == 2 else (0, 0, 0), -1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
