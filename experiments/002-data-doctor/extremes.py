"""Runs the doctor on large and hostile data sets, made in a temporary folder: seconds and peak memory.

python experiments/002-data-doctor/extremes.py > experiments/002-data-doctor/extremes.json
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import measure
from PIL import Image, PngImagePlugin

Image.MAX_IMAGE_PIXELS = None


def main() -> None:
    results = []
    for name, make in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "images").mkdir()
            made = make(root / "images")
            (root / "a.json").write_text(made if isinstance(made, str) else json.dumps(made))
            size = (root / "a.json").stat().st_size / 2**20
            found = measure(root, "a.json", "images", "mask")
            results.append({"case": name, "json_mib": round(size, 1), **found})
            print(name, found["exit_code"], found["wall_s"], found["peak_mib"], file=sys.stderr)
    json.dump(results, sys.stdout, indent=1)
    print()


def document(height: int, width: int, number: int = 1, segmentation: Any = None) -> dict[str, Any]:
    polygon = segmentation or [[1, 1, 6, 1, 6, 6, 1, 6]]
    box = {"bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0, "category_id": 1, "segmentation": polygon}
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": height, "width": width} for i in range(number)],
        "annotations": [{"id": i, "image_id": i, **box} for i in range(number)],
        "categories": [{"id": 1, "name": "thing"}],
    }


def pictures(height: int, width: int, number: int = 1, **values: Any) -> Callable[[Path], dict[str, Any]]:
    """A data set of `number` links to one black picture."""

    def make(folder: Path) -> dict[str, Any]:
        Image.new("RGB", (width, height)).save(folder / "0.png", compress_level=1)
        for i in range(1, number):
            os.link(folder / "0.png", folder / f"{i}.png")
        return document(height, width, number, **values)

    return make


def many_annotations(folder: Path) -> dict[str, Any]:
    """100,000 polygons of 22 points on 2,000 images."""
    draw = random.Random(0)
    made = pictures(480, 640, 2000)(folder)
    made["annotations"] = []
    for number in range(100_000):
        x, y, radius = draw.uniform(100, 500), draw.uniform(100, 380), draw.uniform(10, 90)
        angles = [2 * math.pi * step / 22 for step in range(22)]
        polygon = [round(v, 2) for a in angles for v in (x + radius * math.cos(a), y + radius * math.sin(a))]
        made["annotations"].append(
            {
                "id": number,
                "image_id": number % 2000,
                "category_id": 1,
                "bbox": [round(v, 2) for v in (x - radius, y - radius, 2 * radius, 2 * radius)],
                "area": round(0.98 * math.pi * radius**2, 2),
                "iscrowd": 0,
                "segmentation": [polygon],
            }
        )
    return made


def text_bomb(folder: Path) -> dict[str, Any]:
    info = PngImagePlugin.PngInfo()
    info.add_text("k", "x" * 300_000_000, zip=True)
    Image.new("RGB", (64, 64)).save(folder / "0.png", pnginfo=info)
    return document(64, 64)


def deep_picture(folder: Path) -> dict[str, Any]:
    Image.fromarray(np.zeros((9000, 9000), np.uint16)).save(folder / "0.png")
    return document(9000, 9000)


CASES: dict[str, Callable[[Path], Any]] = {
    "100,000 annotations, 2,000 images": many_annotations,
    "15 million empty lists as images": lambda _: '{"images":[' + ",".join(["[]"] * 15_000_000) + "]}",
    "nesting of 10 million": lambda _: "[" * 10_000_000,
    "nesting of 10 million in an annotation": lambda _: '{"annotations":[' + "[" * 10_000_000,
    "polygon of 1 million points": pictures(480, 640, segmentation=[[1.5, 2.5] * 1_000_000]),
    "run-length code of 5 million zeros": pictures(
        480, 640, segmentation={"size": [480, 640], "counts": [307_200] + [0] * 5_000_000}
    ),
    "run-length code of 100000 x 100000": pictures(
        480, 640, segmentation={"size": [100_000, 100_000], "counts": [10**10]}
    ),
    "4 pictures of 9000 x 9000": pictures(9000, 9000, 4),
    "picture of 20000 x 20000": pictures(20_000, 20_000),
    "16-bit picture of 9000 x 9000": deep_picture,
    "300 MB of text in a PNG": text_bomb,
}


if __name__ == "__main__":
    main()
