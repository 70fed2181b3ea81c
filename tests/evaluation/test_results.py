"""COCO results lists: written, read back, and refused where they would give a silent wrong number."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from maskrcnn.data import rle
from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Category, Dataset, ImageRecord
from maskrcnn.errors import UserError
from maskrcnn.evaluation.results import check_detections, from_coco_results, to_coco_results
from maskrcnn.structures import KeypointSchema

KINDS = ("bbox", "segm", "keypoints")


def dataset() -> Dataset:
    images = (ImageRecord(42, "a.png", "", 20, 30), ImageRecord(2**40, "b.png", "", 8, 8))
    schema = KeypointSchema(("left_hand", "right_hand"), sigmas=(0.1, 0.1))
    return Dataset("pair", (Category(3, "cup"), Category(90, "person")), images, schema)


def detections() -> list[Detections]:
    bits = np.zeros((20, 30), bool)
    bits[2:7, 3:9] = True
    one = Detections(
        boxes=np.array([[3, 2, 9, 7], [0.5, 0.25, 30, 20]], np.float32),
        scores=np.array([0.75, 0.5], np.float32),
        labels=np.array([2, 1], np.int32),
        masks=[rle.encode(bits), rle.encode(~bits)],
        keypoints=np.array([[[4.5, 3.5, 0.9], [8.5, 6.5, 0.1]]] * 2, np.float32),
        height=20,
        width=30,
    )
    return [one, Detections.empty(8, 8, masks=True, num_keypoints=2)]


def test_results_have_the_data_sets_ids_and_coco_boxes() -> None:
    results = to_coco_results(dataset(), detections(), "bbox")
    assert [(r["image_id"], r["category_id"], r["bbox"], r["score"]) for r in results] == [
        (42, 90, [3.0, 2.0, 6.0, 5.0], 0.75),
        (42, 3, [0.5, 0.25, 29.5, 19.75], 0.5),
    ]


def test_mask_and_keypoint_results_carry_no_box() -> None:
    for kind in ("segm", "keypoints"):
        assert all("bbox" not in entry for entry in to_coco_results(dataset(), detections(), kind))


def test_keypoints_are_written_as_pixel_indices() -> None:
    assert to_coco_results(dataset(), detections(), "keypoints")[0]["keypoints"] == pytest.approx(
        [4.0, 3.0, 0.9, 8.0, 6.0, 0.1]
    )


def test_keypoints_of_detectors_that_count_pixel_indices_are_written_as_they_are() -> None:
    raw = [replace(found, keypoint_offset=0.0) for found in detections()]
    assert to_coco_results(dataset(), raw, "keypoints")[0]["keypoints"] == pytest.approx([4.5, 3.5, 0.9, 8.5, 6.5, 0.1])


@pytest.mark.parametrize("kind", KINDS)
def test_results_survive_json_and_come_back(kind: str) -> None:
    given = detections()
    back = from_coco_results(dataset(), json.loads(json.dumps(to_coco_results(dataset(), given, kind))))
    assert [len(found) for found in back] == [2, 0]
    np.testing.assert_array_equal(back[0].scores, given[0].scores)
    np.testing.assert_array_equal(back[0].labels, given[0].labels)
    if kind == "bbox":
        np.testing.assert_array_equal(back[0].boxes, given[0].boxes)
    elif kind == "segm":
        np.testing.assert_array_equal(back[0].bool_masks(), given[0].bool_masks())
        np.testing.assert_array_equal(back[0].boxes[0], [3, 2, 9, 7])
    else:
        np.testing.assert_allclose(back[0].keypoints, given[0].keypoints, atol=1e-6)


def test_no_results_are_empty_detections_of_every_kind() -> None:
    back = from_coco_results(dataset(), [])
    assert [len(found) for found in back] == [0, 0]
    check_detections(dataset(), back, KINDS)


def test_equal_scores_keep_their_order() -> None:
    entries = [{"image_id": 42, "category_id": 3, "bbox": [k, 0, 1, 1], "score": 0.5} for k in range(5)]
    assert from_coco_results(dataset(), entries)[0].boxes[:, 0].tolist() == [0, 1, 2, 3, 4]


BAD_RESULTS: list[tuple[dict[str, Any], str]] = [
    ({"image_id": 7}, "image_id 7"),
    ({"image_id": [42]}, "image_id"),
    ({"image_id": None}, "image_id"),
    ({"category_id": 1}, "category_id 1"),
    ({"score": float("nan")}, "score"),
    ({"score": None}, "score"),
    ({"score": True}, "score"),
    ({"bbox": [1, 2, 3]}, "4 finite numbers"),
    ({"bbox": [1, 2, float("inf"), 4]}, "4 finite numbers"),
    ({"bbox": ["a", 2, 3, 4]}, "4 finite numbers"),
    ({"segmentation": [[1, 2, 3, 4, 5, 6]]}, "run-length"),
    ({"segmentation": {"size": [20, 30], "counts": [1, 2]}}, "expected 20 x 30"),
    ({"segmentation": {"size": [30, 20], "counts": [600]}}, "size"),
    ({"keypoints": [1, 2, 3]}, "6 finite numbers"),
]


@pytest.mark.parametrize(("change", "message"), BAD_RESULTS)
def test_a_bad_result_is_refused_with_its_number(change: dict[str, Any], message: str) -> None:
    good = {"image_id": 42, "category_id": 3, "bbox": [0, 0, 5, 5], "score": 0.5}
    with pytest.raises(UserError, match=r"found\.json: result 1") as caught:
        from_coco_results(dataset(), [good, {**good, **change}], "found.json")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_result_without_any_shape_is_refused() -> None:
    with pytest.raises(UserError, match="neither bbox"):
        from_coco_results(dataset(), [{"image_id": 42, "category_id": 3, "score": 0.5}])


def _with(**changes: Any) -> list[Detections]:
    first, second = detections()
    return [replace(first, **changes), second]


BAD_DETECTIONS: list[tuple[list[Detections], str]] = [
    (detections()[:1], "1 images"),
    (_with(height=30, width=20), "20 x 30"),
    (_with(scores=np.array([0.5, np.nan])), "score"),
    (_with(boxes=np.full((2, 4), np.inf)), "box"),
    (_with(boxes=np.zeros((1, 4))), "boxes"),
    (_with(labels=np.array([0, 1])), "expected 1…2"),
    (_with(labels=np.array([1, 3])), "expected 1…2"),
    (_with(masks=None), "no masks"),
    (_with(masks=[rle.encode(np.ones((30, 20)))] * 2), "size"),
    (_with(masks=[]), "0 masks"),
    (_with(keypoints=None), "no keypoints"),
    (_with(keypoints=np.zeros((2, 3, 3))), "shape"),
    (_with(keypoints=np.full((2, 2, 3), np.nan)), "keypoint"),
]


@pytest.mark.parametrize(("found", "message"), BAD_DETECTIONS)
def test_detections_that_do_not_fit_are_refused(found: list[Detections], message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_detections(dataset(), found, KINDS)
    assert message in str(caught.value)


def test_keypoints_of_a_data_set_without_any_are_refused() -> None:
    with pytest.raises(UserError, match="no keypoints"):
        check_detections(replace(dataset(), schema=None), detections(), ("keypoints",))


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="bbox, segm, keypoints"):
        check_detections(dataset(), detections(), ("mask",))


def multitask() -> Dataset:
    """Persons with two joints beside cups that have none."""
    schema = KeypointSchema(("head", "tail"), sigmas=(0.1, 0.1))
    categories = (Category(3, "person", keypoints=schema.names), Category(8, "cup"))
    return Dataset("both", categories, (ImageRecord(1, "a.png", "", 50, 60),), schema)


def person_and_cup() -> Detections:
    keypoints = np.array([[[0, 0, 0], [0, 0, 0]], [[3.5, 4.5, 0.9], [7.5, 8.5, 0.8]]], np.float32)
    boxes = np.array([[1, 1, 9, 9], [2, 3, 20, 30]], np.float32)
    return Detections(boxes, np.array([0.9, 0.8], np.float32), np.array([2, 1], np.int32), None, keypoints, 50, 60)


def test_keypoint_results_are_of_categories_with_joints_alone() -> None:
    (entry,) = to_coco_results(multitask(), [person_and_cup()], "keypoints")
    assert entry["category_id"] == 3
    assert entry["keypoints"] == pytest.approx([3, 4, 0.9, 7, 8, 0.8])


def test_results_of_objects_without_joints_read_back_as_zeros() -> None:
    boxes = to_coco_results(multitask(), [person_and_cup()], "bbox")
    (joints,) = to_coco_results(multitask(), [person_and_cup()], "keypoints")
    boxes[1].update(joints)
    (back,) = from_coco_results(multitask(), boxes)
    assert back.keypoints is not None
    np.testing.assert_allclose(back.keypoints, person_and_cup().keypoints, atol=1e-6)
