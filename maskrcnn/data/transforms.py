"""Geometry and colour of a training sample: image, boxes, masks and keypoints move together.

A mask is kept as the bitmap of its file and the window that the bitmap fills. Resizing moves the window, a flip
mirrors bitmap and window, a crop shifts the window and clips only the box, so nothing is resampled until
`mask_targets` reads the mask inside its box once.

Keypoints are converted once, on load, from the file's pixel indices to continuous coordinates (+ 0.5, as Detectron2
does), so that a flip is `W - x` for boxes, windows and keypoints alike. Whoever writes COCO results subtracts it.

All functions return a new sample and leave their argument's arrays untouched, so that loaded samples can be cached.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from maskrcnn.data import images, rle
from maskrcnn.data.records import Annotation, Dataset, ImageRecord
from maskrcnn.data.resize import resize_image, resized_size

KEYPOINT_OFFSET = 0.5
"""Pixel index i is the centre of the unit square [i, i + 1)."""
MIN_SIDE_PX = 1.0
"""An instance whose box gets thinner than this by a crop is dropped."""
MIN_AREA_LEFT = 0.1
"""An instance of which a crop leaves less than this share of its box becomes an ignore region (label -1): too
little to learn from, yet no background."""


@dataclass(frozen=True)
class Augmentation:
    """What is drawn at random for a training sample; the meaning of the fields is that of `augmentation.*`."""

    flip: float = 0.0
    short_sides: Sequence[int] = ()
    scale: Sequence[float] = (1.0, 1.0)
    crop: Sequence[int] = ()
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    permute_channels: bool = False


@dataclass
class Sample:
    """One image with its instances, in pixels of `image`.

    `image` is uint8 RGB `[H, W, 3]` (float32 in 0..255 after torchvision's resize); `boxes` `[M, 4]`; `labels` `[M]`
    in 1…C, or -1 for crowds and ignore regions; `bitmaps[m]` a uint8 {0, 1} array that fills `windows[m]`, or None;
    `keypoints` `[M, K, 3]` with all zeros for joints that are not labelled.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    is_crowd: np.ndarray
    bitmaps: list[np.ndarray | None] = field(default_factory=list)
    windows: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float64))
    keypoints: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def nbytes(self) -> int:
        """Memory of the pixels and bitmaps."""
        return self.image.nbytes + sum(b.nbytes for b in self.bitmaps if b is not None) + 64 * len(self.boxes)

    def select(self, rows: np.ndarray) -> Sample:
        """The sample with only the instances at `rows` (indices)."""
        return dataclasses.replace(
            self,
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            is_crowd=self.is_crowd[rows],
            bitmaps=[self.bitmaps[int(r)] for r in rows],
            windows=self.windows[rows],
            keypoints=None if self.keypoints is None else self.keypoints[rows],
        )


def make_sample(record: ImageRecord, dataset: Dataset, with_masks: bool, with_keypoints: bool) -> Sample:
    """The sample of one image file, nothing drawn or resized yet.

    Boxes are clipped to the image, those without area left out. Crowds get label -1 and no bitmap. Keypoints are in
    the data set's full schema.

    Raises:
        UserError: the image cannot be read, or its size is not the annotated one.
    """
    image = images.read_record(record)
    limits = np.array([record.width, record.height] * 2, np.float32)
    all_boxes = np.array([a.box for a in record.annotations], np.float32).reshape(-1, 4).clip(0, limits)
    has_area = np.all(all_boxes[:, 2:] > all_boxes[:, :2], axis=1)
    annotations = [a for a, good in zip(record.annotations, has_area) if good]
    boxes = all_boxes[has_area]
    is_crowd = np.array([a.is_crowd for a in annotations], bool)
    bitmaps, windows = _load_bitmaps(annotations if with_masks else [], boxes, record)
    return Sample(
        image=image,
        boxes=boxes,
        labels=np.where(is_crowd, -1, np.array([a.label for a in annotations], np.int32)).astype(np.int32),
        is_crowd=is_crowd,
        bitmaps=bitmaps,
        windows=np.asarray(windows, np.float64),
        keypoints=_load_keypoints(annotations, dataset) if with_keypoints else None,
    )


def resize(sample: Sample, short_side: int, long_side: int, rule: str) -> Sample:
    """The sample with its short side at `short_side` unless the long one would pass `long_side` (`data.resize`)."""
    return resize_to(sample, *resized_size(*sample.size, short_side, long_side, rule), rule)


