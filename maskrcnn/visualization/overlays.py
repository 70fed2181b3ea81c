"""Instances drawn on their image: boxes, translucent masks, skeletons and names; truth beside prediction.

Made for thumbnails: see `canvas` for sizes and `colours` for colours. Everything here is a pure function that returns
uint8 [H, W, 3] RGB. Coordinates are continuous pixels of the original image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from maskrcnn.data import rle
from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Annotation
from maskrcnn.structures import KeypointSchema
from maskrcnn.visualization.canvas import (
    Pen,
    Style,
    dashed_frame,
    draw_text,
    frame,
    pen_for,
    sized,
    text_extent,
    thinner,
    unthinned,
)
from maskrcnn.visualization.colours import (
    BLACK,
    PALE,
    WHITE,
    Colour,
    instance_colour,
    match_to_truth,
    text_colour,
)
from maskrcnn.visualization.skeletons import draw_skeleton

Masks = Sequence[Any]
"""For each instance a bool or uint8 [H, W] of the original size, an RLE dict (decoded only when drawn) or None."""


@dataclass(frozen=True)
class Instances:
    """What is drawn on one image, in the order of its colours.

    boxes [D, 4]; labels [D], 1…C; scores [D] or None (ground truth); masks of D entries or None;
    keypoints [D, K, 3] (x, y, visibility 0 absent, 1 hidden, 2 seen) or None; is_crowd [D] bool or None;
    numbers [D]: which colour each has, None: its row.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    masks: Masks | None = None
    keypoints: np.ndarray | None = None
    is_crowd: np.ndarray | None = None
    numbers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def colour(self, row: int) -> Colour:
        return instance_colour(row if self.numbers is None else int(self.numbers[row]))

    def crowd(self, row: int) -> bool:
        return self.is_crowd is not None and bool(self.is_crowd[row])


def instances_of_truth(
    annotations: Sequence[Annotation], height: int, width: int, schema: KeypointSchema | None = None
) -> Instances:
    """The annotations of one image as instances; crowds last, so that they take no object's colour."""
    ordered = sorted(annotations, key=lambda a: a.is_crowd)
    masks = [
        None if a.segmentation is None else rle.segmentation_to_bitmap(a.segmentation, height, width) for a in ordered
    ]
    return Instances(
        boxes=np.array([a.box for a in ordered], np.float32).reshape(-1, 4),
        labels=np.array([a.label for a in ordered], np.int32),
        masks=masks,
        keypoints=None if schema is None else _truth_keypoints(ordered, schema),
        is_crowd=np.array([a.is_crowd for a in ordered], bool),
    )


def _truth_keypoints(annotations: Sequence[Annotation], schema: KeypointSchema) -> np.ndarray:
    joints = np.zeros((len(annotations), len(schema), 3), np.float32)
    for row, annotation in enumerate(annotations):
        if annotation.keypoints is not None:
            joints[row] = annotation.keypoints[list(schema.index_map)]
            joints[row, :, :2] += 0.5  # files hold pixel indices
    return joints


def instances_of_detections(
    detections: Detections, min_score: float = 0.5, joint_score: float = 0.0, truth: np.ndarray | None = None
) -> Instances:
    """The detections of at least `min_score`; with the boxes of the truth [M, 4] they take its colours."""
    rows = np.flatnonzero(np.asarray(detections.scores) >= min_score)
    keypoints = None
    if detections.keypoints is not None:
        keypoints = np.array(detections.keypoints[rows], np.float32)
        # A detection of a category without joints holds zeros alone.
        drawn = (keypoints[..., 2] >= joint_score) & keypoints.any(axis=-1)
        keypoints[..., 2] = np.where(drawn, 2.0, 0.0)
        keypoints[..., :2] += 0.5 - detections.keypoint_offset
    boxes = detections.boxes[rows]
    return Instances(
        boxes=boxes,
        labels=detections.labels[rows],
        scores=detections.scores[rows],
        masks=None if detections.masks is None else [detections.masks[row] for row in rows],
        keypoints=keypoints,
        numbers=None if truth is None else match_to_truth(boxes, truth),
    )


