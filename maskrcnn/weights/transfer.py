"""A trained detector → another one with other categories or joints: everything is kept that means the same.

Both detectors have the same architecture; heads may be missing on either side. Rows of the box and mask heads belong
to categories and maps of the keypoint head to joints: they go where the name goes, and new ones keep the initial
values of their layers, which are the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from maskrcnn.errors import Problem, ProblemsError

NAMELESS = "n/a"
"""Rows of published detectors that stand for no category."""


@dataclass(frozen=True)
class TransferReport:
    """What the new detector kept and what begins with initial values.

    Attributes:
        kept, new: names of categories; `dropped`: how many of the source's are not used.
        kept_joints, new_joints: names of joints.
        new_parts, dropped_parts: heads that one side alone has.
    """

    kept: tuple[str, ...]
    new: tuple[str, ...]
    dropped: int
    kept_joints: tuple[str, ...] = ()
    new_joints: tuple[str, ...] = ()
    new_parts: tuple[str, ...] = ()
    dropped_parts: tuple[str, ...] = ()

    def to_text(self) -> str:
        """A line for each kind."""
        lines = [f"categories kept from the weights: {_names(self.kept)}"]
        if self.new:
            lines.append(f"categories with initial weights: {_names(self.new)}")
        if self.dropped:
            lines.append(f"categories of the weights that are not used: {self.dropped}")
        if self.kept_joints or self.new_joints:
            lines.append(f"joints kept: {_names(self.kept_joints)}")
        if self.new_joints:
            lines.append(f"joints with initial weights: {_names(self.new_joints)}")
        for what, parts in (("with initial weights", self.new_parts), ("left out", self.dropped_parts)):
            lines += [f"parts {what}: {', '.join(parts)}"] if parts else []
        return "\n".join(lines)


def transfer(source: Any, target: Any) -> TransferReport:
    """Copy into `target` what `source` has learned, by the categories and joints in the metadata of both.

    Raises:
        ProblemsError: the architectures differ; the target is then untouched.
    """
    labels = match_names(_categories(source), _categories(target))
    joints = match_names(_joints(source), _joints(target))
    rows = _row_rules(target, labels, joints)
    ours, theirs = _variables(target), _variables(source)
    pairs, problems = [], []
    for key, variable in ours.items():
        if key not in theirs:
            if any(layer == key[0] for layer, _ in theirs):
                problems.append(f"{'/'.join(key)} is not in the weights")
            continue
        values = _moved(ops.convert_to_numpy(theirs[key]), ops.convert_to_numpy(variable), rows.get(key))
        if values is None:
            problems.append(f"{'/'.join(key)} {tuple(theirs[key].shape)} for {tuple(variable.shape)}")
        else:
            pairs.append((variable, values))
    if problems:
        raise ProblemsError([Problem("weights", f"another architecture: {text}") for text in problems[:10]])
    for variable, values in pairs:
        variable.assign(values)
    return _report(source, target, labels, joints)


def match_names(source: Sequence[str], target: Sequence[str]) -> list[int | None]:
    """For each of `target` its position in `source`, None for new ones; case, blanks and dashes do not count."""
    positions: dict[str, int] = {}
    for position, name in enumerate(source):
        positions.setdefault(_plain(name), position)
    positions.pop(NAMELESS, None)
    return [positions.get(_plain(name)) for name in target]


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def _categories(detector: Any) -> list[str]:
    names = [category["name"] for category in detector.metadata.get("categories") or []]
    return names if len(names) == detector.num_classes else []


def _joints(detector: Any) -> list[str]:
    schema: Mapping[str, Any] = detector.metadata.get("schema") or {}
    names = list(schema.get("names", ()))
    return names if len(names) == detector.num_keypoints else []


def _variables(detector: Any) -> dict[tuple[str, str], Any]:
    """Variables by (part, path inside it); paths alone repeat from head to head."""
    return {(layer.name, v.path): v for layer in detector.layers for v in layer.weights}


@dataclass(frozen=True)
class _Rows:
    """Where rows of an axis come from; `width` numbers belong to each."""

    axis: int
    sources: Sequence[int | None]
    width: int = 1


def _row_rules(target: Any, labels: Sequence[int | None], joints: Sequence[int | None]) -> dict[Any, _Rows]:
    last = target.conventions.background_index == -1
    # The background's logit stays where the convention wants it, first or last, whatever the number of classes.
    shifted = [row if last or row is None else row + 1 for row in labels]
    logits = [*shifted, -1] if last else [0, *shifted]
    rules: dict[Any, _Rows] = {}
    for head, layer, axis, rows, width in (
        (target.box_head, "class_logits", 1, logits, 1),
        (target.box_head, "box_deltas", 1, labels, 4),
        (target.mask_head, "logits", 3, labels, 1),
        (target.keypoint_head, "deconv", 2, joints, 1),
    ):
        if head is None or (layer in ("box_deltas", "logits") and head.settings.class_agnostic):
            continue  # one row serves all classes
        for variable, along in ((getattr(head, layer).kernel, axis), (getattr(head, layer).bias, 0)):
            rules[head.name, variable.path] = _Rows(along, rows, width)
    return rules


def _moved(theirs: np.ndarray, ours: np.ndarray, rows: _Rows | None) -> np.ndarray | None:
    """The values for our variable; None where the shapes do not allow it."""
    if rows is None:
        return theirs if theirs.shape == ours.shape else None
    wide = _by_rows(theirs, rows), _by_rows(ours, rows)
    if wide[0].shape[1:] != wide[1].shape[1:] or len(rows.sources) != len(wide[1]):
        return None
    values = wide[1].copy()
    for row, source in enumerate(rows.sources):
        if source is not None:
            values[row] = wide[0][source]
    moved = np.moveaxis(values.reshape(-1, *values.shape[2:]), 0, rows.axis)
    return moved.reshape(ours.shape)


def _by_rows(values: np.ndarray, rows: _Rows) -> np.ndarray:
    """[rows, width, …]: the axis in front, cut into rows."""
    front = np.moveaxis(values, rows.axis, 0)
    return front.reshape(-1, rows.width, *front.shape[1:])


def _report(source: Any, target: Any, labels: Sequence[int | None], joints: Sequence[int | None]) -> TransferReport:
    kept, new = _split(_categories(target), labels)
    kept_joints, new_joints = _split(_joints(target), joints)
    used = {row for row in labels if row is not None}
    named = [row for row, name in enumerate(_categories(source)) if _plain(name) != NAMELESS]
    return TransferReport(
        kept,
        new,
        len([row for row in named if row not in used]),
        kept_joints,
        new_joints,
        tuple(sorted(set(_parts(target)) - set(_parts(source)))),
        tuple(sorted(set(_parts(source)) - set(_parts(target)))),
    )


def _split(names: Sequence[str], rows: Sequence[int | None]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    kept = tuple(name for name, row in zip(names, rows, strict=True) if row is not None)
    return kept, tuple(name for name, row in zip(names, rows, strict=True) if row is None)


def _parts(detector: Any) -> Iterator[str]:
    return (layer.name for layer in detector.layers if layer.weights)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
