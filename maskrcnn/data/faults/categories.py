"""Checks of the list of categories: ids, names, joints and bones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from maskrcnn.data.faults.report import Findings
from maskrcnn.data.faults.values import RepeatedKeys, UnfitError, is_name, name_file, show, whole
from maskrcnn.data.records import Category


@dataclass
class CheckedCategories:
    """The categories that a head learns, and the ids of those that the file declares beside them.

    Attributes:
        keypoints: the head predicts keypoints: joints and bones are checked strictly.
        keypoints_only: categories without joints are left out.
        findings: gets what is wrong.
        own_joints: the user's names of the joints, which replace those of the file; empty: the file's.
        wanted: names or ids of the categories that will be chosen, None for all: others may have other joints.
        kept: good categories; in the order of their ids after `finish`.
        excluded: legal categories that the head does not learn.
        faulty: ids of categories with a fault.
    """

    keypoints: bool
    keypoints_only: bool
    findings: Findings
    own_joints: tuple[str, ...] = ()
    wanted: Sequence[str] | None = None
    kept: list[Category] = field(default_factory=list)
    excluded: set[int] = field(default_factory=set)
    faulty: set[int] = field(default_factory=set)
    _bare: list[Category] = field(default_factory=list)
    """Under `keypoints_only`: those that declare no joints."""
    _seen: dict[int, str] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)

    @property
    def labels(self) -> dict[int, int]:
        """Category id → label 1…C."""
        return {category.id: label for label, category in enumerate(self.kept, start=1)}

    def add(self, index: int, entry: Any) -> None:
        """Checks the entry at `index` of the file's list."""
        category = self._read(entry, f"categories[{index}]")
        if category is None:
            return
        if category.name in self._names:
            self.findings.fault(
                "duplicate category name",
                f"category {category.id}",
                f"is named {show(category.name)} like category {self._names[category.name]}",
                "rename or join them",
            )
            self.faulty.add(category.id)
        elif self.keypoints_only and not category.keypoints:
            self._bare.append(category)
        else:
            self._names[category.name] = category.id
            self.kept.append(category)

    def finish(self) -> None:
        """Puts the good ones in order and checks them against each other."""
        if self.own_joints:
            self._give_own_joints()
        self.excluded |= {category.id for category in self._bare}
        self.kept.sort(key=lambda category: category.id)
        if self.keypoints:
            self._keep_one_schema()

    def _read(self, entry: Any, where: str) -> Category | None:
        if not isinstance(entry, dict):
            self.findings.fault("broken category", where, f"is {show(entry)}, expected an object")
            return None
        category_id = whole(entry.get("id"))
        if category_id is None:
            what = f"has id {show(entry['id'])}, expected a whole number" if "id" in entry else "has no id"
            self.findings.fault("broken category id", where, what)
            return None
        where = f"category {category_id}"
        name = entry.get("name")
        if category_id in self._seen:
            what = f"stands twice: {self._seen[category_id]} and {show(name)}"
            self.findings.fault("duplicate category id", where, what)
            return None
        self._seen[category_id] = show(name)
        if isinstance(entry, RepeatedKeys):
            self.findings.fault("repeated key", where, f"has {', '.join(map(show, entry.repeated))} twice")
        elif not isinstance(name, str) or not is_name(name):
            what = f"has name {show(name)}, expected a text" if "name" in entry else "has no name"
            self.findings.fault("broken category name", where, what)
        else:
            try:
                return _with_joints(entry, category_id, name, self.keypoints, self.findings)
            except UnfitError as error:
                self.findings.fault("broken keypoint names", f"{where} ({name_file(name)})", str(error))
        self.faulty.add(category_id)
        return None

    def _is_wanted(self, category: Category) -> bool:
        return self.wanted is None or category.name in self.wanted or str(category.id) in self.wanted

    def _give_own_joints(self) -> None:
        """Names the joints as the user does: of the categories that declare some, or of all where the file has none."""
        if not any(category.keypoints for category in self.kept):
            named = [category for category in [*self.kept, *self._bare] if self._is_wanted(category)]
            self._bare = [category for category in self._bare if category not in named]
            self.kept = [category for category in self.kept if category not in named]
            self.kept += [replace(category, keypoints=self.own_joints) for category in named]
            return
        for row, category in reversed(list(enumerate(self.kept))):
            if not category.keypoints:
                continue
            fault = self._contradiction(category.keypoints)
            if not fault:
                self.kept[row] = replace(category, keypoints=self.own_joints)
            elif self._is_wanted(category):
                self._refuse(category, fault, "dataset.keypoints names the joints of the file, in its order")
            else:
                self._leave_out(category)

    def _contradiction(self, joints: tuple[str, ...]) -> str:
        """What the user's own names contradict in a category's; they may well be other words."""
        if len(joints) != len(self.own_joints):
            return f"has {len(joints)} joints, dataset.keypoints has {len(self.own_joints)}"
        if joints != self.own_joints and set(joints) == set(self.own_joints):
            return "has the joints of dataset.keypoints in another order"
        return ""

    def _keep_one_schema(self) -> None:
        """One keypoint head has one list of joints: categories with other joints than most cannot be learned too."""
        lists = Counter(
            category.keypoints for category in self.kept if category.keypoints and self._is_wanted(category)
        )
        if not lists:
            return
        usual = lists.most_common(1)[0][0]
        example = next(category for category in self.kept if category.keypoints == usual and self._is_wanted(category))
        for category in [c for c in self.kept if c.keypoints and c.keypoints != usual]:
            if not self._is_wanted(category):
                self._leave_out(category)
                continue
            self._refuse(
                category,
                f"has {len(category.keypoints)} joints, category {example.id} ({name_file(example.name)}) has "
                f"{len(usual)}{' with other names' if len(usual) == len(category.keypoints) else ''}",
                "one keypoint head learns one list of joints: choose with dataset.categories=[…], or split the file",
            )

    def _refuse(self, category: Category, what: str, hint: str) -> None:
        self.findings.fault(
            "joints of another kind", f"category {category.id} ({name_file(category.name)})", what, hint
        )
        self.kept.remove(category)
        self.faulty.add(category.id)

    def _leave_out(self, category: Category) -> None:
        self.kept.remove(category)
        self.excluded.add(category.id)


