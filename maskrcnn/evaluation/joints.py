"""Which joints a keypoint detector gets right: PCK and mean OKS of each joint over the persons that it found.

The rule, exactly. In each image and keypoint category the detections, by falling score, each take the free person of
highest box IoU, if that reaches 0.5 (the rule of `operating_point`); crowds are nobody. A joint of a found person
is judged if it is labelled (visibility 1 or 2). It is correct if its distance to the label is at most a tenth of the
longer side of the person's ground-truth box: PCK@0.1 as Yang and Ramanan (PAMI 2013) define it for whole bodies. Its
OKS is exp(-d² / (2 s² k²)), with s² the annotated area and k twice the joint's sigma: one term of COCO's OKS.

Persons that were not found are not in these figures, which would otherwise mix two questions; the column `found`
and the box figures tell of them. Joints are those of the data set's schema, whatever their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnn.data.detections import Detections
from maskrcnn.data.records import Annotation, Dataset, ImageRecord
from maskrcnn.evaluation.coco import keypoints_of_schema, schema_sigmas
from maskrcnn.evaluation.operating_point import match_by_score
from maskrcnn.evaluation.results import check_detections, xyxy_to_xywh

PERSON_IOU = 0.5
PCK_SHARE = 0.1
"""Of the longer side of the ground-truth box."""


@dataclass(frozen=True)
class JointFigures:
    """One joint over all images: how often it is labelled, how often its person was found, and how well it lies."""

    name: str
    labelled: int
    judged: int
    """Labels whose person was found."""
    correct: int
    swapped: int
    """Wrong ones that lie where the joint of the other side is labelled."""
    oks_sum: float

    @property
    def found(self) -> float | None:
        """Share of the labels whose person was found; None without a label."""
        return self.judged / self.labelled if self.labelled else None

    @property
    def pck(self) -> float | None:
        """Share of the judged joints that are correct; None where none is judged."""
        return self.correct / self.judged if self.judged else None

    @property
    def oks(self) -> float | None:
        """Mean OKS of the judged joints; None where none is judged."""
        return self.oks_sum / self.judged if self.judged else None

    @property
    def mirrored(self) -> float | None:
        """Share of the judged joints that lie on the other side's joint; None where none is judged."""
        return self.swapped / self.judged if self.judged else None


@dataclass(frozen=True)
class JointTable:
    """Figures of each joint in the schema's order, and over how many persons."""

    joints: tuple[JointFigures, ...]
    persons: int
    """Objects with a labelled joint, without crowds."""
    found: int
    """Those that a detection was matched to."""

    @property
    def pck(self) -> float | None:
        """Mean over the joints that are judged, each weighing the same; None if there is none."""
        return _mean([joint.pck for joint in self.joints])

    @property
    def oks(self) -> float | None:
        """As `pck`, of the joints' mean OKS."""
        return _mean([joint.oks for joint in self.joints])

    def table(self) -> tuple[list[str], list[list[str | int | float | None]]]:
        """Header and rows, the last the mean over the joints."""
        header = ["joint", "labelled", "found", f"PCK@{PCK_SHARE:g}", "mean OKS", "left-right swapped"]
        rows: list[list[str | int | float | None]] = [
            [joint.name, joint.labelled, joint.found, joint.pck, joint.oks, joint.mirrored] for joint in self.joints
        ]
        labelled = sum(joint.labelled for joint in self.joints)
        means = [_mean([getattr(joint, name) for joint in self.joints]) for name in ("found", "pck", "oks", "mirrored")]
        return header, [*rows, [f"mean of {len(self.joints)}", labelled, *means]]


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def judge_joints(dataset: Dataset, detections: Sequence[Detections]) -> JointTable:
    """PCK and mean OKS of each joint (the module says by which rule).

    Args:
        detections: one for each image of the data set, in its order.

    Raises:
        UserError: detections that do not fit the data set, a data set without keypoints.
    """
    check_detections(dataset, detections, ("keypoints",))
    schema = dataset.schema
    assert schema is not None  # checked with the detections
    sigmas, partners = schema_sigmas(dataset), np.array(schema.flip_permutation)
    totals = np.zeros((5, len(schema)))
    persons = matched = 0
    for image, found in zip(dataset.images, detections):
        for annotation, row in match_persons(image, found):
            truth = keypoints_of_schema(annotation, dataset)
            persons += bool((truth[:, 2] > 0).any())
            totals[0] += truth[:, 2] > 0
            if row is not None and (truth[:, 2] > 0).any():
                matched += 1
                totals[1:] += _judge_person(annotation, truth, found.indexed_keypoints()[row], sigmas, partners)
    return JointTable(_figures(schema.names, totals), persons, matched)