def draw(
    image: np.ndarray,
    instances: Detections | Instances | Sequence[Annotation],
    category_names: Sequence[str],
    *,
    schema: KeypointSchema | None = None,
    min_score: float = 0.5,
    style: Style | None = None,
) -> np.ndarray:
    """The image with detections or ground truth drawn on it.

    Args:
        image: uint8 [H, W, 3] RGB, original size.
        instances: a model's detections, an image record's annotations, or `Instances`.
        category_names: C names; label 1 is the first.
        schema: the joints, where there are keypoints to draw.
        min_score: detections below it are left out.

    Returns:
        uint8 [H', W', 3]: small images enlarged, large ones reduced, very thin ones padded (`Style`).
    """
    style = style or Style()
    height, width = image.shape[:2]
    if isinstance(instances, Detections):
        instances = instances_of_detections(instances, min_score, style.joint_score)
    elif not isinstance(instances, Instances):
        instances = instances_of_truth(instances, height, width, schema)
    return _drawn(image, instances, category_names, schema, style)


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    *,
    scores: np.ndarray | None = None,
    masks: Masks | np.ndarray | None = None,
    keypoints: np.ndarray | None = None,
    schema: KeypointSchema | None = None,
    numbers: np.ndarray | None = None,
    style: Style | None = None,
) -> np.ndarray:
    """`draw` for plain arrays: boxes [D, 4], labels [D], masks [D, H, W] or a list (see `Masks`), keypoints [D, K, 3].

    `numbers` [D] chooses the colours: equal numbers have the same colour in every picture; None: the row.
    """
    masks = None if masks is None else list(masks)
    instances = Instances(np.asarray(boxes).reshape(-1, 4), labels, scores, masks, keypoints, None, numbers)
    return _drawn(image, instances, names, schema, style or Style())


def side_by_side(
    image: np.ndarray,
    truth: Sequence[Annotation],
    detections: Detections,
    category_names: Sequence[str],
    *,
    schema: KeypointSchema | None = None,
    min_score: float = 0.5,
    captions: tuple[str, str] = ("ground truth", "prediction"),
    style: Style | None = None,
) -> np.ndarray:
    """Ground truth left, prediction right; an object has the same colour on both sides.

    Masks of the truth are drawn where the prediction has masks, too: the left half is what the right one should be.

    Returns:
        uint8 [H', W', 3]; each half is at most 640 pixels wide or high unless `style` says otherwise.
    """
    style = style or replace(Style(), max_side=640)
    expected = instances_of_truth(truth, image.shape[0], image.shape[1], schema)
    if detections.masks is None:
        expected = replace(expected, masks=None)
    objects = expected.boxes[~expected.is_crowd] if expected.is_crowd is not None else expected.boxes
    found = instances_of_detections(detections, min_score, style.joint_score, truth=objects)
    most = max(len(expected), len(found))  # one size of letters for both halves
    panels = [_drawn(image, part, category_names, schema, style, most) for part in (expected, found)]
    return beside([captioned(panel, caption) for panel, caption in zip(panels, captions)])


