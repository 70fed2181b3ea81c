"""Single objects of the embedded data set: each is drawn alone on a small patch, as pixels, mask and joints.

Coordinates of joints are pixel indices (the centre of pixel i is i), as in COCO's keypoints. A patch knows its whole
object, also what will later lie outside the image or behind another object.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from maskrcnn.structures import COCO_PERSON

_SUBPIXEL_BITS = 4  # OpenCV draws at fixed-point coordinates: 1/16 pixel
_JOINT = {name: row for row, name in enumerate(COCO_PERSON.names)}


@dataclass(frozen=True)
class Patch:
    """One object, drawn whole.

    `pixels` uint8 [h, w, 3] RGB, `mask` bool [h, w]; `joints` float64 [17, 2] x, y in the patch, or None.
    """

    category: str
    pixels: np.ndarray
    mask: np.ndarray
    joints: np.ndarray | None = None


LEAN = np.deg2rad(20.0)
"""Largest turn of squares and triangles: any angle would hide what tells them apart from a short training."""


def draw_circle(extent: float, rng: np.random.Generator) -> Patch:
    """A disc of `extent` pixels in diameter."""
    side = int(np.ceil(extent)) + 3
    centre = (side - 1) / 2
    mask = np.zeros((side, side), np.uint8)
    cv2.circle(mask, _fixed(centre, centre), round(extent / 2 * 2**_SUBPIXEL_BITS), 1, -1, shift=_SUBPIXEL_BITS)
    return _plain_patch("circle", mask, rng)


def draw_square(extent: float, rng: np.random.Generator) -> Patch:
    """A square, turned by at most 20 degrees, whose bounding box has sides of `extent` pixels."""
    angle = rng.uniform(-LEAN, LEAN)
    corners = _directions(angle + np.pi / 4 + np.arange(4) * np.pi / 2)
    return _polygon_patch("square", corners, extent, rng)


def draw_triangle(extent: float, rng: np.random.Generator) -> Patch:
    """A triangle on its base, more or less, whose bounding box has a longer side of `extent` pixels."""
    angles = rng.uniform(-LEAN, LEAN) - np.pi / 2 + np.array([0.0, 2.1, 4.2]) + rng.uniform(-0.2, 0.2, 3)
    return _polygon_patch("triangle", _directions(angles), extent, rng)


def draw_person(extent: float, rng: np.random.Generator, limb_width: float) -> Patch:
    """A person seen from the front whose joints span `extent` pixels; limbs are lines of `limb_width` × extent."""
    joints, head_radius = _pose(rng)
    scale = extent / np.ptp(joints, axis=0).max()
    thickness = max(2, round(limb_width * extent))
    margin = int(np.ceil(head_radius * scale)) + thickness + 2
    joints = (joints - joints.min(axis=0)) * scale + margin + rng.uniform(0, 1, 2)
    width, height = np.ceil(joints.max(axis=0)).astype(int) + margin + 1
    pixels = np.zeros((height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    _paint_person((pixels, mask), joints, head_radius * scale, thickness, rng)
    return _cropped(Patch("person", pixels, mask.astype(bool), joints))


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """Any colour between dark and bright, float64 [3]: it says nothing about the category."""
    return rng.uniform(30, 225, 3)


def _polygon_patch(category: str, corners: np.ndarray, extent: float, rng: np.random.Generator) -> Patch:
    corners = corners - corners.min(axis=0)
    corners = corners * (extent / corners.max()) + 1 + rng.uniform(0, 1, 2)
    width, height = np.ceil(corners.max(axis=0)).astype(int) + 2
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, np.round(corners * 2**_SUBPIXEL_BITS).astype(np.int32), 1, shift=_SUBPIXEL_BITS)
    return _plain_patch(category, mask, rng)


def _plain_patch(category: str, mask: np.ndarray, rng: np.random.Generator) -> Patch:
    pixels = np.broadcast_to(random_colour(rng), (*mask.shape, 3))
    return _cropped(Patch(category, _shaded(pixels, rng), mask.astype(bool)))


def _shaded(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pixels under a light from a random side: a linear ramp of up to a fifth of their brightness."""
    height, width = pixels.shape[:2]
    across, down = rng.uniform(-0.2, 0.2, 2)
    ramp = 1 + across * np.linspace(-1, 1, width)[None, :] + down * np.linspace(-1, 1, height)[:, None]
    return np.clip(pixels * ramp[..., None], 0, 255).astype(np.uint8)


