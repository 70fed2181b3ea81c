"""Colours that people with any colour vision tell apart, and the rule by which an instance gets its own.

The palette is Okabe and Ito's (Color Universal Design, 2008) without black; its later rounds are lighter and darker
tones of the same hues. Colours are RGB, 0…255.
"""

from __future__ import annotations

import numpy as np

Colour = tuple[int, int, int]

SKY, ORANGE, GREEN, PURPLE = (86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167)
YELLOW, BLUE, VERMILION = (240, 228, 66), (0, 114, 178), (213, 94, 0)
OKABE_ITO: tuple[Colour, ...] = (SKY, ORANGE, GREEN, PURPLE, YELLOW, BLUE, VERMILION)
BLACK, WHITE, GREY, PALE = (0, 0, 0), (255, 255, 255), (128, 128, 128), (235, 235, 235)

LEFT, RIGHT, MIDDLE = ORANGE, BLUE, WHITE
"""Limbs: blue against orange is the pair that all common forms of colour blindness keep apart."""

SAME_OBJECT_IOU = 0.5


def _mixed(colour: Colour, with_colour: Colour, share: float) -> Colour:
    red, green, blue = (round(a * (1 - share) + b * share) for a, b in zip(colour, with_colour))
    return red, green, blue


PALETTE: tuple[Colour, ...] = (
    *OKABE_ITO,
    *(_mixed(colour, WHITE, 0.5) for colour in OKABE_ITO),
    *(_mixed(colour, BLACK, 0.4) for colour in OKABE_ITO),
)


def instance_colour(index: int) -> Colour:
    """The colour of instance number `index` (from 0): the same in each picture and run; repeats after 21."""
    return PALETTE[index % len(PALETTE)]


def hex_colour(colour: Colour) -> str:
    """`#rrggbb`, as matplotlib wants it.

    >>> hex_colour((86, 180, 233))
    '#56b4e9'
    """
    return "#{:02x}{:02x}{:02x}".format(*colour)


def text_colour(background: Colour) -> Colour:
    """Black or white, whichever stands out against `background` (ITU-R BT.601 luma)."""
    red, green, blue = background
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else WHITE


def match_to_truth(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The instance number of each detection: its ground truth's row, or a number of its own after those.

    Detections are taken in their order (falling score); each takes the ground truth of highest IoU that is still
    free, from an IoU of 0.5. Labels do not matter: a wrong name on the right object keeps the object's colour.

    Args:
        boxes: [D, 4] x1, y1, x2, y2.
        truth: [M, 4] in the same frame.

    Returns:
        [D] int64; numbers below M are matches, the others count on from M.
    """
    overlaps = pairwise_iou(np.asarray(boxes, np.float64), np.asarray(truth, np.float64))
    numbers, following = np.zeros(len(boxes), np.int64), len(truth)
    for row in range(len(boxes)):
        best = int(np.argmax(overlaps[row])) if len(truth) else -1
        if best >= 0 and overlaps[row, best] >= SAME_OBJECT_IOU:
            numbers[row] = best
            overlaps[:, best] = -1.0
        else:
            numbers[row] = following
            following += 1
    return numbers


def pairwise_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of each box of `first` [N, 4] with each of `second` [M, 4]: [N, M]; 0 for empty boxes."""
    first, second = first.reshape(-1, 4), second.reshape(-1, 4)
    corner = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    intersection = np.prod(np.clip(corner, 0.0, None), axis=-1)
    areas = [np.prod(np.clip(b[:, 2:] - b[:, :2], 0.0, None), axis=-1) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - intersection
    return np.where(union > 0.0, intersection / np.maximum(union, 1e-12), 0.0)
