"""Tests of the predictor with a stub in the network's place: sizes, padding, batches and the way back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest

from maskrcnn.data import rle
from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.data.resize import RULES, resized_size
from maskrcnn.data.transforms import sample_bitmap
from maskrcnn.errors import UserError
from maskrcnn.evaluation.coco import evaluate
from maskrcnn.prediction.predictor import Predictor, schema_from_dict
from maskrcnn.structures import COCO_PERSON, Conventions, DetectorSettings

SIZES = [(300, 500), (217, 333), (411, 190)]
SHORT_SIDE, LONG_SIDE = 101, 250


class StubDetector:
    """Returns what it was given, padded to one number of detections, and keeps the shapes it was called with."""

    def __init__(self, found: list[dict[str, np.ndarray]], **conventions: Any) -> None:
        self.settings = DetectorSettings(conventions=Conventions(**conventions))
        self.metadata = {
            "categories": [{"id": 3, "name": "person"}, {"id": 7, "name": "bus"}],
            "schema": dataclasses.asdict(COCO_PERSON),
            "image": {"short_side": SHORT_SIDE, "long_side": LONG_SIDE},
        }
        self.found = found

    def __call__(self, batch: dict[str, Any], training: bool) -> dict[str, Any]:
        assert training is False
        slots = max(len(f["labels"]) for f in self.found) + 2
        keys = self.found[0]
        outputs = {}
        for key in keys:
            padded = np.zeros((len(self.found), slots, *keys[key].shape[1:]), keys[key].dtype)
            for row, found in zip(padded, self.found):
                row[: len(found[key])] = found[key]
            outputs[key] = keras.ops.convert_to_tensor(padded)
        return outputs


def detection(boxes: list[list[float]], scores: list[float], labels: list[int], **more: np.ndarray) -> dict[str, Any]:
    parts = {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "scores": np.array(scores, np.float32)}
    return {**parts, "labels": np.array(labels, np.int32), **more}


def images_of(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    return [np.full((*size, 3), 90, np.uint8) for size in sizes]


def ground_truth(folder: Path) -> Dataset:
    """Images of different shapes, each with five blobs whose boxes have fractional corners."""
    rng = np.random.default_rng(0)
    records = []
    for i, (height, width) in enumerate(SIZES):
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))
        annotations = []
        for k in range(5):
            bitmap = np.zeros((height, width), np.uint8)
            centre, axes = rng.uniform(60, [width - 60, height - 60]), rng.uniform(25, 50, 2)
            cv2.ellipse(bitmap, tuple(centre.astype(int)), tuple(axes.astype(int)), rng.uniform(0, 180), 0, 360, 1, -1)
            code = rle.encode(bitmap)
            x1, y1, x2, y2 = rle.bounds(code)
            box = (x1 - 0.3, y1 - 0.4, x2 + 0.2, y2 + 0.1)
            annotations.append(Annotation(10 * i + k + 1, 1 + k % 2, box, float(bitmap.sum()), False, code))
        records.append(ImageRecord(i + 1, path.name, str(path), height, width, tuple(annotations)))
    return Dataset("truth", (Category(3, "person"), Category(7, "bus")), tuple(records))


def as_network_output(record: ImageRecord, rule: str) -> dict[str, np.ndarray]:
    """The ground truth of an image as a perfect network would put it: in pixels of the resized image."""
    height, width = resized_size(record.height, record.width, SHORT_SIDE, LONG_SIDE, rule)
    scale = np.array([width / record.width, height / record.height] * 2)
    boxes = np.array([a.box for a in record.annotations])
    masks = []
    for annotation in record.annotations:
        bitmap = rle.segmentation_to_bitmap(annotation.segmentation, record.height, record.width)
        window = np.array([0, 0, record.width, record.height], np.float64)
        masks.append(sample_bitmap(bitmap, window, np.array(annotation.box), 56))
    scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)
    labels = np.array([a.label for a in record.annotations], np.int32)
    return {
        "boxes": (boxes * scale).astype(np.float32),
        "scores": scores,
        "labels": labels,
        "masks": np.stack(masks).astype(np.float32),
    }


@pytest.mark.parametrize("rule", RULES)
def test_the_ground_truth_as_prediction_is_perfect_at_fractional_scales(tmp_path: Path, rule: str) -> None:
    # PAPER §6 rows 9 and 13.
    dataset = ground_truth(tmp_path)
    found = [as_network_output(record, rule) for record in dataset.images]
    images = images_of(SIZES)
    detections = Predictor(StubDetector(found, resize=rule)).predict_images(images)
    metrics = evaluate(dataset, detections, ["bbox", "segm"]).metrics
    assert metrics["box/AP"] == pytest.approx(1.0)
    assert metrics["mask/AP"] >= 0.98


def test_boxes_come_back_in_original_pixels_clipped_and_sorted() -> None:
    # 300 x 500 is resized to 101 x 168: the axes have different factors.
    boxes = [[16.8, 10.1, 84, 50.5], [-3, 0, 170, 102], [50, 50, 50, 60]]
    stub = StubDetector([detection(boxes, [0.5, 0.8, 0.9], [1, 2, 1])])
    found = Predictor(stub).predict_images(images_of([(300, 500)]))[0]
    np.testing.assert_allclose(found.boxes, [[0, 0, 500, 300], [50, 30, 250, 150]], atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.8, 0.5])
    assert found.labels.tolist() == [2, 1]
    assert (found.height, found.width) == (300, 500)
    assert found.masks is None
    assert found.keypoints is None


def test_padding_rows_and_empty_results_give_no_detections() -> None:
    stub = StubDetector([detection([], [], [], masks=np.zeros((0, 28, 28), np.float32))])
    found = Predictor(stub).predict_images(images_of([(40, 60)]))[0]
    assert len(found) == 0
    assert found.masks == []
    assert found.bool_masks().shape == (0, 40, 60)


def test_keypoints_come_back_in_original_pixels() -> None:
    logits = np.zeros((1, 56, 56, 17), np.float32)
    logits[0, 28, 14] = 20
    boxes = [[16.5, 10.25, 72.5, 66.25]]
    stub = StubDetector([detection(boxes, [0.9], [1], keypoint_logits=logits)])
    found = Predictor(stub).predict_images(images_of([(300, 500)]))[0]
    assert found.keypoints.shape == (1, 17, 3)
    # The box is 56 pixels wide at the input, so cells are pixels there; the middle of cell (28, 14) is the joint.
    want = [(16.5 + 14.5) * 500 / 168, (10.25 + 28.5) * 300 / 101]
    np.testing.assert_allclose(found.keypoints[0, :, :2], [want] * 17, atol=0.05)


def recorded(predictor: Predictor) -> list[tuple[int, ...]]:
    """Shapes of the images that go into the predictor's network from now on."""
    shapes: list[tuple[int, ...]] = []
    network = predictor._network

    def record(images: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
        shapes.append(images.shape)
        return {name: value[:1].repeat(len(images), 0) for name, value in network(images, sizes).items()}

    predictor._network = record
    return shapes


def test_images_are_batched_in_order_and_padded_to_the_largest() -> None:
    stub = StubDetector([detection([[1, 1, 9, 9]], [0.5], [1])])
    predictor = Predictor(stub, batch_size=2)
    shapes = recorded(predictor)
    assert len(predictor.predict_images(images_of([(101, 101), (202, 101), (101, 202)]))) == 3
    assert shapes == [(2, 224, 128, 3), (1, 128, 224, 3)]


def test_another_padding_multiple_can_be_asked_for() -> None:
    predictor = Predictor(StubDetector([detection([[1, 1, 9, 9]], [0.5], [1])]), pad_multiple=100)
    shapes = recorded(predictor)
    predictor.predict_images(images_of([(101, 150)]))
    assert shapes == [(1, 200, 200, 3)]


@pytest.mark.parametrize(("rule", "batches"), [("torchvision", 1), ("opencv", 3)])
def test_under_the_torchvision_rule_all_images_of_a_call_form_one_batch(rule: str, batches: int) -> None:
    predictor = Predictor(StubDetector([detection([[1, 1, 9, 9]], [0.5], [1])], resize=rule), batch_size=1)
    shapes = recorded(predictor)
    predictor.predict_images(images_of([(50, 50)] * 3))
    assert len(shapes) == batches


def test_without_a_padding_multiple_batches_have_the_largest_size_alone() -> None:
    predictor = Predictor(StubDetector([detection([[1, 1, 9, 9]], [0.5], [1])], pad_multiple=0))
    shapes = recorded(predictor)
    predictor.predict_images(images_of([(101, 150), (130, 101)]))
    assert shapes == [(2, 130, 150, 3)]


def test_no_images_give_no_detections() -> None:
    assert Predictor(StubDetector([detection([], [], [])])).predict_images([]) == []


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8, found float32"),
        (np.zeros((4, 4), np.uint8), "found \\[4, 4\\]"),
        (np.zeros((4, 4, 4), np.uint8), "found \\[4, 4, 4\\]"),
        (np.zeros((0, 4, 3), np.uint8), "found \\[0, 4, 3\\]"),
        ("a.png", "found str"),
    ],
)
def test_what_is_no_rgb_image_is_refused_with_its_position(image: Any, words: str) -> None:
    predictor = Predictor(StubDetector([detection([], [], [])]))
    with pytest.raises(UserError, match=f"image 1: .*{words}"):
        predictor.predict_images([np.zeros((4, 4, 3), np.uint8), image])


