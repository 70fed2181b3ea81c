"""The views of test-time augmentation: an image at several sizes, plain and mirrored, and the way between their frames.

Everything is expressed in the frame of the base view, which is the image as the network sees it without augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskrcnn.data.resize import resized_size
from maskrcnn.structures import KeypointSchema, ResizeSettings, TTASettings

Size = tuple[int, int]
_SIDES = ("left", "right")


@dataclass(frozen=True)
class View:
    """One way to look at an image: its size at the network's input is `scale` times the usual one."""

    scale: float
    flipped: bool

    def input_size(self, height: int, width: int, image: ResizeSettings, rule: str) -> Size:
        """Height and width at the network's input of an image of that size; `rule` rounds as its source does."""
        if image.short_side <= 0:
            return max(1, round(height * self.scale)), max(1, round(width * self.scale))
        short_side, long_side = (max(1, round(side * self.scale)) for side in (image.short_side, image.long_side))
        return resized_size(height, width, short_side, long_side, rule)


BASE_VIEW = View(1.0, False)


def views_of(settings: TTASettings) -> list[View]:
    """The views in order: the base view first, each scale plain, then mirrored."""
    scales = list(dict.fromkeys([1.0, *settings.scales]))
    return [View(scale, flipped) for scale in scales for flipped in ((False, True) if settings.flip else (False,))]


def boxes_to_view(boxes: np.ndarray, base: Size, size: Size, flipped: bool) -> np.ndarray:
    """Boxes `[N, 4]` of the base view (height, width `base`) in a view of `size`."""
    scaled = boxes * _factors(size, base)
    return _mirror(scaled, size[1]) if flipped else scaled


def boxes_to_base(boxes: np.ndarray, base: Size, size: Size, flipped: bool) -> np.ndarray:
    """The inverse of `boxes_to_view`."""
    return (_mirror(boxes, size[1]) if flipped else boxes) * _factors(base, size)


def _factors(to: Size, of: Size) -> np.ndarray:
    return np.array([to[1] / of[1], to[0] / of[0]] * 2, np.float32)


def _mirror(boxes: np.ndarray, width: int) -> np.ndarray:
    mirrored = boxes.copy()
    mirrored[..., 0], mirrored[..., 2] = width - boxes[..., 2], width - boxes[..., 0]
    return mirrored


def unpaired_joints(schema: KeypointSchema) -> np.ndarray:
    """bool `[K]`: joints of one side whose other side is not there, by the schema or by their names.

    A mirrored view shows such a joint as the other side's, for which there is no map.
    """
    paired = {joint for pair in schema.flip_pairs for joint in pair}
    sided = [name.lower().startswith(_SIDES) for name in schema.names]
    return np.array([k in schema.unpaired or (sided[k] and k not in paired) for k in range(len(schema))], bool)


def average_masks(maps: Sequence[np.ndarray], views: Sequence[View]) -> np.ndarray:
    """Mean of the views' maps `[..., m, m]` inside the same boxes, mirrored ones turned back."""
    return np.mean([m[..., ::-1] if view.flipped else m for m, view in zip(maps, views, strict=True)], axis=0)


def average_heatmaps(maps: Sequence[np.ndarray], views: Sequence[View], schema: KeypointSchema | None) -> np.ndarray:
    """Mean of the views' heat maps `[..., m, m, K]` inside the same boxes.

    Mirrored ones are turned back and their sides exchanged; a joint without its partner is averaged over the plain
    views alone, as all are where no schema tells their sides.
    """
    plain = np.mean([m for m, view in zip(maps, views, strict=True) if not view.flipped], axis=0)
    flipped = [m[..., ::-1, :] for m, view in zip(maps, views, strict=True) if view.flipped]
    if not flipped or schema is None:
        return plain
    mean = (plain + np.mean(flipped, axis=0)[..., list(schema.flip_permutation)]) / 2
    return np.where(unpaired_joints(schema), plain, mean)
