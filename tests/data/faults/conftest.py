"""A tiny healthy COCO data set with objects of every kind, to be damaged in one place at a time."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskrcnn.data import rle
from maskrcnn.data.coco import load_coco, write_coco
from maskrcnn.data.doctor import examine
from maskrcnn.data.faults.report import FaultReport
from maskrcnn.errors import ProblemsError

HEIGHT, WIDTH = 30, 40


def _code() -> dict[str, Any]:
    bitmap = np.zeros((HEIGHT, WIDTH), np.uint8)
    bitmap[5:15, 20:36] = 1
    return rle.encode(bitmap)


def _document() -> dict[str, Any]:
    def annotation(number: int, image: int, category: int, **values: Any) -> dict[str, Any]:
        box = [4, 5, 12, 16]
        return {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "area": 192.0,
            "iscrowd": 0,
            "segmentation": [[4, 5, 16, 5, 16, 21, 4, 21]],
            **values,
        }

    joints = {"keypoints": [8, 6, 2, 6, 7, 1, 0, 0, 0], "num_keypoints": 2}
    code = _code()
    crowd = {
        "iscrowd": 1,
        "bbox": [20, 5, 16, 10],
        "area": 160,
        "keypoints": [0] * 9,
        "num_keypoints": 0,
        "segmentation": {"size": code["size"], "counts": rle.runs(code).tolist()},
    }
    compressed = {
        "bbox": [20, 5, 16, 10],
        "area": 160,
        "segmentation": {"size": code["size"], "counts": code["counts"].decode("ascii")},
    }
    return {
        "images": [
            {"id": 11, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
            {"id": 12, "file_name": "b.jpg", "height": HEIGHT, "width": WIDTH},
            {"id": 13, "file_name": "sub/c.png", "height": HEIGHT, "width": WIDTH},
        ],
        "annotations": [
            annotation(101, 11, 2, **joints),
            annotation(102, 12, 2, **joints),
            annotation(103, 12, 2, **crowd),
            annotation(104, 13, 5, **compressed),
        ],
        "categories": [
            {"id": 2, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"], "skeleton": [[1, 2], [1, 3]]},
            {"id": 5, "name": "dog"},
        ],
    }


def picture(seed: int = 0) -> Image.Image:
    """Noise, whose compressed file is long enough to be cut anywhere."""
    values = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(values)


class Example:
    """The data set on disk: change `document` or the files in `folder`, then `examine` or `load`."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "images"
        (self.folder / "sub").mkdir(parents=True)
        for seed, name in enumerate(("a.png", "b.jpg", "sub/c.png")):
            picture(seed).save(self.folder / name)
        self.path = root / "annotations.json"
        self.document: Any = copy.deepcopy(_document())
        self.text: str | bytes | None = None
        """What stands in the file instead of the document."""

    def image(self, number: int) -> dict[str, Any]:
        return next(entry for entry in self.document["images"] if entry["id"] == number)

    def annotation(self, number: int = 101) -> dict[str, Any]:
        return next(entry for entry in self.document["annotations"] if entry["id"] == number)

    def category(self, number: int) -> dict[str, Any]:
        return next(entry for entry in self.document["categories"] if entry["id"] == number)

    def set(self, number: int = 101, **values: Any) -> None:
        """Changes fields of an annotation."""
        self.annotation(number).update(values)

    def write(self) -> None:
        if isinstance(self.text, bytes):
            self.path.write_bytes(self.text)
        elif self.path.parent.exists() and not self.path.is_dir():
            self.path.write_text(json.dumps(self.document) if self.text is None else self.text, encoding="utf-8")

    def examine(self, head: str, decode_images: bool = False) -> FaultReport:
        self.write()
        return examine(self.path, self.folder, head=head, decode_images=decode_images)

    def check_dropping(self, head: str) -> None:
        """With its faults dropped the data set is refused as a whole, or is healthy when it is written again."""
        try:
            dataset, _ = load_coco(self.path, self.folder, head=head, faults="drop")
        except ProblemsError:
            return
        assert any(record.annotations for record in dataset.images)
        again = self.path.with_name("again.json")
        write_coco(dataset, again)
        reread, report = load_coco(again, self.folder, head=head)
        assert not report.faults
        assert reread.digest == dataset.digest


@pytest.fixture
def example(tmp_path: Path) -> Example:
    return Example(tmp_path)


Judge = Callable[..., None]


@pytest.fixture
def judge(example: Example) -> Judge:
    """Damages the example and compares what the doctor says with `verdict`: fault | warning | silent."""

    def run(
        damage: Callable[[Example], Any], verdict: str, words: str, head: str = "mask", decode_images: bool = False
    ) -> None:
        damage(example)
        report = example.examine(head, decode_images)
        lines = "\n".join(report.lines())
        assert ("fault: " in lines) == (verdict == "fault"), lines or "nothing found"
        found = [line for line in lines.splitlines() if line.startswith(f"{verdict}: ") and words in line]
        assert found or verdict == "silent", f"no {verdict} with {words!r} in:\n{lines}"
        if verdict == "silent":
            assert not report.warnings, lines
        example.check_dropping(head)

    return run
