"""Scenes of the embedded data set: a textured background, one to six objects that hide each other, noise on top.

A scene is a function of (seed, split, index) alone, so any number of processes draws the same images. Masks, boxes
and joints describe what can be seen (PERFORMANCE §4.1); groups of small persons are drawn as one crowd region.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from maskrcnn.data.scene_objects import Patch, draw_circle, draw_person, draw_square, draw_triangle, random_colour

SCENE_VERSION = 3
"""Changes with the code of this module or of `scene_objects`, so that caches of older scenes are not used."""

CATEGORIES = ("person", "circle", "square", "triangle")
SPLITS = ("train", "test")


@dataclass(frozen=True)
class SceneSettings:
    """What decides how hard the scenes are; lengths are shares of the image's side."""

    count_shares: tuple[float, ...] = (0.12, 0.15, 0.17, 0.18, 0.19, 0.19)
    """How often one, two … six objects are drawn; what is hidden afterwards does not count as one."""
    category_shares: tuple[float, ...] = (0.34, 0.22, 0.22, 0.22)
    """Of persons, circles, squares and triangles."""
    extent: tuple[float, float] = (20 / 128, 100 / 128)
    """Longer side of most objects, uniform in its logarithm; 20 to 100 px of 128 in PERFORMANCE §4.1."""
    small_extent: tuple[float, float] = (12 / 128, 20 / 128)
    small_share: float = 0.03
    large_extent: tuple[float, float] = (0.75, 0.85)
    large_share: float = 0.03
    limb_width: float = 0.09
    """Width of limbs as a share of the person's extent; at least 2 px."""
    min_visible: float = 0.2
    """Objects with a smaller visible part (of all their pixels, also those outside the image) stay as clutter."""
    min_pixels: int = 12
    empty_share: float = 0.04
    """Images without objects."""
    crowd_share: float = 0.06
    """Images that hold a tight group of small persons, annotated as one crowd region."""
    crowd_members: tuple[int, int] = (5, 9)
    crowd_extent: tuple[float, float] = (14 / 128, 26 / 128)
    overhang: float = 0.27
    """An object's centre keeps this share of its extent from the border: the rest may lie outside."""
    neighbour_share: float = 0.3
    """Objects after the first that are set down near the one before, so that they overlap."""
    texture: tuple[float, float] = (3.0, 12.0)
    """Amplitude of the background's noise, in grey levels; stripes have up to the same."""
    pixel_noise: tuple[float, float] = (1.0, 5.0)


@dataclass(frozen=True)
class SceneObject:
    """What can be seen of one object.

    `mask` bool [H, W]; `keypoints` float64 [17, 3] in COCO's form (pixel indices and visibility), or None;
    `visible_fraction` in 0…1 of all pixels that it would have alone on an endless canvas.
    """

    category: str
    mask: np.ndarray
    visible_fraction: float
    keypoints: np.ndarray | None = None
    is_crowd: bool = False

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 of the visible pixels."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True)
class Scene:
    """An image, uint8 [H, W, 3] RGB, and its objects from back to front."""

    image: np.ndarray
    objects: tuple[SceneObject, ...]


@dataclass(frozen=True)
class _Placed:
    """A patch with its upper left corner in the image; members of a crowd share a `group`."""

    patch: Patch
    x: int
    y: int
    group: int
    is_crowd: bool

    @property
    def centre(self) -> np.ndarray:
        height, width = self.patch.mask.shape
        return np.array([self.x + width / 2, self.y + height / 2])


