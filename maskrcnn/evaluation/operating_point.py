"""What a reader who does not know AP asks: at one score threshold, how much is right, how much is found?

Precision, recall, F1 and the mean IoU of matched pairs, for each category, at score 0.5 and IoU 0.5 (of masks where
there are masks, otherwise of boxes). The rule, exactly: in each image and category the detections of at least the
score threshold, by falling score, each take the free ground-truth object of highest IoU (the first of equals), if
that reaches the IoU threshold: a true positive. A detection that takes none is left out if its share inside a crowd
region of its category reaches the threshold, otherwise a false positive. Objects that nobody took are false
negatives; crowd regions never are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnn.data import rle
from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Annotation, Dataset, ImageRecord
from maskrcnn.errors import UserError
from maskrcnn.evaluation.coco import box_to_rle
from maskrcnn.evaluation.results import check_detections, xyxy_to_xywh

UNMATCHED, LEFT_OUT = -1, -2


@dataclass(frozen=True)
class Counts:
    """Right, wrong and missed objects, and the sum of IoUs over the right ones."""

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    iou_sum: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
            self.iou_sum + other.iou_sum,
        )

    @property
    def errors(self) -> int:
        return self.false_positives + self.false_negatives

    @property
    def precision(self) -> float | None:
        """Right ones among the detections; None without a detection."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """Found ones among the objects; None without an object."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; 0 where nothing matched, None where there was nothing at all."""
        return _ratio(2 * self.true_positives, 2 * self.true_positives + self.errors)

    @property
    def mean_iou(self) -> float | None:
        """Mean IoU of the matched pairs; None without a match."""
        return _ratio(self.iou_sum, self.true_positives)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """Counts of each category (in the data set's order) and of each image (in its order) at one operating point."""

    score: float
    iou: float
    kind: str
    """What the IoU is of: mask | box."""
    categories: dict[str, Counts]
    images: tuple[Counts, ...]

    @property
    def total(self) -> Counts:
        """All categories together: the sum of the counts, so that frequent categories weigh more."""
        return sum(self.categories.values(), Counts())

    def table(self) -> tuple[list[str], list[list[str | int | float | None]]]:
        """Header and rows, the last of all categories together."""
        header = ["category", "precision", "recall", "F1", f"mean {self.kind} IoU", "right", "wrong", "missed"]
        return header, [_row(name, counts) for name, counts in [*self.categories.items(), ("all", self.total)]]


def _row(name: str, counts: Counts) -> list[str | int | float | None]:
    figures = [counts.precision, counts.recall, counts.f1, counts.mean_iou]
    return [name, *figures, counts.true_positives, counts.false_positives, counts.false_negatives]


def operating_point(
    dataset: Dataset, detections: Sequence[Detections], *, score: float = 0.5, iou: float = 0.5
) -> OperatingPoint:
    """Precision, recall, F1 and mean IoU at one score and IoU threshold (the module says by which rule).

    Masks are compared where all detections have masks and the data set has segmentations; an object without one
    then counts as a crowd region that fills its box.

    Args:
        detections: one for each image of the data set, in its order.

    Raises:
        UserError: detections that do not fit the data set.
    """
    masks = all(found.masks is not None for found in detections) and any(
        annotation.segmentation is not None for image in dataset.images for annotation in image.annotations
    )
    check_detections(dataset, detections, ("segm",) if masks else ("bbox",))
    by_label = [Counts()] * dataset.num_classes
    by_image = []
    for image, found in zip(dataset.images, detections):
        counts = _image_counts(image, found.take(found.scores >= score), masks, iou)
        for label, own in counts.items():
            by_label[label - 1] += own
        by_image.append(sum(counts.values(), Counts()))
    named = dict(zip(_distinct(dataset.category_names), by_label))
    return OperatingPoint(score, iou, "mask" if masks else "box", named, tuple(by_image))


def _distinct(names: Sequence[str]) -> list[str]:
    """Names as keys: the second of two categories of one name gets its label."""
    return [name if name not in names[:k] else f"{name} ({k + 1})" for k, name in enumerate(names)]