def captioned(picture: np.ndarray, caption: str) -> np.ndarray:
    """The picture under a thin white strip with the caption."""
    size = max(12, max(picture.shape[:2]) // 32)
    strip = np.full((round(1.5 * size), picture.shape[1], 3), 255, np.uint8)
    draw_text(strip, caption, size // 3, round(0.15 * size), size, colour=BLACK)
    return np.concatenate([strip, picture])


def beside(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one height in a row with white gaps."""
    gap = np.full((pictures[0].shape[0], max(6, pictures[0].shape[1] // 80), 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return unthinned(np.concatenate(parts[:-1], axis=1), WHITE)


def _drawn(
    image: np.ndarray,
    instances: Instances,
    names: Sequence[str],
    schema: KeypointSchema | None,
    style: Style,
    crowding: int | None = None,
) -> np.ndarray:
    """The picture of instances on an image; `crowding` decides the size of letters instead of their own number."""
    pixels, scale = sized(image, style)
    pen = pen_for(pixels, len(instances) if crowding is None else crowding)
    boxes = np.asarray(instances.boxes, np.float64).reshape(-1, 4) * scale
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None)
    # Large ones first, so that a small object in front of a large one stays visible.
    order = np.argsort(-np.prod(sides, axis=1), kind="stable").tolist()
    _draw_masks(pixels, instances, order, boxes, pen, style)
    for row in order:
        if instances.crowd(row):
            dashed_frame(pixels, boxes[row], PALE, pen)
        else:
            frame(pixels, boxes[row], instances.colour(row), thinner(pen, sides[row].min()))
    if instances.keypoints is not None and schema is not None:
        for row in order:
            joints = np.asarray(instances.keypoints[row], np.float64) * [scale, scale, 1.0]
            draw_skeleton(pixels, joints, schema, thinner(pen, sides[row].max() / 4))
    if style.labels:
        _draw_labels(pixels, instances, names, boxes, pen)
    return unthinned(pixels)


def _draw_masks(
    pixels: np.ndarray, instances: Instances, order: Sequence[int], boxes: np.ndarray, pen: Pen, style: Style
) -> None:
    """Fills first, then all contours, so that no fill dims another's edge."""
    shapes: dict[int, np.ndarray] = {}
    for row in order:
        bits = None if instances.masks is None else _bitmap(instances.masks[row], pixels.shape[1], pixels.shape[0])
        if instances.crowd(row):
            _hatch(pixels, _box_bitmap(boxes[row], pixels.shape) if bits is None else bits, pen)
        elif bits is not None:
            shapes[row] = bits
            # A mask that fills the picture would tint all of it: half as opaque from half the picture on.
            opacity = style.mask_opacity * (1.0 - min(0.5, float(bits.mean())))
            _blend(pixels, bits, instances.colour(row), opacity)
    for row, bits in shapes.items():
        contours, _ = cv2.findContours(bits, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(pixels, contours, -1, instances.colour(row), (pen.line + 1) // 2, cv2.LINE_AA)


def _bitmap(mask: Any, width: int, height: int) -> np.ndarray | None:
    """A mask as uint8 {0, 1} at the picture's size, its edge interpolated; None stays None."""
    if mask is None:
        return None
    bits = np.asarray(rle.decode(mask) if isinstance(mask, dict) else mask).astype(np.uint8)
    if bits.shape == (height, width):
        return bits
    shrinks = bits.shape[0] > height
    soft = cv2.resize(bits * 255, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return (soft >= 128).astype(np.uint8)


def _box_bitmap(box: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    bits = np.zeros(shape[:2], np.uint8)
    x1, y1, x2, y2 = (max(0, round(float(v))) for v in box)
    bits[y1:y2, x1:x2] = 1
    return bits


def _window(bits: np.ndarray) -> tuple[slice, slice]:
    x, y, width, height = cv2.boundingRect(bits)
    return slice(y, y + height), slice(x, x + width)


def _blend(pixels: np.ndarray, bits: np.ndarray, colour: Colour, opacity: float) -> None:
    window = _window(bits)
    inside = bits[window].astype(bool)
    part = pixels[window]
    part[inside] = np.round(part[inside] * (1.0 - opacity) + np.asarray(colour) * opacity).astype(np.uint8)


def _hatch(pixels: np.ndarray, bits: np.ndarray, pen: Pen) -> None:
    """Diagonal stripes, light beside dark, so that they show on any background."""
    rows, columns = np.nonzero(bits)
    phase = (rows + columns) % (8 * pen.line)
    for colour, first in ((PALE, 0), (BLACK, pen.line)):
        striped = (phase >= first) & (phase < first + pen.line // 2 + 1)
        pixels[rows[striped], columns[striped]] = colour


def label_text(names: Sequence[str], label: int, score: float | None, crowd: bool = False) -> str:
    """`cup 0.87`, without a score `cup`, for a crowd `cup (crowd)`; a label without a name is its number."""
    name = names[label - 1] if 1 <= label <= len(names) else str(label)
    if crowd:
        return f"{name} (crowd)"
    return name if score is None else f"{name} {score:.2f}"


def _draw_labels(pixels: np.ndarray, instances: Instances, names: Sequence[str], boxes: np.ndarray, pen: Pen) -> None:
    taken: list[Rectangle] = []
    for row in range(len(instances)):
        score = None if instances.scores is None else float(instances.scores[row])
        text = label_text(names, int(instances.labels[row]), score, instances.crowd(row))
        place = _label_place(row, boxes, text, pixels.shape, pen, taken)
        if place is None:
            continue
        taken.append(place)
        background = PALE if instances.crowd(row) else instances.colour(row)
        pixels[place[1] : place[3], place[0] : place[2]] = background
        colour = text_colour(background)
        draw_text(pixels, text, place[0] + pen.outline + 1, place[1] + 1, pen.text, colour=colour)


Rectangle = tuple[int, int, int, int]
MOST_HIDDEN = 0.3
"""Share of any instance's box that one label may cover."""


def _label_place(
    row: int, boxes: np.ndarray, text: str, shape: tuple[int, ...], pen: Pen, taken: Sequence[Rectangle]
) -> Rectangle | None:
    """Rectangle for a label: above its box, else below, else inside; None where each place would hide a label that
    stands already, or much of a box: a crowd of labels shows nothing of what it names."""
    width, height = text_extent(text, pen.text)
    width, height = width + 2 * pen.outline + 2, height + 2
    edge = pen.line + 2 * pen.outline
    x1, y1, x2, y2 = (round(float(v)) for v in boxes[row])
    above, below, left, right = y1 - edge - height, y2 + edge, x1 - edge, x2 + edge - width
    corners = [(left, above), (right, above), (left, below), (right, below)]
    corners += [(x1, y1), (x2 - width, y1), (x1, y2 - height), (x2 - width, y2 - height)]
    for x, y in corners:
        x = min(max(x, 0), max(shape[1] - width, 0))
        place = (x, y, x + width, y + height)
        inside = y >= 0 and place[3] <= shape[0]
        if inside and not any(_shared(place, other) for other in taken) and not _hides(place, boxes):
            return place
    return None


def _shared(first: Sequence[float], second: Sequence[float]) -> float:
    """Area that two rectangles share."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0) * max(height, 0)


def _hides(place: Rectangle, boxes: np.ndarray) -> bool:
    areas = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 1.0, None), axis=1)
    return any(_shared(place, box) > MOST_HIDDEN * area for box, area in zip(boxes.tolist(), areas))
