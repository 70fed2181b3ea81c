"""PCK and mean OKS of each joint, against loops and against pycocotools' own OKS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval

from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.errors import UserError
from maskrcnn.evaluation.joints import JointTable, judge_joints, worst_poses
from maskrcnn.structures import KeypointSchema

FACE = KeypointSchema(
    ("nose", "left_eye", "right_eye"), flip_pairs=((1, 2),), skeleton=((0, 1), (0, 2)), sigmas=(0.026, 0.05, 0.1)
)
SIDE = 200
BOX = (20.0, 30.0, 80.0, 130.0)
"""100 pixels high: a joint is right within 10 pixels."""
PLACES = np.array([[50.0, 50.0, 2], [70.0, 40.0, 2], [30.0, 40.0, 1]], np.float32)


def person(shift: float = 0.0, joints: np.ndarray | None = PLACES, **changes: object) -> Annotation:
    x1, y1, x2, y2 = BOX
    moved = None if joints is None else (joints + [shift, 0, 0] * (joints[:, 2:] > 0)).astype(np.float32)
    whole = Annotation(1, 1, (x1 + shift, y1, x2 + shift, y2), 2500.0, False, None, moved)
    return replace(whole, **changes)  # type: ignore[arg-type]


def dataset_of(*images: Sequence[Annotation], schema: KeypointSchema = FACE) -> Dataset:
    records = tuple(ImageRecord(k + 1, f"{k}.png", "", SIDE, SIDE, tuple(own)) for k, own in enumerate(images))
    categories = (Category(1, "person", keypoints=schema.names), Category(3, "cup"))
    return Dataset("faces", categories, records, schema)


def found(persons: Sequence[Annotation], scores: Sequence[float] | None = None, joints: int = 3) -> Detections:
    """Detections exactly on these persons; joints are continuous: half a pixel beyond the file's."""
    places = np.zeros((len(persons), joints, 3), np.float32)
    for row, one in enumerate(persons):
        if one.keypoints is not None:
            places[row] = one.keypoints
            places[row, :, :2] += 0.5
    return Detections(
        np.array([p.box for p in persons], np.float32).reshape(-1, 4),
        np.array(scores if scores is not None else [0.9] * len(persons), np.float32),
        np.array([p.label for p in persons], np.int32),
        None,
        places,
        SIDE,
        SIDE,
    )


def moved(detections: Detections, joint: int, x: float, y: float) -> Detections:
    keypoints = np.array(detections.keypoints)
    keypoints[:, joint, :2] += (x, y)
    return replace(detections, keypoints=keypoints)


def figures(table: JointTable, name: str) -> list[float | None]:
    return [getattr(joint, name) for joint in table.joints]


def test_exact_joints_are_all_correct_with_an_oks_of_one() -> None:
    table = judge_joints(dataset_of([person()]), [found([person()])])
    assert figures(table, "pck") == [1.0, 1.0, 1.0]
    assert figures(table, "oks") == pytest.approx([1.0, 1.0, 1.0])
    assert (table.persons, table.found, table.pck, table.oks) == (1, 1, 1.0, pytest.approx(1.0))


@pytest.mark.parametrize(("distance", "correct"), [(9.9, 1.0), (10.1, 0.0)])
def test_a_joint_is_right_within_a_tenth_of_the_longer_side(distance: float, correct: float) -> None:
    table = judge_joints(dataset_of([person()]), [moved(found([person()]), 0, 0, distance)])
    assert figures(table, "pck") == [correct, 1.0, 1.0]


def test_mean_oks_is_the_term_of_cocos_own_oks() -> None:
    """A person whose only labelled joint is the moved one has that joint's term as its OKS in pycocotools."""
    joints = PLACES * (np.arange(3) == 1)[:, None]
    truth = person(joints=joints)
    detections = moved(found([truth]), 1, 3, 4)
    judge = COCOeval(iouType="keypoints")
    judge.params.kpt_oks_sigmas = np.array(FACE.sigmas)
    assert detections.keypoints is not None
    flat = (detections.keypoints[0] - [0.5, 0.5, 0]).reshape(-1).tolist()
    x1, y1, x2, y2 = truth.box
    box = [x1, y1, x2 - x1, y2 - y1]
    gt = {"keypoints": joints.reshape(-1).tolist(), "area": truth.area, "bbox": box, "num_keypoints": 1}
    judge._gts[1, 1] = [{**gt, "ignore": 0, "iscrowd": 0}]
    judge._dts[1, 1] = [{"keypoints": flat, "score": 0.9}]
    expected = float(judge.computeOks(1, 1)[0, 0])
    assert 0.1 < expected < 0.9
    assert judge_joints(dataset_of([truth]), [detections]).joints[1].oks == pytest.approx(expected, rel=1e-5)


def test_a_left_eye_on_the_right_one_is_swapped_and_one_beside_both_is_not() -> None:
    swapped = moved(found([person()]), 1, -40, 0)
    beside = moved(found([person()]), 1, 0, 60)
    assert figures(judge_joints(dataset_of([person()]), [swapped]), "swapped") == [0, 1, 0]
    assert figures(judge_joints(dataset_of([person()]), [beside]), "swapped") == [0, 0, 0]


