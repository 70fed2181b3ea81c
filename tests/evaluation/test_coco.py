"""COCO figures against golden numbers of pycocotools 2.0.11 and in the cases where pycocotools alone goes wrong.

`golden/coco_eval.json` comes from `../shared/golden` (its README says how it was made): three small data sets with
detections and the figures of pycocotools 2.0.11; agreement 1e-9 (its notes), since it is the same arithmetic.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn.data import rle
from maskrcnn.data.coco import load_coco
from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.errors import UserError
from maskrcnn.evaluation.coco import KEYPOINT_FIGURES, OBJECT_FIGURES, evaluate
from maskrcnn.evaluation.results import from_coco_results, to_coco_results
from maskrcnn.structures import COCO_PERSON, KeypointSchema

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "coco_eval.json"
FIGURES = {
    "bbox": ("box", OBJECT_FIGURES),
    "segm": ("mask", OBJECT_FIGURES),
    "keypoints": ("keypoint", KEYPOINT_FIGURES),
}

# pycocotools adds the spacing of 1 to each denominator, so that perfect is 1 - 2e-16.
ONE = pytest.approx(1.0, abs=1e-12)


@cache
def golden() -> dict[str, Any]:
    return json.loads(GOLDEN.read_text())


def golden_dataset(name: str, sigmas: tuple[float, ...] = COCO_PERSON.sigmas) -> Dataset:
    """The golden COCO dict as records, by a reader of this test's own."""
    source = golden()["datasets"][name]
    labels = {category["id"]: k for k, category in enumerate(source["categories"], start=1)}
    names = tuple(source["categories"][0].get("keypoints", ()))
    annotations: dict[int, list[Annotation]] = {}
    for item in source["annotations"]:
        x, y, width, height = item["bbox"]
        annotations.setdefault(item["image_id"], []).append(
            Annotation(
                id=item["id"],
                label=labels[item["category_id"]],
                box=(x, y, x + width, y + height),
                area=item["area"],
                is_crowd=bool(item["iscrowd"]),
                segmentation=segmentation_of(item.get("segmentation")),
                keypoints=np.array(item["keypoints"]).reshape(-1, 3) if "keypoints" in item else None,
            )
        )
    return Dataset(
        name=name,
        categories=tuple(Category(c["id"], c["name"]) for c in source["categories"]),
        images=tuple(
            ImageRecord(i["id"], i["file_name"], "", i["height"], i["width"], tuple(annotations.get(i["id"], ())))
            for i in source["images"]
        ),
        schema=KeypointSchema(names, sigmas=sigmas) if names else None,
    )


def segmentation_of(value: Any) -> Any:
    return tuple(np.array(polygon) for polygon in value) if isinstance(value, list) else value


def truth_as_detections(dataset: Dataset) -> list[Detections]:
    """The ground truth as a perfect detector's output; crowds and persons without a labelled joint left out."""
    found = []
    for image in dataset.images:
        own = [a for a in image.annotations if not a.is_crowd and (a.keypoints is None or a.keypoints[:, 2].any())]
        size = (image.height, image.width)
        joints = None
        if dataset.schema:
            joints = np.array([a.keypoints for a in own], np.float32).reshape(-1, len(dataset.schema), 3)
            joints[..., :2] += 0.5
        found.append(
            Detections(
                boxes=np.array([a.box for a in own], np.float32).reshape(-1, 4),
                scores=np.ones(len(own), np.float32),
                labels=np.array([a.label for a in own], np.int32),
                masks=[rle.segmentation_to_rle(a.segmentation, *size) for a in own if a.segmentation is not None],
                keypoints=joints,
                height=size[0],
                width=size[1],
            )
        )
    return found


def none_found(dataset: Dataset) -> list[Detections]:
    joints = len(dataset.schema) if dataset.schema else 0
    return [Detections.empty(i.height, i.width, masks=True, num_keypoints=joints) for i in dataset.images]