def _figures(names: Sequence[str], totals: np.ndarray) -> tuple[JointFigures, ...]:
    """From [5, K]: labelled, judged, correct, swapped, sum of OKS."""
    columns = zip(names, *totals[:4].astype(int).tolist(), totals[4].tolist(), strict=True)
    return tuple(JointFigures(*column) for column in columns)


def match_persons(image: ImageRecord, found: Detections) -> list[tuple[Annotation, int | None]]:
    """Each object of the image that is not a crowd, with the row of the detection that took it, or None."""
    pairs: list[tuple[Annotation, int | None]] = []
    for label in sorted({annotation.label for annotation in image.annotations}):
        truth = [a for a in image.annotations if a.label == label and not a.is_crowd]
        rows = np.flatnonzero(found.labels == label)
        taken: dict[int, int] = {}
        if truth and len(rows):
            boxes = xyxy_to_xywh(np.array([annotation.box for annotation in truth]))
            overlaps = np.asarray(coco_mask.iou(xyxy_to_xywh(found.boxes[rows]), boxes, [False] * len(truth)))
            matches = match_by_score(overlaps, found.scores[rows], np.zeros(len(truth), bool), PERSON_IOU)
            taken = {int(match): int(row) for match, row in zip(matches, rows) if match >= 0}
        pairs += [(annotation, taken.get(position)) for position, annotation in enumerate(truth)]
    return pairs


def _judge_person(
    annotation: Annotation, truth: np.ndarray, joints: np.ndarray, sigmas: np.ndarray, partners: np.ndarray
) -> np.ndarray:
    """[4, K] of one found person: judged, correct, swapped (0 or 1 each) and OKS.

    Args:
        truth, joints: [K, 3] in pixel indices, as in the file.
        partners: [K] the joint of the other side, or the joint itself.
    """
    places = joints[:, :2]
    labelled = truth[:, 2] > 0
    distance = np.linalg.norm(places - truth[:, :2], axis=1)
    to_partner = np.linalg.norm(places - truth[partners, :2], axis=1)
    x1, y1, x2, y2 = annotation.box
    limit = PCK_SHARE * max(x2 - x1, y2 - y1)
    correct = labelled & (distance <= limit)
    other_side = (partners != np.arange(len(partners))) & labelled[partners]
    swapped = labelled & ~correct & other_side & (to_partner <= limit)
    # np.spacing(1): pycocotools' own guard against an area of 0
    oks = np.exp(-(distance**2) / (2.0 * (annotation.area + np.spacing(1)) * (2.0 * sigmas) ** 2))
    return np.stack([labelled, correct, swapped, oks * labelled]).astype(np.float64)


def worst_poses(dataset: Dataset, detections: Sequence[Detections], count: int) -> list[int]:
    """Rows of at most `count` images, first the one with the found person of lowest OKS; images without one are not in.

    A person's OKS is the mean over its labelled joints.

    Args and errors as `judge_joints`.
    """
    check_detections(dataset, detections, ("keypoints",))
    assert dataset.schema is not None  # checked with the detections
    sigmas, partners = schema_sigmas(dataset), np.array(dataset.schema.flip_permutation)
    lowest: dict[int, float] = {}
    for position, (image, found) in enumerate(zip(dataset.images, detections)):
        for annotation, row in match_persons(image, found):
            truth = keypoints_of_schema(annotation, dataset)
            if row is not None and (truth[:, 2] > 0).any():
                assert found.keypoints is not None  # checked with the detections
                judged = _judge_person(annotation, truth, found.keypoints[row], sigmas, partners)
                lowest[position] = min(lowest.get(position, 1.0), float(judged[3].sum() / judged[0].sum()))
    return sorted(lowest, key=lambda position: (lowest[position], position))[:count]