def test_unlabelled_joints_are_not_judged() -> None:
    truth = person(joints=PLACES * [[1], [0], [1]])
    table = judge_joints(dataset_of([truth]), [moved(found([truth]), 1, 100, 100)])
    assert figures(table, "labelled") == [1, 0, 1]
    assert figures(table, "pck") == [1.0, None, 1.0]
    assert table.pck == 1.0


def test_a_person_that_was_not_found_lowers_found_and_nothing_else() -> None:
    far = person(shift=100.0)
    table = judge_joints(dataset_of([person(), far]), [found([person()])])
    assert (table.persons, table.found) == (2, 1)
    assert figures(table, "found") == [0.5] * 3
    assert figures(table, "pck") == [1.0] * 3


def test_the_highest_score_takes_a_person_and_its_joints_are_judged() -> None:
    good, bad = found([person()], [0.4]), moved(found([person()], [0.8]), 0, 50, 50)
    both = replace(
        good,
        boxes=np.concatenate([bad.boxes, good.boxes]),
        scores=np.array([0.8, 0.4], np.float32),
        labels=np.array([1, 1], np.int32),
        keypoints=np.concatenate([bad.keypoints, good.keypoints]),  # type: ignore[list-item]
    )
    assert figures(judge_joints(dataset_of([person()]), [both]), "pck") == [0.0, 1.0, 1.0]


def test_crowds_other_categories_and_persons_without_joints_are_left_out() -> None:
    cup = person(shift=100.0, joints=None, label=2)
    crowd = person(shift=60.0, is_crowd=True)
    bare = person(shift=110.0, joints=None)
    images = [person(), crowd, cup, bare]
    table = judge_joints(dataset_of(images), [found([person(), cup, bare])])
    assert (table.persons, table.found) == (1, 1)
    assert figures(table, "labelled") == [1, 1, 1]


def test_no_persons_and_no_detections_give_undefined_figures() -> None:
    table = judge_joints(dataset_of([]), [Detections.empty(SIDE, SIDE, num_keypoints=3)])
    assert (table.pck, table.oks) == (None, None)
    assert table.table()[1][-1] == ["mean of 3", 0, None, None, None, None]
    missed = judge_joints(dataset_of([person()]), [Detections.empty(SIDE, SIDE, num_keypoints=3)])
    assert figures(missed, "found") == [0.0] * 3
    assert missed.pck is None


def test_a_subset_of_joints_is_judged_like_those_joints_of_the_whole() -> None:
    whole = dataset_of([person()])
    subset = replace(whole, schema=FACE.select([2, 0]))
    detections = moved(moved(found([person()]), 2, 5, 0), 0, 0, 30)
    part = replace(detections, keypoints=detections.keypoints[:, [2, 0]])  # type: ignore[index]
    expected = {joint.name: joint for joint in judge_joints(whole, [detections]).joints}
    judged = {joint.name: joint for joint in judge_joints(subset, [part]).joints}
    # the partner is not in the subset, so that nothing can be taken for it
    assert judged == {name: replace(expected[name], swapped=0) for name in ("right_eye", "nose")}


def test_detections_without_keypoints_are_refused() -> None:
    with pytest.raises(UserError, match="no keypoints"):
        judge_joints(dataset_of([person()]), [replace(found([person()]), keypoints=None)])


def test_worst_poses_come_first_and_images_without_a_found_person_not_at_all() -> None:
    good, bad, worse = found([person()]), moved(found([person()]), 0, 8, 0), moved(found([person()]), 2, 90, 90)
    missed = Detections.empty(SIDE, SIDE, num_keypoints=3)
    dataset = dataset_of(*[[person()]] * 4, [])
    assert worst_poses(dataset, [good, bad, missed, worse, missed], 9) == [3, 1, 0]
    assert worst_poses(dataset, [good, bad, missed, worse, missed], 1) == [3]


def test_the_table_ends_with_the_mean_over_the_joints() -> None:
    header, rows = judge_joints(dataset_of([person()]), [moved(found([person()]), 0, 0, 50)]).table()
    assert header == ["joint", "labelled", "found", "PCK@0.1", "mean OKS", "left-right swapped"]
    assert [row[0] for row in rows] == ["nose", "left_eye", "right_eye", "mean of 3"]
    assert rows[-1][3] == pytest.approx(2 / 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 4))
def test_figures_agree_with_a_loop_over_persons(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    truth, pictures = [], []
    expected = np.zeros((3, 3))
    for _ in range(count):
        joints = PLACES.copy()
        joints[:, 2] = generator.integers(0, 3, 3)
        one = person(joints=joints * (joints[:, 2:] > 0))
        guess = found([one])
        offsets = generator.normal(0, 10, (3, 2))
        guess = replace(guess, keypoints=guess.keypoints + np.pad(offsets, ((0, 0), (0, 1))))  # type: ignore[operator]
        for k in range(3):
            if joints[k, 2] > 0:
                distance = math.hypot(*offsets[k])
                expected[:, k] += (
                    1,
                    distance <= 10.0,
                    math.exp(-(distance**2) / (2 * one.area * (2 * FACE.sigmas[k]) ** 2)),
                )
        truth.append([one])
        pictures.append(guess)
    table = judge_joints(dataset_of(*truth), pictures)
    assert figures(table, "judged") == expected[0].tolist()
    assert figures(table, "correct") == expected[1].tolist()
    assert figures(table, "oks_sum") == pytest.approx(expected[2].tolist(), rel=1e-4, abs=1e-6)