def two_squares(**changes: Any) -> Dataset:
    """One image with a square of category 7 of three categories, id 0 as annotation id."""
    square = Annotation(0, 2, (10.0, 10.0, 50.0, 50.0), 1600.0, False, (np.array([10.0, 10, 50, 10, 50, 50, 10, 50]),))
    categories = (Category(3, "cup"), Category(7, "car"), Category(90, "dog"))
    images = (ImageRecord(0, "a.png", "", 80, 100, (replace(square, **changes),)), ImageRecord(5, "b.png", "", 60, 60))
    return Dataset("squares", categories, images)


GOLDEN_RUNS = [
    ("instances", "bbox", "instances"),
    ("instances", "segm", "instances"),
    ("keypoints17", "keypoints", "keypoints17"),
    ("keypoints5", "keypoints", "keypoints5"),
]


def expected(name: str, kind: str) -> dict[str, Any]:
    """The golden entry with COCO's own settings."""
    runs = golden()["expected"]
    return next(
        r for r in runs if r["dataset"] == name and r["iouType"] == kind and r["useCats"] == 1 and "quirk" not in r
    )


@pytest.mark.parametrize(("name", "kind", "found"), GOLDEN_RUNS)
def test_figures_are_those_of_the_golden_file(name: str, kind: str, found: str) -> None:
    wanted = expected(name, kind)
    dataset = golden_dataset(name, tuple(wanted.get("sigmas", COCO_PERSON.sigmas)))
    detections = from_coco_results(dataset, golden()["detections"][found])
    evaluation = evaluate(dataset, detections, (kind,))
    prefix, figures = FIGURES[kind]
    assert [evaluation.metrics[f"{prefix}/{figure}"] for figure in figures] == pytest.approx(wanted["stats"], abs=1e-9)
    rows = {row["id"]: row for row in evaluation.per_category}
    for entry in wanted["per_category"]:
        own = rows[entry["category_id"]]
        undefined = entry["ap"] < 0
        assert own[f"{prefix}/AP"] == (None if undefined else pytest.approx(entry["ap"], abs=1e-9))
        assert own[f"{prefix}/AP50"] == (None if undefined else pytest.approx(entry["ap50"], abs=1e-9))


@pytest.mark.parametrize(("name", "kind", "found"), GOLDEN_RUNS)
def test_curves_average_to_the_figures(name: str, kind: str, found: str) -> None:
    wanted = expected(name, kind)
    dataset = golden_dataset(name, tuple(wanted.get("sigmas", COCO_PERSON.sigmas)))
    evaluation = evaluate(dataset, from_coco_results(dataset, golden()["detections"][found]), (kind,))
    prefix = FIGURES[kind][0]
    curves = evaluation.curves[prefix]
    assert curves.mean.shape == (len(curves.categories), len(curves.recall)) == (len(curves.categories), 101)
    for figure, precision in (("AP", curves.mean), ("AP50", curves.at_50), ("AP75", curves.at_75)):
        assert precision.mean() == pytest.approx(evaluation.metrics[f"{prefix}/{figure}"], abs=1e-12)
    assert curves.at_50[0].tolist() == pytest.approx(wanted["precision_first_category_iou50"], abs=1e-9)


def test_several_kinds_at_once_give_the_figures_of_each_alone() -> None:
    dataset = golden_dataset("instances")
    detections = from_coco_results(dataset, golden()["detections"]["instances"])
    together = evaluate(dataset, detections, ("bbox", "segm"))
    alone = [evaluate(dataset, detections, (kind,)) for kind in ("segm", "bbox")]
    assert together.metrics == {**alone[0].metrics, **alone[1].metrics}


def test_ground_truth_as_prediction_scores_one() -> None:
    dataset = golden_dataset("instances")
    metrics = evaluate(dataset, truth_as_detections(dataset), ("bbox", "segm")).metrics
    assert [metrics[key] for key in ("box/AP", "box/APs", "box/APl", "mask/AP", "mask/AR100")] == [ONE] * 5
    persons = golden_dataset("keypoints17")
    assert evaluate(persons, truth_as_detections(persons), ("keypoints",)).metrics["keypoint/AP"] == ONE