def _image_counts(image: ImageRecord, found: Detections, masks: bool, threshold: float) -> dict[int, Counts]:
    """Counts of each label that occurs in one image."""
    truth_labels = np.array([annotation.label for annotation in image.annotations], np.int64)
    counts = {}
    for label in sorted({*truth_labels.tolist(), *found.labels.tolist()}):
        truth = [annotation for annotation in image.annotations if annotation.label == label]
        own = found.take(found.labels == label)
        overlaps, crowd = _overlaps(own, truth, image, masks)
        matches = match_by_score(overlaps, own.scores, crowd, threshold)
        matched = matches >= 0
        counts[label] = Counts(
            int(matched.sum()),
            int((matches == UNMATCHED).sum()),
            int((~crowd).sum() - matched.sum()),
            float(overlaps[np.flatnonzero(matched), matches[matched]].sum()),
        )
    return counts


def _overlaps(
    found: Detections, truth: Sequence[Annotation], image: ImageRecord, masks: bool
) -> tuple[np.ndarray, np.ndarray]:
    """IoU [D, M] (for crowds: share of the detection inside) and which of the truth are crowds [M]."""
    crowd = np.array([a.is_crowd or (masks and a.segmentation is None) for a in truth], bool)
    if not len(found) or not truth:
        return np.zeros((len(found), len(truth))), crowd  # pycocotools would return a list (FACTS §5.4)
    if masks:
        shapes = [_truth_rle(annotation, image) for annotation in truth]
        overlaps = coco_mask.iou([rle.compress(mask) for mask in found.masks or []], shapes, crowd.tolist())
    else:
        boxes = xyxy_to_xywh(np.array([annotation.box for annotation in truth]))
        overlaps = coco_mask.iou(xyxy_to_xywh(found.boxes), boxes, crowd.tolist())
    return np.asarray(overlaps), crowd


def _truth_rle(annotation: Annotation, image: ImageRecord) -> rle.Rle:
    if annotation.segmentation is None:
        return box_to_rle(annotation.box, image)
    try:
        return rle.segmentation_to_rle(annotation.segmentation, image.height, image.width)
    except rle.RleError as error:
        raise UserError(str(error), f"annotation {annotation.id}") from error


def match_by_score(overlaps: np.ndarray, scores: np.ndarray, crowd: np.ndarray, threshold: float) -> np.ndarray:
    """Which ground truth each detection takes, by the rule of this module.

    Args:
        overlaps: [D, M] IoU, for crowd columns the share of the detection inside.
        scores: [D]; equal scores keep their order.
        crowd: [M] bool.

    Returns:
        [D] int64: a row of the ground truth, UNMATCHED or LEFT_OUT (inside a crowd).
    """
    matches = np.full(len(scores), UNMATCHED, np.int64)
    free = np.where(crowd[None, :], -1.0, overlaps)
    in_crowd = np.where(crowd[None, :], overlaps, -1.0)
    for row in np.argsort(-np.asarray(scores), kind="stable"):
        best = int(np.argmax(free[row])) if free.shape[1] else UNMATCHED
        if best >= 0 and free[row, best] >= threshold:
            matches[row] = best
            free[:, best] = -1.0
        elif (in_crowd[row] >= threshold).any():
            matches[row] = LEFT_OUT
    return matches


@dataclass(frozen=True)
class WorstImage:
    """An image that went badly: its row in the data set, its record's id and file, and its counts."""

    row: int
    image_id: int
    file_name: str
    counts: Counts


def worst_images(
    dataset: Dataset, detections: Sequence[Detections], count: int, *, score: float = 0.5, iou: float = 0.5
) -> list[WorstImage]:
    """At most `count` images with errors, worst first: lowest F1, among equals most errors, then the first.

    Args and errors as `operating_point`.
    """
    return rank_worst(dataset, operating_point(dataset, detections, score=score, iou=iou), count)


def rank_worst(dataset: Dataset, point: OperatingPoint, count: int) -> list[WorstImage]:
    """`worst_images` of an operating point that is known already."""
    rows = [row for row, counts in enumerate(point.images) if counts.errors]
    rows.sort(key=lambda row: (point.images[row].f1 or 0.0, -point.images[row].errors, row))
    chosen = [(row, dataset.images[row]) for row in rows[:count]]
    return [WorstImage(row, image.id, image.file_name, point.images[row]) for row, image in chosen]
