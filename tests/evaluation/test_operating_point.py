"""Precision, recall, F1 and mean IoU at one threshold, against a slow twin that works on pixels."""

from __future__ import annotations

import numpy as np
import pytest

from maskrcnn.data import rle
from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.evaluation.operating_point import (
    LEFT_OUT,
    UNMATCHED,
    Counts,
    match_by_score,
    operating_point,
    worst_images,
)

SIDE = 32


def square_bits(box: tuple[int, int, int, int]) -> np.ndarray:
    bits = np.zeros((SIDE, SIDE), bool)
    bits[box[1] : box[3], box[0] : box[2]] = True
    return bits


def random_box(generator: np.random.Generator) -> tuple[int, int, int, int]:
    x, y = generator.integers(0, SIDE - 8, 2)
    width, height = generator.integers(4, 9, 2)
    return int(x), int(y), int(x + width), int(y + height)


def annotation(box: tuple[int, int, int, int], label: int = 1, crowd: bool = False, mask: bool = True) -> Annotation:
    shape = rle.encode(square_bits(box)) if mask else None
    return Annotation(0, label, box, float((box[2] - box[0]) * (box[3] - box[1])), crowd, shape)


def found(boxes: list[tuple[int, ...]], scores: list[float], labels: list[int], masks: bool = True) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels, np.int32),
        [rle.encode(square_bits(box)) for box in boxes] if masks else None,
        None,
        SIDE,
        SIDE,
    )


def dataset_of(*images: list[Annotation]) -> Dataset:
    records = tuple(ImageRecord(10 + k, f"{k}.png", "", SIDE, SIDE, tuple(own)) for k, own in enumerate(images))
    return Dataset("squares", (Category(1, "cup"), Category(5, "car")), records)


def twin(dataset: Dataset, detections: list[Detections], score: float, iou: float) -> dict[str, list[float]]:
    """[tp, fp, fn, sum of IoU] of each category, by loops over pixels."""
    totals = {category.name: [0.0, 0.0, 0.0, 0.0] for category in dataset.categories}
    for image, own in zip(dataset.images, detections):
        for label, category in enumerate(dataset.categories, start=1):
            total = totals[category.name]
            truth = [a for a in image.annotations if a.label == label]
            objects = [rle.decode(a.segmentation).astype(bool) for a in truth if not a.is_crowd]
            crowds = [rle.decode(a.segmentation).astype(bool) for a in truth if a.is_crowd]
            taken: set[int] = set()
            for row in sorted(range(len(own)), key=lambda r: -own.scores[r]):
                if own.labels[row] != label or own.scores[row] < score:
                    continue
                bits = own.bool_masks()[row]
                best, best_iou = -1, 0.0
                for k, other in enumerate(objects):
                    value = (bits & other).sum() / (bits | other).sum()
                    if k not in taken and value >= iou and value > best_iou:
                        best, best_iou = k, value
                if best >= 0:
                    taken.add(best)
                    total[0] += 1
                    total[3] += best_iou
                elif not any((bits & crowd).sum() / bits.sum() >= iou for crowd in crowds):
                    total[1] += 1
            total[2] += len(objects) - len(taken)
    return totals


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_a_slow_twin(seed: int) -> None:
    generator = np.random.default_rng(seed)
    images, detections = [], []
    for _ in range(6):
        truth = [random_box(generator) for _ in range(5)]
        labels = generator.integers(1, 3, 5).tolist()
        images.append([annotation(b, k, bool(generator.random() < 0.2)) for b, k in zip(truth, labels)])
        jittered = [tuple(np.clip(np.array(b) + generator.integers(-2, 3, 4), 0, SIDE)) for b in truth]
        boxes = [b if b[2] > b[0] and b[3] > b[1] else (0, 0, 4, 4) for b in [*jittered, random_box(generator)]]
        scores = np.round(generator.random(6), 1).tolist()
        detections.append(found(boxes, scores, [*labels, 1]))
    dataset = dataset_of(*images)
    point = operating_point(dataset, detections, score=0.3, iou=0.5)
    for name, (right, wrong, missed, iou_sum) in twin(dataset, detections, 0.3, 0.5).items():
        own = point.categories[name]
        assert (own.true_positives, own.false_positives, own.false_negatives) == (right, wrong, missed)
        assert own.iou_sum == pytest.approx(iou_sum, abs=1e-9)
    assert sum(image.true_positives for image in point.images) == point.total.true_positives
    assert sum(image.errors for image in point.images) == point.total.errors


def test_figures_of_known_counts() -> None:
    counts = Counts(6, 2, 4, 4.5)
    assert (counts.precision, counts.recall, counts.mean_iou) == (0.75, 0.6, 0.75)
    assert counts.f1 == pytest.approx(2 * 0.75 * 0.6 / 1.35)