def test_zero_detections_give_zero_and_a_sentence() -> None:
    dataset = golden_dataset("instances")
    evaluation = evaluate(dataset, none_found(dataset), ("bbox", "segm"))
    assert set(evaluation.metrics.values()) == {0.0}
    assert "no detection" in " ".join(evaluation.remarks)
    persons = golden_dataset("keypoints17")
    assert set(evaluate(persons, none_found(persons), ("keypoints",)).metrics.values()) == {0.0}


def test_empty_ground_truth_gives_undefined_figures() -> None:
    dataset = replace(two_squares(), images=(ImageRecord(1, "a.png", "", 80, 100),))
    found = Detections(np.ones((1, 4), np.float32), np.ones(1), np.ones(1, int), None, None, 80, 100)
    evaluation = evaluate(dataset, [found], ("bbox",))
    assert set(evaluation.metrics.values()) == {None}
    assert evaluation.curves == {}
    assert evaluation.per_category[0]["box/AP"] is None
    assert evaluation.per_category[0]["detections"] == 1


def test_a_data_set_without_images_is_undefined() -> None:
    assert set(evaluate(replace(two_squares(), images=()), [], ("bbox",)).metrics.values()) == {None}


def test_only_crowds_count_as_no_ground_truth() -> None:
    dataset = two_squares(is_crowd=True)
    assert set(evaluate(dataset, truth_as_detections(dataset), ("bbox", "segm")).metrics.values()) == {None}


def test_category_without_ground_truth_is_undefined_and_costs_nothing() -> None:
    dataset = two_squares()
    found = truth_as_detections(dataset)
    wrong = Detections(
        np.array([[0, 0, 9, 9]], np.float32), np.ones(1), np.ones(1, int), None, None, dataset.images[1].height, 60
    )
    evaluation = evaluate(dataset, [found[0], wrong], ("bbox",))
    by_name = {row["category"]: row for row in evaluation.per_category}
    assert by_name["cup"]["box/AP"] is None
    assert by_name["cup"]["detections"] == 1
    assert by_name["car"]["box/AP"] == ONE
    assert evaluation.metrics["box/AP"] == ONE
    assert evaluation.metrics["box/APs"] is None  # no small object


def test_annotation_id_zero_does_not_count_as_unmatched() -> None:
    dataset = two_squares()
    assert dataset.images[0].annotations[0].id == 0
    assert evaluate(dataset, truth_as_detections(dataset), ("bbox",)).metrics["box/AP"] == ONE


def test_an_object_without_segmentation_is_neither_right_nor_wrong_for_masks() -> None:
    dataset = golden_dataset("instances")
    full = evaluate(dataset, truth_as_detections(dataset), ("segm",))
    found = truth_as_detections(dataset)
    first = next(image for image in dataset.images if not image.annotations[0].is_crowd)
    bare = replace(first, annotations=(replace(first.annotations[0], segmentation=None), *first.annotations[1:]))
    partly = replace(dataset, images=tuple(bare if image is first else image for image in dataset.images))
    assert evaluate(partly, found, ("segm",)).metrics["mask/AP"] == full.metrics["mask/AP"] == ONE
    nothing = two_squares(segmentation=None)
    assert evaluate(nothing, none_found(nothing), ("segm",)).metrics["mask/AP"] is None


