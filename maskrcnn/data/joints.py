"""Which joints are learnt and judged: `num_keypoints`, as rows of a data set's full list of joints.

The subsets of COCO's 17 are nested and grow by pairs, so that a figure over fewer joints is about joints that the
larger model has, too. Nose and shoulders come first: they place head and trunk, and no joint of COCO is labelled more
often than the shoulders. Hands and feet come next: where limbs end cannot be guessed from the trunk, while elbows, hips
and knees lie between joints that are there. So 7 joints (nose, shoulders, wrists, ankles) are a whole stick figure. The
face comes last: it refines where the head is. Other lists of joints have no such order: K takes the first K of the
list.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any

from maskrcnn.data.records import Dataset
from maskrcnn.errors import UserError
from maskrcnn.structures import COCO_PERSON, KeypointSchema

COCO_ORDER = (
    "nose", "left_shoulder", "right_shoulder", "left_wrist", "right_wrist", "left_ankle", "right_ankle",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_elbow", "right_elbow",
    "left_eye", "right_eye", "left_ear", "right_ear",
)  # fmt: skip
"""`num_keypoints=K` takes the first K of these, in the data set's own order."""

KEY = "num_keypoints"


def choose_joints(dataset: Dataset, choice: Any) -> Dataset:
    """The data set with the schema of the chosen joints; its annotations and its full schema stay whole.

    Args:
        dataset: without a schema it is returned as it is.
        choice: None: all joints; K: `joint_rows`; or names, whose order the joints then have.

    Raises:
        UserError: a number out of range, an unknown joint, a joint twice, or another kind of value.
    """
    full = dataset.full_schema
    if full is None or choice is None:
        return dataset
    schema = full.select(joint_rows(full, choice))
    return dataclasses.replace(dataset, schema=schema, chosen_from=full)


def joint_rows(schema: KeypointSchema, choice: int | Sequence[str]) -> tuple[int, ...]:
    """Rows of the full schema: for K those of a documented subset, rising; for names in the order of the names.

    Raises:
        UserError: see `choose_joints`.
    """
    if isinstance(choice, int) and not isinstance(choice, bool):
        return _first_joints(schema, choice)
    if isinstance(choice, list | tuple) and choice and all(isinstance(name, str) for name in choice):
        return _named_joints(schema, choice)
    raise UserError(
        "is neither a number nor a list of joint names", f"{KEY}={choice}", "such as 7 or [nose,left_wrist]"
    )


def _first_joints(schema: KeypointSchema, count: int) -> tuple[int, ...]:
    if not 1 <= count <= len(schema):
        raise UserError(
            f"is not from 1 to {len(schema)}", f"{KEY}={count}", f"the joints are {', '.join(schema.names)}"
        )
    if schema.names != COCO_PERSON.names:
        return tuple(range(count))
    return tuple(sorted(schema.names.index(name) for name in COCO_ORDER[:count]))


def _named_joints(schema: KeypointSchema, names: Sequence[str]) -> tuple[int, ...]:
    where = f"{KEY}=[{','.join(names)}]"
    for name in names:
        if name not in schema.names:
            near = difflib.get_close_matches(name, schema.names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(schema.names)}"
            raise UserError(f"there is no joint {name!r}", where, hint)
        if names.count(name) > 1:
            raise UserError(f"names {name} twice", where, "each joint once")
    return tuple(schema.names.index(name) for name in names)


def joints_sentence(schema: KeypointSchema, full: KeypointSchema | None = None) -> str:
    """`7 of 17 joints (nose, …)`: what figures of these joints are about; `full` is what they were chosen from."""
    of = f" of {len(full)}" if full is not None and len(full) != len(schema) else ""
    noun = "joint" if len(schema) == 1 and not of else "joints"
    return f"{len(schema)}{of} {noun} ({', '.join(schema.names)})"
