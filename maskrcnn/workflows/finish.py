"""The end of a run: the test part's figures, tables and pictures, written, logged and printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.config.schema import Config
from maskrcnn.data.detections import Detections
from maskrcnn.data.images import read_record
from maskrcnn.data.joints import joints_sentence
from maskrcnn.data.records import Dataset
from maskrcnn.evaluation.coco import Evaluation, evaluate
from maskrcnn.evaluation.joints import JointTable, judge_joints, worst_poses
from maskrcnn.evaluation.operating_point import OperatingPoint, operating_point, rank_worst
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.tracking.pictures import write_image
from maskrcnn.tracking.read import MODELS
from maskrcnn.tracking.tracker import Tracker
from maskrcnn.visualization.figures import per_category_figure, precision_recall_figure
from maskrcnn.visualization.joint_figures import joints_figure
from maskrcnn.visualization.overlays import side_by_side
from maskrcnn.visualization.sheets import contact_sheet
from maskrcnn.visualization.tables import cell_text, text_table
from maskrcnn.workflows.datasets import Data
from maskrcnn.workflows.predictions import predict_dataset
from maskrcnn.workflows.report import write_run_report

WORST_IMAGES = 8
WORST, WORST_POSES = Path("figures", "worst_images.png"), Path("figures", "worst_poses.png")
SHOWN = ("box/AP", "box/AP50", "mask/AP", "mask/AP50", "keypoint/AP", "keypoint/AP50", "seconds/total")


@dataclass
class FinalFigures:
    """What the test part gave.

    Attributes:
        metrics: flat names → numbers, None where undefined.
        joints: figures of each joint, for a detector of keypoints.
        facts: further plain facts of the run.
    """

    metrics: dict[str, float | None]
    evaluation: Evaluation
    point: OperatingPoint
    detections: Sequence[Detections]
    joints: JointTable | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def final_figures(predictor: Predictor, test: Dataset, kinds: Sequence[str]) -> FinalFigures:
    """Detections on the test part and all figures of them."""
    detections = predict_dataset(predictor, test, "testing")
    evaluation = evaluate(test, detections, kinds)
    metrics, joints = dict(evaluation.metrics), None
    facts: dict[str, Any] = {}
    if "keypoints" in kinds:
        joints = judge_joints(test, detections)
        metrics |= {"keypoint/PCK": joints.pck, "keypoint/OKS": joints.oks}
        metrics |= boxes_with_joints(test, evaluation)
        assert test.schema is not None  # there are joints
        facts["joints"] = joints_sentence(test.schema, test.full_schema)
    return FinalFigures(metrics, evaluation, operating_point(test, detections), detections, joints, facts)


def boxes_with_joints(dataset: Dataset, evaluation: Evaluation) -> dict[str, float | None]:
    """`box/AP/person` and `box/AP50/person`: the boxes of the categories that have joints, beside the joints' figures.

    Where other categories are detected too, `box/AP` is a mean over all and does not compare.
    """
    rows = zip(dataset.categories, evaluation.per_category, strict=True)
    return {f"{name}/{c.name}": row[name] for c, row in rows if c.keypoints for name in ("box/AP", "box/AP50")}


def report_run(config: Config, data: Data, tracker: Tracker, figures: FinalFigures, folder: Path) -> None:
    """Write metrics.json, log tables, figures, the worst images and the model; print what a reader wants to see."""
    tracker.metrics(figures.metrics, int(figures.facts.get("steps", 0)))
    tracker.text("metrics.json", json.dumps({**figures.metrics, **figures.facts}, indent=1) + "\n")
    header, rows = figures.evaluation.table()
    tracker.table("per_category", header, rows)
    tracker.table("operating_point", *figures.point.table())
    if figures.joints is not None:
        tracker.tags({"joints": figures.facts["joints"]})
        _log_joints(data.test, figures.joints, tracker)
    tracker.figure("precision_recall", precision_recall_figure(figures.evaluation.curves))
    headline = str(figures.facts["headline"])
    tracker.figure(
        "per_category",
        per_category_figure({str(row["category"]): row.get(headline) for row in figures.evaluation.per_category}),
    )
    for path in _write_worst_images(config, data.test, figures, folder):
        tracker.artifact(path, "figures")
    tracker.artifact(folder / MODELS[0], "model")
    tracker.artifact(write_run_report(folder, ending=True))
    _print_summary(data, figures, tracker)


def _log_joints(test: Dataset, joints: JointTable, tracker: Tracker) -> None:
    assert test.schema is not None  # there are joints
    tracker.table("per_joint", *joints.table())
    columns = {
        "PCK@0.1": [joint.pck for joint in joints.joints],
        "mean OKS": [joint.oks for joint in joints.joints],
        "person found": [joint.found for joint in joints.joints],
    }
    title = f"Joints of the persons that were found ({joints.found} of {joints.persons})"
    tracker.figure("per_joint", joints_figure(columns, test.schema, title))


def _write_worst_images(config: Config, test: Dataset, figures: FinalFigures, folder: Path) -> list[Path]:
    """The images that went worst, in one picture; under a keypoint head those with the worst poses in another."""
    chosen = {WORST: [worst.row for worst in rank_worst(test, figures.point, WORST_IMAGES)]}
    if figures.joints is not None:
        chosen[WORST_POSES] = worst_poses(test, figures.detections, WORST_IMAGES)
    for path, rows in chosen.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        pictures = [_beside_truth(config, test, figures, row) for row in rows]
        write_image(folder / path, contact_sheet([pictures[k : k + 2] for k in range(0, len(pictures), 2)], cell=640))
    return [folder / path for path in chosen]


def _beside_truth(config: Config, test: Dataset, figures: FinalFigures, row: int) -> np.ndarray:
    """Ground truth beside prediction of one test image."""
    record = test.images[row]
    schema = test.schema if config.head.keypoints else None
    return side_by_side(
        read_record(record),
        record.annotations,
        figures.detections[row],
        test.category_names,
        schema=schema,
        min_score=config.evaluation.picture_score,
    )


def _print_summary(data: Data, figures: FinalFigures, tracker: Tracker) -> None:
    """The table of samples, AP per category, and where to look further."""
    print(f"\n{data.samples.to_text()}")
    print_figures(figures)
    print(f"folder: {tracker.folder}")


def print_links(tracker: Tracker) -> None:
    """Where the finished run is seen, and how to send what its store has not got."""
    links = tracker.links()
    print("in MLflow: make ui" + (", then" if links else ""))
    for name, link in links.items():
        print(f"  {name:<7}{link}")
    if tracker.note:
        print(tracker.note)


def print_figures(figures: FinalFigures) -> None:
    """Tables per category, at one operating point, and one line of the main figures."""
    print(text_table(*figures.evaluation.table()))
    print("At score 0.5 and IoU 0.5:")
    print(text_table(*figures.point.table()))
    if figures.joints is not None:
        print(f"Per joint, over the persons that were found ({figures.joints.found} of {figures.joints.persons}):")
        print(text_table(*figures.joints.table()))
        print(f"keypoint figures are over {figures.facts['joints']}")
    for remark in figures.evaluation.remarks:
        print(remark)
    shown = [name for name in SHOWN if name in figures.metrics]
    print("test: " + "  ".join(f"{name} {cell_text(figures.metrics[name])}" for name in shown))