def test_a_subset_of_joints_is_judged_over_those_joints_alone() -> None:
    wanted = expected("keypoints17", "keypoints")
    whole = golden_dataset("keypoints17")
    assert whole.schema is not None
    rows = [0, 5, 6, 11, 12]
    part = replace(whole, schema=whole.schema.select(rows))
    found = [
        replace(d, keypoints=None if d.keypoints is None else d.keypoints[:, rows])
        for d in from_coco_results(whole, golden()["detections"]["keypoints17"])
    ]
    judged = evaluate(part, found, ("keypoints",)).metrics["keypoint/AP"]
    # The same five joints as a data set of its own, with num_keypoints counted anew.
    own = replace(
        whole,
        schema=KeypointSchema(tuple("abcde"), sigmas=part.schema.sigmas),
        images=tuple(
            replace(i, annotations=tuple(replace(a, keypoints=a.keypoints[rows]) for a in i.annotations))
            for i in whole.images
        ),
    )
    assert judged == evaluate(own, found, ("keypoints",)).metrics["keypoint/AP"]
    assert judged != pytest.approx(wanted["stats"][0], abs=1e-3)


def test_evaluation_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    dataset = two_squares()
    evaluate(dataset, truth_as_detections(dataset), ("bbox", "segm"))
    assert capsys.readouterr().out == ""


def test_evaluation_leaves_its_inputs_as_they_were() -> None:
    dataset = golden_dataset("instances")
    digest = dataset.digest
    detections = from_coco_results(dataset, golden()["detections"]["instances"])
    first = evaluate(dataset, detections, ("segm", "bbox")).metrics
    assert evaluate(dataset, detections, ("segm", "bbox")).metrics == first
    assert replace(dataset).digest == digest


def test_sigma_of_zero_is_refused() -> None:
    dataset = golden_dataset("keypoints17", (0.0, *COCO_PERSON.sigmas[1:]))
    with pytest.raises(UserError, match="positive"):
        evaluate(dataset, none_found(dataset), ("keypoints",))


def test_table_has_one_row_for_each_category() -> None:
    dataset = golden_dataset("instances")
    header, rows = evaluate(dataset, none_found(dataset), ("bbox", "segm")).table()
    assert header[:5] == ["category", "id", "ground_truth", "crowd", "detections"]
    assert header[5:] == ["box/AP", "box/AP50", "mask/AP", "mask/AP50"]
    assert len(rows) == dataset.num_classes
    objects = [a for image in dataset.images for a in image.annotations]
    assert sum(row[2] + row[3] for row in rows) == len(objects)


SHARED = Path(__file__).resolve().parents[2] / "../shared/data/coco"


@pytest.mark.parametrize(
    ("file", "head", "kind"), [("person_val.json", "keypoint", "keypoints"), ("instances_val.json", "mask", "segm")]
)
def test_figures_on_photos_are_those_of_pycocotools_on_the_file(
    file: str, head: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way (file, records, detections, results, figures) against pycocotools' own reader and loadRes."""
    if not SHARED.exists():
        pytest.skip("the photos of ../shared are not here")
    dataset, _ = load_coco(SHARED / file, SHARED / "images", head=head)
    generator = np.random.default_rng(0)
    found = []
    for perfect in truth_as_detections(dataset):
        rows = np.flatnonzero(generator.random(len(perfect)) < 0.8)
        noisy = perfect.take(rows)
        noisy.scores = np.round(generator.random(len(rows)), 2).astype(np.float32)
        if noisy.masks:
            noisy.masks = noisy.masks[1:] + noisy.masks[:1] if len(rows) % 3 == 0 else noisy.masks
        if noisy.keypoints is not None:
            noisy.keypoints[..., :2] += generator.normal(0, 4, noisy.keypoints[..., :2].shape)
        found.append(noisy.take(np.argsort(-noisy.scores, kind="stable")))
    truth = COCO(str(SHARED / file))
    judged = COCOeval(truth, truth.loadRes(to_coco_results(dataset, found, kind)), kind)
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    capsys.readouterr()
    prefix, figures = FIGURES[kind]
    metrics = evaluate(dataset, found, (kind,)).metrics
    assert 0.1 < judged.stats[0] < 0.9
    assert [metrics[f"{prefix}/{name}"] for name in figures] == pytest.approx(judged.stats.tolist(), abs=1e-9)