def resize_to(sample: Sample, height: int, width: int, rule: str) -> Sample:
    """The sample at `height` x `width`; every coordinate is scaled by new / old side of its axis."""
    old_height, old_width = sample.size
    factors = np.array([width / old_width, height / old_height])
    keypoints = sample.keypoints
    if keypoints is not None:
        keypoints = keypoints * np.array([*factors, 1.0], np.float32)
    return dataclasses.replace(
        sample,
        image=resize_image(sample.image, height, width, rule),
        boxes=(sample.boxes * np.tile(factors, 2)).astype(np.float32),
        windows=sample.windows * np.tile(factors, 2),
        keypoints=keypoints,
    )


def horizontal_flip(sample: Sample, flip_permutation: Sequence[int] = ()) -> Sample:
    """The mirrored sample: x becomes W - x; keypoint k becomes joint `flip_permutation[k]` (left <-> right)."""
    width = sample.size[1]
    keypoints = sample.keypoints
    if keypoints is not None:
        keypoints = keypoints[:, list(flip_permutation)].copy()
        labelled = keypoints[..., 2] > 0
        keypoints[..., 0] = np.where(labelled, width - keypoints[..., 0], 0)
    return dataclasses.replace(
        sample,
        image=sample.image[:, ::-1],
        boxes=_flip_boxes(sample.boxes, width),
        bitmaps=[None if b is None else b[:, ::-1] for b in sample.bitmaps],
        windows=_flip_boxes(sample.windows, width),
        keypoints=keypoints,
    )


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """The part of the sample at rows `top` … `top + height` and columns `left` … `left + width`.

    Boxes are clipped; instances whose box gets thinner than `MIN_SIDE_PX` are dropped, those with less than
    `MIN_AREA_LEFT` of their box become ignore regions. Joints outside lose their label.
    """
    image = sample.image[top : top + height, left : left + width]
    height, width = image.shape[:2]
    shift = np.array([left, top, left, top])
    moved = (sample.boxes - shift).astype(np.float32)
    boxes = moved.clip(0, np.array([width, height, width, height], np.float32))
    little = _areas(boxes) < MIN_AREA_LEFT * _areas(moved)
    cropped = dataclasses.replace(
        sample,
        image=image,
        boxes=boxes,
        labels=np.where(little, -1, sample.labels).astype(np.int32),
        windows=sample.windows - shift,
        keypoints=_crop_keypoints(sample.keypoints, left, top, width, height),
    )
    return cropped.select(np.flatnonzero(((boxes[:, 2:] - boxes[:, :2]) >= MIN_SIDE_PX).all(1)))


