"""Keypoint schemas of categories: flip pairs from the joints' names, OKS tolerances where they are known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maskrcnn.data.records import Category
from maskrcnn.structures import COCO_PERSON, KeypointSchema

DEFAULT_SIGMA = 0.05
"""OKS tolerance of a joint that nobody measured: between COCO's eyes (0.025) and hips (0.107)."""

_SIDES = (
    (re.compile(r"left"), "right"),
    (re.compile(r"Left"), "Right"),
    (re.compile(r"LEFT"), "RIGHT"),
    (re.compile(r"^L(?=[_\- .A-Z])"), "R"),
    (re.compile(r"^l(?=[_\- .])"), "r"),
    (re.compile(r"(?<=[_\- .])L$"), "R"),
    (re.compile(r"(?<=[_\- .])l$"), "r"),
)
"""How names say «left», and what says «right» in the same place."""


Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class OwnJoints:
    """A keypoint schema that the user gives for a file (`dataset.keypoints`): names in the order of the file's joints.

    What is None follows from the names and the category: pairs from names, bones from the category, COCO's own
    tolerances for COCO's 17 names, else `DEFAULT_SIGMA`.
    """

    names: tuple[str, ...]
    flip_pairs: Pairs | None = None
    skeleton: Pairs | None = None
    sigmas: tuple[float, ...] | None = None


def own_joints(values: Mapping[str, Any]) -> OwnJoints:
    """From plain values that were found whole; pairs may name their joints or count them from 0."""
    names = tuple(values["names"])

    def pairs(key: str) -> Pairs | None:
        given = values.get(key)
        return None if given is None else tuple((_row(names, a), _row(names, b)) for a, b in given)

    sigmas = values.get("sigmas") or None
    return OwnJoints(names, pairs("flip_pairs"), pairs("skeleton"), tuple(map(float, sigmas)) if sigmas else None)


def _row(names: Sequence[str], joint: str | int) -> int:
    return joint if isinstance(joint, int) else names.index(joint)


def keypoint_schema(category: Category, own: OwnJoints | None = None) -> KeypointSchema:
    """The schema of a category that declares keypoints; COCO's own tolerances for COCO's 17 names.

    Args:
        category: with the names that count: the doctor has put the user's own there.
        own: whatever else the user has given.
    """
    names = category.keypoints
    own = own or OwnJoints(names)
    known = COCO_PERSON.sigmas if names == COCO_PERSON.names else (DEFAULT_SIGMA,) * len(names)
    return KeypointSchema(
        names=names,
        flip_pairs=find_flip_pairs(names) if own.flip_pairs is None else own.flip_pairs,
        skeleton=category.skeleton if own.skeleton is None else own.skeleton,
        sigmas=known if own.sigmas is None else own.sigmas,
    )


def find_flip_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """(left, right) rows of the joints whose names differ in the side alone: left_eye and right_eye, L_Paw and R_Paw.

    >>> find_flip_pairs(["nose", "left_eye", "right_eye", "tail"])
    ((1, 2),)
    """
    row = {name: index for index, name in enumerate(names)}
    pairs = []
    for index, name in enumerate(names):
        mirrored = (side.sub(other, name) for side, other in _SIDES if side.search(name))
        right = next((row[other] for other in mirrored if other in row), None)
        if right is not None:
            pairs.append((index, right))
    return tuple(pairs)