def _with_joints(
    entry: dict[str, Any], category_id: int, name: str, keypoints: bool, findings: Findings
) -> Category | None:
    """The category; without joints if they are broken and no head needs them. Raises UnfitError if one does."""
    where = f"category {category_id} ({name_file(name)})"
    supercategory = entry.get("supercategory")
    plain = Category(category_id, name, supercategory if isinstance(supercategory, str) else "")
    try:
        joints = _read_joints(entry.get("keypoints"))
    except UnfitError as error:
        if keypoints:
            raise
        findings.warn("broken keypoint names", where, str(error))
        return plain
    if not joints:
        return plain
    if len(set(joints)) < len(joints):
        twice = next(joint for joint, count in Counter(joints).items() if count > 1)
        findings.warn("joint named twice", where, f"has two joints named {show(twice)}")
    bones = _read_bones(entry.get("skeleton"), len(joints), where, keypoints, findings)
    return Category(plain.id, plain.name, plain.supercategory, joints, bones)


def _read_joints(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise UnfitError(f"has keypoints {show(value)}, expected a list of names")
    for joint in value:
        if not is_name(joint):
            raise UnfitError(f"has a joint named {show(joint)}, expected a text")
    return tuple(value)


def _read_bones(
    value: Any, num_joints: int, where: str, keypoints: bool, findings: Findings
) -> tuple[tuple[int, int], ...]:
    """Bones counted from 0. COCO counts joints from 1; a list that says 0 counts from 0 itself."""
    note = findings.fault if keypoints else findings.warn
    if value is None:
        return ()
    if not isinstance(value, list):
        note("broken skeleton", where, f"has skeleton {show(value)}, expected a list of pairs of joints")
        return ()
    pairs = [_read_pair(bone) for bone in value]
    first = 0 if any(pair is not None and 0 in pair for pair in pairs) else 1
    if first == 0:
        findings.warn("skeleton from 0", where, "has a skeleton that counts joints from 0, COCO counts from 1")
    bones = []
    for bone, pair in zip(value, pairs):
        if pair is None:
            shown = f"[{', '.join(map(show, bone[:4]))}]" if isinstance(bone, list) else show(bone)
            note("broken skeleton", where, f"has a bone {shown}, expected a pair of joints")
        elif not all(first <= end < first + num_joints for end in pair):
            what = f"has a bone {list(pair)}, joints are {first}…{first + num_joints - 1}"
            note("broken skeleton", where, what)
        else:
            bones.append((pair[0] - first, pair[1] - first))
    return tuple(bones)


def _read_pair(bone: Any) -> tuple[int, int] | None:
    if not isinstance(bone, list) or len(bone) != 2:
        return None
    start, end = whole(bone[0]), whole(bone[1])
    return None if start is None or end is None else (start, end)