def jitter_colours(image: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """The uint8 image with random brightness, contrast, saturation and order of channels.

    Factors are uniform in 1 - a … 1 + a. Contrast turns about the image's mean, saturation about each pixel's grey.
    """
    gain = _factor(augmentation.brightness, rng)
    contrast = _factor(augmentation.contrast, rng)
    saturation = _factor(augmentation.saturation, rng)
    if gain != 1 or contrast != 1:
        offset = (1 - contrast) * gain * image.mean()
        image = cv2.LUT(image, _to_uint8(np.arange(256) * (gain * contrast) + offset))
    if saturation != 1:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        image = cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
    if augmentation.permute_channels:
        image = image[..., rng.permutation(3)]
    return image


def augment(
    sample: Sample,
    augmentation: Augmentation,
    rng: np.random.Generator,
    *,
    short_side: int,
    long_side: int,
    rule: str,
    flip_permutation: Sequence[int] = (),
) -> Sample:
    """The sample as one step of training sees it: colours, resize with scale jitter, flip, crop, in this order."""
    sample = dataclasses.replace(sample, image=jitter_colours(sample.image, augmentation, rng))
    if augmentation.short_sides:
        short_side = augmentation.short_sides[int(rng.integers(len(augmentation.short_sides)))]
    height, width = resized_size(*sample.size, short_side, long_side, rule)
    low, high = augmentation.scale
    factor = rng.uniform(low, high) if (low, high) != (1.0, 1.0) else 1.0
    sample = resize_to(sample, max(1, round(height * factor)), max(1, round(width * factor)), rule)
    if rng.random() < augmentation.flip:
        sample = horizontal_flip(sample, flip_permutation)
    return random_crop(sample, *augmentation.crop, rng=rng) if augmentation.crop else sample


def random_crop(sample: Sample, height: int, width: int, *, rng: np.random.Generator) -> Sample:
    """A crop of at most `height` x `width` at a random place; a smaller side stays whole."""
    rows, columns = sample.size
    top = int(rng.integers(max(rows - height, 0) + 1))
    left = int(rng.integers(max(columns - width, 0) + 1))
    return crop(sample, top, left, min(height, rows), min(width, columns))


def mask_targets(sample: Sample, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks inside their own boxes, uint8 {0, 1} `[M, side, side]`, and which instances have one, bool `[M]`.

    A cell is set where at least half of its area is covered. Crowds, ignore regions and instances without a
    segmentation, or of whose mask nothing lies in the box, have none.
    """
    masks = np.zeros((len(sample.boxes), side, side), np.uint8)
    has_mask = np.zeros(len(sample.boxes), bool)
    for m, (bitmap, label) in enumerate(zip(sample.bitmaps, sample.labels)):
        if bitmap is not None and label > 0:
            masks[m] = sample_bitmap(bitmap, sample.windows[m], sample.boxes[m], side)
            has_mask[m] = masks[m].any()
    return masks, has_mask


def sample_bitmap(bitmap: np.ndarray, window: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """The bitmap that fills `window`, read in the `side` x `side` cells of `box`: uint8 {0, 1} `[side, side]`.

    Exact area averages through the integral image, which is bilinear inside a pixel; outside the window is 0.
    """
    integral = cv2.integral(np.ascontiguousarray(bitmap)).astype(np.float64)
    height, width = bitmap.shape
    rows = _edges(box[1], box[3], window[1], window[3], height, side)
    columns = _edges(box[0], box[2], window[0], window[2], width, side)
    sums = _interpolate(_interpolate(integral, rows.clip(0, height)).T, columns.clip(0, width)).T
    strips = sums[1:] - sums[:-1]
    covered = strips[:, 1:] - strips[:, :-1]
    cell_area = (rows[1] - rows[0]) * (columns[1] - columns[0])
    # The margin keeps cells that are covered by exactly one half on the same side after a flip.
    return (covered >= (0.5 - 1e-6) * cell_area).astype(np.uint8)


def _edges(low: float, high: float, window_low: float, window_high: float, pixels: int, side: int) -> np.ndarray:
    """The `side + 1` cell borders of a box side, in pixels of the bitmap."""
    scale = pixels / (window_high - window_low)
    steps = np.arange(side + 1) * ((float(high) - float(low)) / side)
    return (steps + (float(low) - window_low)) * scale


def _interpolate(table: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rows of `table` at fractional positions in 0 … len(table) - 1, linear."""
    lower = np.minimum(positions.astype(np.intp), len(table) - 2)
    fraction = (positions - lower)[:, None]
    return table[lower] * (1 - fraction) + table[lower + 1] * fraction


def _load_bitmaps(
    annotations: Sequence[Annotation], boxes: np.ndarray, record: ImageRecord
) -> tuple[list[np.ndarray | None], np.ndarray]:
    """Bitmaps cut to the whole pixels that their boxes touch, and these windows `[M, 4]`; none without annotations."""
    windows = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1)
    bitmaps: list[np.ndarray | None] = [None] * len(boxes)
    for m, annotation in enumerate(annotations):
        if not annotation.segmentation or annotation.is_crowd:
            continue
        full = rle.segmentation_to_bitmap(annotation.segmentation, record.height, record.width)
        x1, y1, x2, y2 = windows[m].astype(int)
        bitmaps[m] = np.ascontiguousarray(full[y1:y2, x1:x2])
    return bitmaps, windows


def _load_keypoints(annotations: Sequence[Annotation], dataset: Dataset) -> np.ndarray:
    """Continuous keypoints `[M, K, 3]` in the full schema; zeros where a joint or a whole instance has none."""
    count = len(dataset.full_schema) if dataset.full_schema is not None else 0
    keypoints = np.zeros((len(annotations), count, 3), np.float32)
    for m, annotation in enumerate(annotations):
        if annotation.keypoints is not None and not annotation.is_crowd:
            keypoints[m] = annotation.keypoints
    keypoints[..., :2] += KEYPOINT_OFFSET
    return keypoints * (keypoints[..., 2:] > 0)


def _crop_keypoints(keypoints: np.ndarray | None, left: int, top: int, width: int, height: int) -> np.ndarray | None:
    if keypoints is None:
        return None
    moved = keypoints - np.array([left, top, 0], np.float32)
    inside = ((moved[..., :2] >= 0) & (moved[..., :2] <= np.array([width, height]))).all(-1)
    return moved * (inside & (keypoints[..., 2] > 0))[..., None]


def _flip_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    flipped = boxes.copy()
    flipped[:, 0], flipped[:, 2] = width - boxes[:, 2], width - boxes[:, 0]
    return flipped


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)


def _factor(spread: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(1 - spread, 1 + spread)) if spread else 1.0


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