def _cropped(patch: Patch) -> Patch:
    """The patch cut to the bounds of its mask."""
    rows, columns = np.flatnonzero(patch.mask.any(axis=1)), np.flatnonzero(patch.mask.any(axis=0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    joints = None if patch.joints is None else patch.joints - [columns[0], rows[0]]
    return Patch(patch.category, patch.pixels[window], patch.mask[window], joints)


def _pose(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Joints [17, 2] of a person about one unit tall, y downwards, and the radius of the head.

    The person faces the viewer: its left side (+1) is on the right of the picture, before the body leans.
    """
    joints = np.zeros((17, 2))
    head_radius = rng.uniform(0.075, 0.1)
    hip_half, shoulder_half, torso = rng.uniform(0.06, 0.09), rng.uniform(0.1, 0.135), rng.uniform(0.27, 0.33)
    for side, name in ((1, "left"), (-1, "right")):
        joints[_JOINT[f"{name}_shoulder"]] = side * shoulder_half, -torso
        joints[_JOINT[f"{name}_hip"]] = side * hip_half, 0
        _place_limb(joints, (f"{name}_shoulder", f"{name}_elbow", f"{name}_wrist"), _arm_angles(rng), 0.17, side, rng)
        _place_limb(joints, (f"{name}_hip", f"{name}_knee", f"{name}_ankle"), _leg_angles(rng), 0.23, side, rng)
    _place_face(joints, np.array([0.0, -torso - 0.05 - head_radius]), head_radius, rng)
    lean = rng.normal(0, 0.15)
    turn = np.array([[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]])
    return joints @ turn.T, head_radius


def _arm_angles(rng: np.random.Generator) -> tuple[float, float]:
    """Upper arm and forearm, radians from hanging down, outwards positive."""
    upper = rng.uniform(-0.2, 1.8)
    return upper, upper + rng.uniform(-1.0, 1.4)


def _leg_angles(rng: np.random.Generator) -> tuple[float, float]:
    upper = rng.uniform(-0.25, 1.1)
    return upper, upper + rng.uniform(-1.0, 0.5)


def _place_limb(
    joints: np.ndarray,
    chain: tuple[str, str, str],
    angles: tuple[float, float],
    length: float,
    side: int,
    rng: np.random.Generator,
) -> None:
    """Set the second and third joint of `chain`; bones are foreshortened at random, as if they came forward."""
    for start, end, angle in zip(chain[:2], chain[1:], angles, strict=True):
        step = length * rng.uniform(0.75, 1.05)
        joints[_JOINT[end]] = joints[_JOINT[start]] + step * np.array([side * np.sin(angle), np.cos(angle)])


def _place_face(joints: np.ndarray, centre: np.ndarray, radius: float, rng: np.random.Generator) -> None:
    look = rng.uniform(-0.25, 0.25) * radius  # the face turns a little to a side
    joints[_JOINT["nose"]] = centre + np.array([look, 0.1 * radius])
    for side, name in ((1, "left"), (-1, "right")):
        joints[_JOINT[f"{name}_eye"]] = centre + np.array([look + side * 0.4 * radius, -0.25 * radius])
        joints[_JOINT[f"{name}_ear"]] = centre + np.array([side * 0.95 * radius, 0.0])


def _paint_person(
    canvas: tuple[np.ndarray, np.ndarray],
    joints: np.ndarray,
    head_radius: float,
    thickness: int,
    rng: np.random.Generator,
) -> None:
    """Paint legs, torso, head and arms, from back to front.

    Which side is the lighter one is drawn for each person: a mirrored picture is then as likely as the original, and
    the shade still tells which limbs belong together.
    """
    colour = random_colour(rng)
    lighter = rng.choice([1, -1])
    shade = {name: colour * (1.3 if side == lighter else 0.6) for side, name in ((1, "left"), (-1, "right"))}
    at = {name: joints[row] for name, row in _JOINT.items()}
    for name in ("left", "right"):
        for a, b in (("hip", "knee"), ("knee", "ankle")):
            _paint_line(canvas, at[f"{name}_{a}"], at[f"{name}_{b}"], shade[name], thickness)
    neck = (at["left_shoulder"] + at["right_shoulder"]) / 2
    head = (at["left_ear"] + at["right_ear"]) / 2
    _paint_line(canvas, neck, head, colour, thickness)
    torso = np.array([at["left_shoulder"], at["right_shoulder"], at["right_hip"], at["left_hip"]])
    _paint_torso(canvas, torso, colour, thickness)
    _paint_head(canvas, head, head_radius, at, random_colour(rng))
    order = ("left", "right") if rng.random() < 0.5 else ("right", "left")
    for name in order:
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist")):
            _paint_line(canvas, at[f"{name}_{a}"], at[f"{name}_{b}"], shade[name], thickness)
    canvas[0][:] = _shaded(canvas[0], rng)


def _paint_line(
    canvas: tuple[np.ndarray, np.ndarray], a: np.ndarray, b: np.ndarray, colour: np.ndarray, thickness: int
) -> None:
    pixels, mask = canvas
    cv2.line(pixels, _fixed(*a), _fixed(*b), _rgb(colour), thickness, shift=_SUBPIXEL_BITS)
    cv2.line(mask, _fixed(*a), _fixed(*b), 1, thickness, shift=_SUBPIXEL_BITS)


def _paint_torso(
    canvas: tuple[np.ndarray, np.ndarray], corners: np.ndarray, colour: np.ndarray, thickness: int
) -> None:
    points = np.round(corners * 2**_SUBPIXEL_BITS).astype(np.int32)
    for layer, value in zip(canvas, (_rgb(colour), 1), strict=True):
        cv2.fillConvexPoly(layer, points, value, shift=_SUBPIXEL_BITS)
        cv2.polylines(layer, [points], True, value, max(1, thickness // 2), shift=_SUBPIXEL_BITS)


def _paint_head(
    canvas: tuple[np.ndarray, np.ndarray],
    centre: np.ndarray,
    radius: float,
    at: dict[str, np.ndarray],
    colour: np.ndarray,
) -> None:
    """A disc with eyes and nose as dots where it is large enough for them to be seen."""
    for layer, value in zip(canvas, (_rgb(colour), 1), strict=True):
        size = round(max(radius, 1.5) * 2**_SUBPIXEL_BITS)
        cv2.circle(layer, _fixed(*centre), size, value, -1, shift=_SUBPIXEL_BITS)
    dot = round(0.16 * radius * 2**_SUBPIXEL_BITS)
    contrast = colour * 0.35 if colour.mean() > 110 else 255 - (255 - colour) * 0.35
    for name in ("left_eye", "right_eye", "nose"):
        if radius >= 3:
            cv2.circle(canvas[0], _fixed(*at[name]), dot, _rgb(contrast), -1, shift=_SUBPIXEL_BITS)


def _directions(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _fixed(x: float, y: float) -> tuple[int, int]:
    """A point in OpenCV's fixed-point coordinates."""
    return round(x * 2**_SUBPIXEL_BITS), round(y * 2**_SUBPIXEL_BITS)


def _rgb(colour: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = np.clip(colour, 0, 255)
    return float(red), float(green), float(blue)