def render_scene(settings: SceneSettings, *, image_size: int, seed: int, split: str, index: int) -> Scene:
    """Image `index` of `split` ("train" or "test"), `image_size` pixels square."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, SPLITS.index(split), index]))
    image = _background(settings, image_size, rng)
    placed = _place_objects(settings, image_size, rng)
    owners = np.full((image_size, image_size), -1, np.int16)
    for item in placed:
        _paint(image, owners, item)
    image = _finish(settings, image, rng)
    return Scene(image, _visible_objects(settings, placed, owners))


def _background(settings: SceneSettings, size: int, rng: np.random.Generator) -> np.ndarray:
    """Float32 [size, size, 3]: a colour, noise of three octaves and, in two of three images, stripes."""
    canvas = np.tile(random_colour(rng).astype(np.float32), (size, size, 1))
    amplitude = rng.uniform(*settings.texture)
    for octave, cells in enumerate((4, 8, 16)):
        grey = rng.normal(size=(cells, cells, 1)) + 0.5 * rng.normal(size=(cells, cells, 3))
        noise = cv2.resize(grey.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        canvas += amplitude * 0.6**octave * noise
    if rng.random() < 2 / 3:
        canvas += _stripes(size, rng) * (amplitude * rng.uniform(0.3, 1.0, 3) * rng.choice([-1, 1], 3))
    return canvas.astype(np.float32)


def _stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    """Waves in -1…1 of random direction, period and sharpness, [size, size, 1]."""
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.05, 0.3) * size
    along = np.arange(size)[None, :] * np.cos(angle) + np.arange(size)[:, None] * np.sin(angle)
    wave = np.sin(2 * np.pi * (along / period + rng.random()))
    return np.tanh(rng.uniform(0.7, 5.0) * wave)[..., None]


def _place_objects(settings: SceneSettings, size: int, rng: np.random.Generator) -> list[_Placed]:
    """Objects and the members of a crowd, from back to front."""
    kind = rng.random()
    if kind < settings.empty_share:
        return []
    with_crowd = kind < settings.empty_share + settings.crowd_share
    count = 1 + int(rng.choice(len(settings.count_shares), p=settings.count_shares))
    count = count // 2 if with_crowd else count
    placed: list[_Placed] = []
    for group in range(count):
        near = placed[-1] if placed and rng.random() < settings.neighbour_share else None
        placed.append(_place_single(settings, size, group, near, rng))
    if with_crowd:
        layer = int(rng.integers(count + 1))
        placed[layer:layer] = _place_crowd(settings, size, count, rng)
    return placed


def _place_single(
    settings: SceneSettings, size: int, group: int, near: _Placed | None, rng: np.random.Generator
) -> _Placed:
    category = str(rng.choice(CATEGORIES, p=settings.category_shares))
    extent = _draw_extent(settings, rng) * size
    patch = _draw(category, extent, settings, rng)
    keep = min(0.5, settings.overhang * extent / size)
    centre = rng.uniform(keep, 1 - keep, 2) * size
    if near is not None:
        centre = np.clip(near.centre + rng.normal(0, 0.3 * extent, 2), keep * size, (1 - keep) * size)
    return _place(patch, centre, group, is_crowd=False)


def _draw_extent(settings: SceneSettings, rng: np.random.Generator) -> float:
    kind = rng.random()
    if kind < settings.small_share:
        return rng.uniform(*settings.small_extent)
    if kind < settings.small_share + settings.large_share:
        return rng.uniform(*settings.large_extent)
    low, high = settings.extent
    return float(low * (high / low) ** rng.uniform())


def _draw(category: str, extent: float, settings: SceneSettings, rng: np.random.Generator) -> Patch:
    if category == "person":
        return draw_person(extent, rng, settings.limb_width)
    return {"circle": draw_circle, "square": draw_square, "triangle": draw_triangle}[category](extent, rng)


def _place_crowd(settings: SceneSettings, size: int, group: int, rng: np.random.Generator) -> list[_Placed]:
    """Persons so close together that each hides a part of its neighbours."""
    members = int(rng.integers(settings.crowd_members[0], settings.crowd_members[1] + 1))
    extent = rng.uniform(*settings.crowd_extent) * size
    centre = rng.uniform(0.2, 0.8, 2) * size
    spread = rng.normal(0, 0.45, (members, 2)) * np.sqrt(members) / 2
    spots = centre + extent * spread * [0.9, 0.5]
    spots = spots[np.argsort(spots[:, 1])]  # those further down stand in front
    patches = [_draw("person", extent * rng.uniform(0.85, 1.15), settings, rng) for _ in range(members)]
    return [_place(patch, spot, group, is_crowd=True) for patch, spot in zip(patches, spots, strict=True)]


def _place(patch: Patch, centre: np.ndarray, group: int, *, is_crowd: bool) -> _Placed:
    height, width = patch.mask.shape
    x, y = np.round(centre - [width / 2, height / 2]).astype(int)
    return _Placed(patch, int(x), int(y), group, is_crowd)


def _windows(item: _Placed, size: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of the image that the patch covers, and the same part in the patch; both may be empty."""
    height, width = item.patch.mask.shape
    x1, y1, x2, y2 = (min(max(v, 0), size) for v in (item.x, item.y, item.x + width, item.y + height))
    inner = slice(y1 - item.y, y2 - item.y), slice(x1 - item.x, x2 - item.x)
    return (slice(y1, y2), slice(x1, x2)), inner


def _paint(image: np.ndarray, owners: np.ndarray, item: _Placed) -> None:
    outer, inner = _windows(item, len(image))
    mask = item.patch.mask[inner]
    image[outer][mask] = item.patch.pixels[inner][mask]
    owners[outer][mask] = item.group


def _finish(settings: SceneSettings, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Soften the edges a little, as a lens would, and add pixel noise."""
    image = cv2.GaussianBlur(image, (3, 3), 0.5)
    image += rng.normal(0, rng.uniform(*settings.pixel_noise), image.shape).astype(np.float32)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def _visible_objects(settings: SceneSettings, placed: list[_Placed], owners: np.ndarray) -> tuple[SceneObject, ...]:
    objects = []
    for group in dict.fromkeys(item.group for item in placed):
        members = [item for item in placed if item.group == group]
        mask = owners == group
        total = sum(int(item.patch.mask.sum()) for item in members)
        fraction = float(mask.sum()) / total
        if fraction >= settings.min_visible and mask.sum() >= settings.min_pixels:
            objects.append(_describe_object(members, mask, fraction))
    return tuple(objects)


def _describe_object(members: list[_Placed], mask: np.ndarray, fraction: float) -> SceneObject:
    first = members[0]
    if first.is_crowd or first.patch.joints is None:
        return SceneObject(first.patch.category, mask, fraction, is_crowd=first.is_crowd)
    joints = first.patch.joints + np.array([first.x, first.y])
    return SceneObject(first.patch.category, mask, fraction, _judge_joints(joints, mask))


def _judge_joints(joints: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Joints with their visibility: 2 where the visible mask touches the 3×3 around them, 1 hidden, 0 outside."""
    size = len(mask)
    touched = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    keypoints = np.zeros((len(joints), 3))
    for row, (x, y) in enumerate(np.round(joints, 2)):
        column, line = round(x), round(y)
        if 0 <= column < size and 0 <= line < size:
            keypoints[row] = min(max(x, 0), size - 1), min(max(y, 0), size - 1), 2 if touched[line, column] else 1
    return keypoints
