"""Annotated images as plain records: what the readers of data sets return and every later step takes.

Boxes are x1, y1, x2, y2 in pixels of the original image, continuous (a pixel is the unit square). Labels are dense,
1…C in the order of the category ids; `Category.id` keeps the file's own id. Keypoints keep the file's coordinates
(pixel indices) and the full list of the category's joints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from maskrcnn.structures import KeypointSchema

Segmentation = tuple[np.ndarray, ...] | dict[str, Any] | None
"""Polygons (float64 [2n], flat x, y, absolute pixels) | RLE {"size": [h, w], "counts": bytes | str | list} | none."""


@dataclass(frozen=True, slots=True)
class Category:
    """A category as its file declares it; `skeleton` indexes `keypoints` from 0."""

    id: int
    name: str
    supercategory: str = ""
    keypoints: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """One object: box x1, y1, x2, y2; `label` 1…C (also for crowds); `keypoints` [K, 3] float32 x, y, visibility."""

    id: int
    label: int
    box: tuple[float, float, float, float]
    area: float
    is_crowd: bool = False
    segmentation: Segmentation = None
    keypoints: np.ndarray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ImageRecord:
    """One image: `file_name` as in the annotation file, `path` where it lies."""

    id: int
    file_name: str
    path: str
    height: int
    width: int
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with their objects, the categories of labels 1…C, and the joints of the keypoint categories.

    `schema` holds the joints that are learnt and judged. Annotations keep all joints of their file: those of
    `chosen_from`, or of `schema` where that is None and nothing was chosen.
    """

    name: str
    categories: tuple[Category, ...]
    images: tuple[ImageRecord, ...]
    schema: KeypointSchema | None = None
    chosen_from: KeypointSchema | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def full_schema(self) -> KeypointSchema | None:
        """All joints of the annotations: the frame of `schema.index_map`, and the one in which images are flipped."""
        return self.schema if self.schema is None or self.chosen_from is None else self.chosen_from

    @property
    def num_classes(self) -> int:
        """Number of categories C, without the background."""
        return len(self.categories)

    @property
    def keypoint_labels(self) -> tuple[int, ...]:
        """The labels whose categories have joints; all where no category names any, but there is a schema."""
        if self.schema is None:
            return ()
        named = tuple(label for label, category in enumerate(self.categories, start=1) if category.keypoints)
        return named or tuple(range(1, self.num_classes + 1))

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names of labels 1…C, in this order."""
        return tuple(category.name for category in self.categories)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over categories, schema, images and objects.

        Independent of where the images lie and of the annotations' ids, which a written subset counts anew.
        """
        state = hashlib.sha256()
        for part in _content(self):
            state.update(part)
        return state.hexdigest()


def _content(dataset: Dataset) -> Iterator[bytes]:
    """The bytes that decide a data set's digest, in order; each part ends with its length."""
    schema = asdict(dataset.schema) if dataset.schema else None
    yield _json([[asdict(category) for category in dataset.categories], schema])
    if dataset.chosen_from is not None:
        yield _json(asdict(dataset.chosen_from))
    for image in dataset.images:
        yield _json([image.id, image.file_name, image.height, image.width, len(image.annotations)])
        for annotation in image.annotations:
            yield from _annotation_content(annotation)


def _annotation_content(annotation: Annotation) -> Iterator[bytes]:
    # a box that went through width and height and back carries rounding noise
    box = [round(float(side), 6) for side in annotation.box]
    head = [annotation.label, box, float(annotation.area), bool(annotation.is_crowd)]
    segmentation = annotation.segmentation
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
        yield _json([*head, [int(side) for side in segmentation["size"]], counts])
    else:
        yield _json([*head, [len(polygon) for polygon in segmentation or ()]])
        for polygon in segmentation or ():
            yield np.ascontiguousarray(polygon, dtype="<f8").tobytes()
    if annotation.keypoints is not None:
        yield np.ascontiguousarray(annotation.keypoints, dtype="<f4").tobytes()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, default=_plain).encode("ascii") + b"\n"


def _plain(value: Any) -> Any:
    """A NumPy number or array as plain Python, for JSON."""
    return value.tolist()