def test_files_are_read_in_order_and_a_missing_one_is_named(tmp_path: Path) -> None:
    dataset = ground_truth(tmp_path)
    predictor = Predictor(StubDetector([detection([[1, 1, 9, 9]], [0.5], [1])]), batch_size=1)
    paths = [record.path for record in dataset.images]
    sizes = [(found.height, found.width) for found in predictor.predict_files(paths)]
    assert sizes == SIZES
    with pytest.raises(UserError, match=r"none\.png"):
        list(predictor.predict_files([*paths, tmp_path / "none.png"]))


def test_a_data_set_is_predicted_in_its_own_order(tmp_path: Path) -> None:
    dataset = ground_truth(tmp_path)
    calls: list[None] = []
    predictor = Predictor(StubDetector([detection([[1, 1, 9, 9]], [0.5], [1])]), batch_size=2)
    recorded(predictor)
    found = predictor.predict_dataset(dataset, on_image=lambda: calls.append(None))
    assert [(d.height, d.width) for d in found] == SIZES
    assert len(calls) == 3


def test_an_image_of_another_size_than_annotated_is_refused(tmp_path: Path) -> None:
    dataset = ground_truth(tmp_path)
    cv2.imwrite(dataset.images[0].path, np.zeros((30, 50, 3), np.uint8))
    predictor = Predictor(StubDetector([detection([[1, 1, 9, 9]], [0.5], [1])]), batch_size=1)
    with pytest.raises(UserError, match="50x30 pixels, annotated as 500x300"):
        predictor.predict_dataset(dataset)