def test_figures_of_nothing_are_undefined() -> None:
    point = operating_point(dataset_of([]), [Detections.empty(SIDE, SIDE, masks=True)])
    for counts in (point.total, *point.categories.values()):
        assert (counts.precision, counts.recall, counts.f1, counts.mean_iou) == (None, None, None, None)
    header, rows = point.table()
    assert [row[0] for row in rows] == ["cup", "car", "all"]
    assert all(len(row) == len(header) for row in rows)


def test_a_detection_of_the_threshold_score_counts() -> None:
    dataset = dataset_of([annotation((4, 4, 12, 12))])
    assert operating_point(dataset, [found([(4, 4, 12, 12)], [0.5], [1])]).total.true_positives == 1
    assert operating_point(dataset, [found([(4, 4, 12, 12)], [0.49], [1])]).total.false_negatives == 1


def test_a_second_detection_of_one_object_is_wrong() -> None:
    dataset = dataset_of([annotation((4, 4, 12, 12))])
    point = operating_point(dataset, [found([(4, 4, 12, 12)] * 2, [0.9, 0.8], [1, 1])])
    assert (point.total.true_positives, point.total.false_positives) == (1, 1)


def test_a_detection_inside_a_crowd_is_left_out() -> None:
    dataset = dataset_of([annotation((0, 0, 30, 30), crowd=True)])
    point = operating_point(dataset, [found([(4, 4, 12, 12)] * 2, [0.9, 0.8], [1, 1])])
    assert point.total == Counts()


def test_a_detection_of_another_category_is_wrong_and_the_object_missed() -> None:
    point = operating_point(dataset_of([annotation((4, 4, 12, 12), 1)]), [found([(4, 4, 12, 12)], [0.9], [2])])
    assert point.categories["cup"] == Counts(0, 0, 1, 0.0)
    assert point.categories["car"] == Counts(0, 1, 0, 0.0)


def test_masks_decide_where_there_are_masks() -> None:
    dataset = dataset_of([annotation((0, 0, 20, 20))])
    frame = square_bits((0, 0, 20, 20)) & ~square_bits((4, 4, 20, 20))
    own = found([(0, 0, 20, 20)], [0.9], [1])
    own.masks = [rle.encode(frame)]
    by_mask = operating_point(dataset, [own])
    own.masks = None
    by_box = operating_point(dataset, [own])
    assert (by_mask.kind, by_mask.total.true_positives) == ("mask", 0)
    assert (by_box.kind, by_box.total.mean_iou) == ("box", 1.0)


def test_an_object_without_a_mask_is_neither_found_nor_missed_among_masks() -> None:
    dataset = dataset_of([annotation((0, 0, 20, 20), mask=False)], [annotation((0, 0, 9, 9))])
    point = operating_point(dataset, [found([(1, 1, 19, 19)], [0.9], [1]), found([(0, 0, 9, 9)], [0.9], [1])])
    assert point.images[0] == Counts()
    assert point.total == Counts(1, 0, 0, 1.0)


def test_equal_scores_are_matched_in_their_order() -> None:
    overlaps = np.array([[0.6, 0.0], [0.9, 0.55], [0.0, 0.0]])
    matches = match_by_score(overlaps, np.array([0.5, 0.5, 0.5]), np.zeros(2, bool), 0.5)
    assert matches.tolist() == [0, 1, UNMATCHED]
    crowd = match_by_score(overlaps, np.array([0.1, 0.9, 0.5]), np.array([True, False]), 0.5)
    assert crowd.tolist() == [LEFT_OUT, 1, UNMATCHED]


def test_categories_of_one_name_keep_their_own_counts() -> None:
    base = dataset_of([annotation((4, 4, 12, 12), 2)])
    dataset = Dataset("twins", (Category(1, "cup"), Category(2, "cup")), base.images)
    point = operating_point(dataset, [found([(4, 4, 12, 12)], [0.9], [2])])
    assert [counts.true_positives for counts in point.categories.values()] == [0, 1]


def test_worst_images_come_by_f1_then_errors_and_leave_out_the_good() -> None:
    box, other = (4, 4, 12, 12), (20, 20, 28, 28)
    dataset = dataset_of([annotation(box)], [annotation(box)], [annotation(box), annotation(other)], [annotation(box)])
    detections = [
        found([box], [0.9], [1]),
        found([], [], []),
        found([], [], []),
        found([box, other], [0.9, 0.8], [1, 1]),
    ]
    worst = worst_images(dataset, detections, 10)
    assert [(w.row, w.image_id, w.file_name) for w in worst] == [(2, 12, "2.png"), (1, 11, "1.png"), (3, 13, "3.png")]
    assert worst[0].counts.errors == 2
    assert len(worst_images(dataset, detections, 1)) == 1
