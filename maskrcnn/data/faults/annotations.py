"""Checks of the list of annotations, one after the other: ids, box, area, crowd flag, mask and keypoints.

A legal annotation becomes a record at once. What the head does not use (masks under a box head) is checked too, but
only warned of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maskrcnn.data.faults import boxes, segmentations
from maskrcnn.data.faults.categories import CheckedCategories
from maskrcnn.data.faults.images import CheckedImage
from maskrcnn.data.faults.keypoints import (
    NEAR_PIXELS,
    NEAR_SHARE,
    distance_outside,
    read_count,
    read_keypoints,
)
from maskrcnn.data.faults.report import Findings
from maskrcnn.data.faults.values import RepeatedKeys, UnfitError, finite, show, whole
from maskrcnn.data.records import Annotation, Category, Segmentation


@dataclass
class AnnotationChecks:
    """The checks of all annotations of one file, and what is known of the file's other lists.

    Attributes:
        images: by id, bad ones included.
        categories: kept, excluded and faulty ones.
        masks: the head learns masks.
        keypoints: the head learns keypoints.
        findings: gets what is wrong.
    """

    images: dict[int, CheckedImage]
    categories: CheckedCategories
    masks: bool
    keypoints: bool
    findings: Findings
    num_excluded: int = 0
    """Annotations of categories that the head does not learn."""
    num_dropped: int = 0
    """Annotations with a fault of their own, of their image or of their category."""
    _seen: set[int] = field(default_factory=set)
    _objects: dict[int, int] = field(default_factory=dict)
    """Hash of image, category, box and area → id, of objects that are no crowds."""
    _labels: dict[int, int] = field(init=False)
    _by_id: dict[int, Category] = field(init=False)

    def __post_init__(self) -> None:
        self._labels = self.categories.labels
        self._by_id = {category.id: category for category in self.categories.kept}

    def read(self, entries: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Annotation]]:
        """(image id, annotation) of each good one of (index, entry)."""
        for index, entry in entries:
            try:
                owner = self.owner(entry, index)
            except UnfitError:
                self.num_dropped += 1
                continue
            if owner is None:
                self.num_excluded += 1
                continue
            checked = _CheckedAnnotation(self, entry, *owner)
            annotation = checked.read()
            if annotation is not None and not annotation.is_crowd:
                self._compare_with_others(annotation, checked.image)
            if annotation is None or not checked.image.good:
                self.num_dropped += 1
            else:
                yield checked.image.id, annotation

    def _compare_with_others(self, annotation: Annotation, image: CheckedImage) -> None:
        """Warns of an object that was marked twice: a detector can find only one of the two."""
        key = hash((image.id, annotation.label, annotation.box, annotation.area))
        other = self._objects.setdefault(key, annotation.id)
        if other != annotation.id:
            what = f"has the category, box and area of annotation {other}"
            self.findings.warn("object marked twice", f"annotation {annotation.id} in {image.where}", what)

    def owner(self, entry: Any, index: int) -> tuple[int, CheckedImage, Category, int] | None:
        """Id, image, category and label; None for an excluded category. Raises UnfitError after noting a fault."""
        where = f"annotations[{index}]"
        if not isinstance(entry, dict):
            raise self._fault("broken annotation", where, f"is {show(entry)}, expected an object")
        annotation_id = whole(entry.get("id"))
        if annotation_id is None:
            what = f"has id {show(entry['id'])}, expected a whole number" if "id" in entry else "has no id"
            raise self._fault("broken annotation id", where, what)
        where = f"annotation {annotation_id}"
        if annotation_id in self._seen:
            raise self._fault("duplicate annotation id", where, f"stands twice (the second as annotations[{index}])")
        self._seen.add(annotation_id)
        if isinstance(entry, RepeatedKeys):
            raise self._fault("repeated key", where, f"has {', '.join(map(show, entry.repeated))} twice")
        image = self._image(entry, where)
        category_id = self._category_id(entry, where)
        if category_id is None or category_id in self.categories.excluded:
            return None
        return annotation_id, image, self._by_id[category_id], self._labels[category_id]

    def _image(self, entry: dict[str, Any], where: str) -> CheckedImage:
        image_id = whole(entry.get("image_id"))
        if image_id is None:
            what = f"has image_id {show(entry['image_id'])}" if "image_id" in entry else "has no image_id"
            raise self._fault("broken image_id", where, f"{what}, expected the id of an image")
        image = self.images.get(image_id)
        if image is None:
            raise self._fault("unknown image", where, f"belongs to image {image_id}, which is not in the list")
        return image

    def _category_id(self, entry: dict[str, Any], where: str) -> int:
        category_id = whole(entry.get("category_id"))
        if category_id is None:
            what = f"has category_id {show(entry['category_id'])}" if "category_id" in entry else "has no category_id"
            raise self._fault("broken category_id", where, f"{what}, expected the id of a category")
        if category_id in self.categories.faulty:
            raise UnfitError("of a category whose own fault is noted")
        if category_id not in self._by_id and category_id not in self.categories.excluded:
            raise self._fault("unknown category", where, f"is of category {category_id}, which is not in the list")
        return category_id

    def _fault(self, kind: str, where: str, what: str) -> UnfitError:
        self.findings.fault(kind, where, what)
        return UnfitError(what)


class _CheckedAnnotation:
    """One annotation that belongs to a known image and a kept category."""

    def __init__(
        self,
        checks: AnnotationChecks,
        entry: dict[str, Any],
        annotation_id: int,
        image: CheckedImage,
        category: Category,
        label: int,
    ) -> None:
        self.checks = checks
        self.entry = entry
        self.id = annotation_id
        self.image = image
        self.category = category
        self.label = label
        self.good = True

    def read(self) -> Annotation | None:
        """The annotation, or None after noting each of its faults."""
        is_crowd = self._crowd()
        box = self._box()
        segmentation = self._segmentation(is_crowd)
        joints = self._keypoints(is_crowd)
        area = self._area(box, segmentation, joints)
        if not self.good or box is None:
            return None
        self._compare(box, segmentation, area)
        keypoints = None if joints is None else joints.astype(np.float32)
        return Annotation(self.id, self.label, box, area, is_crowd, segmentation, keypoints)

    def _where(self) -> str:
        return f"annotation {self.id} in {self.image.where}"

    def _fault(self, kind: str, what: str, hint: str = "") -> None:
        self.good = False
        self.checks.findings.fault(kind, self._where(), what, hint)

    def _warn(self, kind: str, what: str, hint: str = "") -> None:
        self.checks.findings.warn(kind, self._where(), what, hint)

    def _crowd(self) -> bool:
        value = self.entry.get("iscrowd", 0)
        if "iscrowd" not in self.entry:
            self._warn("no iscrowd", "has no iscrowd; 0 is taken")
        if isinstance(value, bool) or whole(value) in (0, 1):
            return bool(value)
        self._fault("broken iscrowd", f"has iscrowd {show(value)}, expected 0 or 1")
        return False

    def _box(self) -> boxes.Box | None:
        try:
            box = boxes.read_box(self.entry, self.image.size)
        except UnfitError as error:
            self._fault("broken box", str(error))
            return None
        if box[2] == box[0] or box[3] == box[1]:
            self._warn("zero-size box", "has a box of width or height 0; it is not learned")
        elif self.image.size is not None:
            beyond = boxes.distance_beyond(box, self.image.size)
            if beyond > boxes.BORDER_PIXELS:
                self._warn("box beyond the border", f"has a box that passes the image's border by {beyond:.1f} px")
        return box

    def _segmentation(self, is_crowd: bool) -> Segmentation:
        value = self.entry.get("segmentation")
        try:
            segmentation = segmentations.read_segmentation(value, self.image.size)
        except UnfitError as error:
            (self._fault if self.checks.masks else self._warn)("broken segmentation", str(error))
            return None
        if segmentation is None and self.checks.masks:
            what = "has an empty segmentation" if value == [] else "has no segmentation"
            self._fault("no segmentation", f"{what}, which a mask head needs", "task=box needs none")
        if is_crowd and isinstance(segmentation, tuple):
            self._warn("crowd with polygons", "is a crowd with polygons, COCO has run-length codes there")
        return segmentation

    def _keypoints(self, is_crowd: bool) -> np.ndarray | None:
        value, num_joints = self.entry.get("keypoints"), len(self.category.keypoints)
        if not num_joints:
            if value:
                self._warn("keypoints without names", "has keypoints, its category declares none")
            return None
        if value is None or (is_crowd and value == []):
            if self.checks.keypoints and not is_crowd:
                self._fault(
                    "no keypoints",
                    "has no keypoints, which a keypoint head needs",
                    f"{3 * num_joints} zeros say that none is labelled",
                )
            return None
        try:
            joints = read_keypoints(value, num_joints)
            stated = read_count(self.entry)
        except UnfitError as error:
            (self._fault if self.checks.keypoints else self._warn)("broken keypoints", str(error))
            return None
        self._check_joints(joints, stated)
        return joints

    def _check_joints(self, joints: np.ndarray, stated: int | None) -> None:
        labelled = int((joints[:, 2] > 0).sum())
        if stated is None and self.checks.keypoints:
            self._warn("no num_keypoints", f"has no num_keypoints; {labelled} are labelled")
        elif stated is not None and stated != labelled:
            self._warn("num_keypoints disagrees", f"says num_keypoints {stated}, {labelled} are labelled and counted")
        unlabelled = joints[:, 2] == 0
        if joints[unlabelled].any():
            joints[unlabelled] = 0
            self._warn("position without label", "has a keypoint of visibility 0 away from (0, 0); it is not used")
        if self.image.size is None:
            return
        outside, side = distance_outside(joints, self.image.size), max(self.image.size)
        if outside > side:
            note = self._fault if self.checks.keypoints else self._warn
            note("keypoint far outside", f"has a labelled keypoint {outside:.1f} px outside the image")
        elif outside > NEAR_PIXELS + NEAR_SHARE * side:
            self._warn("keypoint outside", f"has a labelled keypoint {outside:.1f} px outside the image")

    def _area(self, box: boxes.Box | None, segmentation: Segmentation, joints: np.ndarray | None) -> float:
        if "area" not in self.entry:
            self._warn("no area", "has no area; it is computed from the mask or the box")
            if segmentation is not None and self.image.size is not None:
                return segmentations.pixel_area(segmentation, self.image.size)
            return boxes.area(box) if box is not None else 0.0
        area = finite(self.entry["area"])
        if area is None or area < 0:
            self._fault("broken area", f"has area {show(self.entry['area'])}, expected a number from 0 on")
            return 0.0
        if area == 0 and joints is not None and (joints[:, 2] > 0).any() and self.checks.keypoints:
            self._fault("area 0 with keypoints", "has area 0, by which COCO measures its labelled keypoints")
        return area

    def _compare(self, box: boxes.Box, segmentation: Segmentation, area: float) -> None:
        """Warnings of parts that contradict each other, each legal by itself."""
        if segmentation is not None and self.image.size is not None:
            self._compare_mask(box, segmentation, area, self.image.size)
        elif boxes.area(box) > 0 and (area == 0 or area > 1.1 * boxes.area(box) + boxes.perimeter(box) / 2):
            self._warn("area disagrees", f"has area {area:g}, its box has {boxes.area(box):g}")

    def _compare_mask(self, box: boxes.Box, segmentation: Segmentation, area: float, size: tuple[int, int]) -> None:
        around = segmentations.extent(segmentation)
        # the raster of a polygon differs from its exact area by up to a pixel along its border
        slack = 1 + boxes.perimeter(around)
        exact = segmentations.quick_area(segmentation)
        if exact < slack or abs(area - exact) > 0.1 * exact + slack:
            exact = segmentations.pixel_area(segmentation, size)
        if exact == 0:
            self._warn("empty mask", "has a mask without a single pixel in the image")
        elif abs(area - exact) > 0.1 * max(exact, area) + slack:
            self._warn("area disagrees", f"has area {area:g}, its mask has {exact:g}")
        if boxes.area(box) > 0 and exact > 0 and boxes.disagree(box, around, size):
            shown = ", ".join(f"{value:.1f}" for value in around)
            self._warn("box disagrees with mask", f"has a box that is not that of its mask (x1 y1 x2 y2 {shown})")
