"""Skeletons: bones and joints of one person, the person's left and right in different colours, for any schema."""

from __future__ import annotations

import re

import cv2
import numpy as np

from maskrcnn.structures import KeypointSchema
from maskrcnn.visualization.canvas import Pen, outlined_line
from maskrcnn.visualization.colours import BLACK, LEFT, MIDDLE, RIGHT, Colour

SIDE_COLOURS: dict[int, Colour] = {-1: LEFT, 0: MIDDLE, 1: RIGHT}
_SIDE_NAMES = tuple(
    re.compile(rf"(?i:{word})|^{letter}(?=[A-Z])|^(?i:{letter})(?=[_\- .])|(?<=[_\- .])(?i:{letter})$")
    for word, letter in (("left", "L"), ("right", "R"))
)
"""left_eye, L_Paw, LPaw, paw_l, and the same of the right."""


def joint_sides(schema: KeypointSchema) -> list[int]:
    """For each joint -1 (the person's left), 1 (right) or 0 (neither): by names and flip pairs.

    Raises nothing: a pair whose names do not tell counts its first joint as left.
    """
    sides = [_named_side(name) for name in schema.names]
    for first, second in schema.flip_pairs:
        if sides[first] == sides[second]:
            sides[first], sides[second] = -1, 1
    return sides


def _named_side(name: str) -> int:
    """-1 for a name that says left, 1 for right; 0 for one that tells neither or both."""
    left, right = (bool(pattern.search(name)) for pattern in _SIDE_NAMES)
    return int(right) - int(left)


def draw_skeleton(pixels: np.ndarray, joints: np.ndarray, schema: KeypointSchema, pen: Pen) -> None:
    """Draws one person's bones and joints into `pixels`; hidden joints (visibility 1) are hollow.

    Args:
        joints: [K, 3] x, y in continuous picture coordinates, visibility 0 (left out), 1 or 2.
    """
    sides = joint_sides(schema)
    for first, second in schema.skeleton:
        if joints[first, 2] > 0 and joints[second, 2] > 0:
            # A bone between the sides (shoulders, hips) belongs to neither; nose to left eye is left.
            side = int(np.sign(sides[first] + sides[second]))
            outlined_line(pixels, joints[first, :2], joints[second, :2], SIDE_COLOURS[side], pen)
    for (x, y, visibility), side in zip(joints, sides):
        if visibility > 0:
            _draw_joint(pixels, (round(x - 0.5), round(y - 0.5)), SIDE_COLOURS[side], visibility == 1, pen)


def _draw_joint(pixels: np.ndarray, centre: tuple[int, int], colour: Colour, hollow: bool, pen: Pen) -> None:
    radius = pen.line + pen.outline
    cv2.circle(pixels, centre, radius + pen.outline, BLACK, -1, cv2.LINE_AA)
    cv2.circle(pixels, centre, radius, colour, -1, cv2.LINE_AA)
    if hollow:
        cv2.circle(pixels, centre, max(1, radius - pen.line // 2 - 1), BLACK, -1, cv2.LINE_AA)