def test_what_travels_with_the_model_is_at_hand() -> None:
    predictor = Predictor(StubDetector([detection([], [], [])]))
    assert predictor.category_names == ["person", "bus"]
    assert predictor.schema == COCO_PERSON
    assert (predictor.image.short_side, predictor.image.long_side) == (SHORT_SIDE, LONG_SIDE)


def test_joints_that_no_one_has_named_are_numbered() -> None:
    detector = StubDetector([detection([], [], [])])
    detector.metadata["schema"] = None
    assert Predictor(detector).schema is None
    detector.num_keypoints = 2
    assert Predictor(detector).schema.names == ("joint 1", "joint 2")


@pytest.mark.parametrize("offset", [0.5, 0.0])
def test_detections_say_where_their_network_counts_the_first_pixel(offset: float) -> None:
    maps = {"keypoint_logits": np.zeros((1, 8, 8, 2), np.float32)}
    detector = StubDetector([detection([[1, 1, 9, 9]], [0.5], [1], **maps)], keypoint_offset=offset)
    (found,) = Predictor(detector).predict_images(images_of([(50, 50)]))
    assert found.keypoint_offset == offset


def test_a_schema_survives_plain_json() -> None:
    import json

    part = COCO_PERSON.select([0, 15, 16])
    assert schema_from_dict(json.loads(json.dumps(dataclasses.asdict(part)))) == part
    assert schema_from_dict(None) is None


def test_the_time_of_each_stage_is_kept() -> None:
    predictor = Predictor(StubDetector([detection([[1, 1, 9, 9]], [0.5], [1])]))
    predictor.predict_images(images_of([(50, 50)]))
    assert predictor.timings.images == 1
    assert min(predictor.timings.resize_s, predictor.timings.network_s, predictor.timings.paste_s) > 0
    predictor.timings.reset()
    assert dataclasses.astuple(predictor.timings) == (0, 0.0, 0.0, 0.0, 0.0)
