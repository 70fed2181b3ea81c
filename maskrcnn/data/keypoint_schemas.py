"""Keypoint schemas of categories: flip pairs from the joints' names, OKS tolerances where they are known."""

from __future__ import annotations

import re
from collections.abc import Sequence

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


def keypoint_schema(category: Category) -> KeypointSchema:
    """The schema of a category that declares keypoints; COCO's own tolerances for COCO's 17 names."""
    names = category.keypoints
    known = names == COCO_PERSON.names
    return KeypointSchema(
        names=names,
        flip_pairs=find_flip_pairs(names),
        skeleton=category.skeleton,
        sigmas=COCO_PERSON.sigmas if known else (DEFAULT_SIGMA,) * len(names),
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
