"""Contact sheets: many pictures in a grid with titles, such as rows of images against columns of runs."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from maskrcnn.visualization.canvas import draw_text, text_extent, unthinned
from maskrcnn.visualization.colours import BLACK, PALE, WHITE

GAP = 6


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray | None]],
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    *,
    cell: int = 320,
) -> np.ndarray:
    """The pictures in a grid, each scaled to fit its cell; None leaves a cell empty.

    Args:
        rows: uint8 [H, W, 3] pictures, in rows that may differ in length.
        column_titles: one for each column, written above it; long ones are cut with an ellipsis.
        row_titles: one for each row, written upward at its left.
        cell: longer side of a cell in pixels; cells are as wide and high as their pictures need.

    Returns:
        uint8 [H', W', 3]; a blank cell if there is no picture at all.
    """
    columns = max((len(row) for row in rows), default=0)
    size = max(12, cell // 22)
    fitted = [[None if picture is None else _fitted(picture, cell) for picture in row] for row in rows]
    heights = [_largest(row, 0, cell) for row in fitted]
    widths = [_largest([row[k] for row in fitted if k < len(row)], 1, cell) for k in range(columns)]
    left = GAP + (round(1.6 * size) if any(row_titles) else 0)
    top = GAP + (round(1.6 * size) if any(column_titles) else 0)
    starts_x = left + np.cumsum([0, *(width + GAP for width in widths)])
    starts_y = top + np.cumsum([0, *(height + GAP for height in heights)])
    sheet = np.full((max(int(starts_y[-1]), cell), max(int(starts_x[-1]), cell), 3), 255, np.uint8)
    for title, x, width in zip(column_titles, starts_x, widths):
        draw_text(sheet, shortened(title, size, width), int(x), round(0.3 * size), size, colour=BLACK)
    for title, y, height in zip(row_titles, starts_y, heights):
        _write_upward(sheet, shortened(title, size, height), round(0.3 * size), int(y), height, size)
    for row, y, height in zip(fitted, starts_y, heights):
        for picture, x, width in zip(row, starts_x, widths):
            _place(sheet[y : y + height, x : x + width], picture)
    return unthinned(sheet, WHITE)


def _fitted(picture: np.ndarray, cell: int) -> np.ndarray:
    factor = cell / max(picture.shape[:2])
    height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)


def _largest(pictures: Sequence[np.ndarray | None], axis: int, default: int) -> int:
    return max((picture.shape[axis] for picture in pictures if picture is not None), default=default)


def _place(window: np.ndarray, picture: np.ndarray | None) -> None:
    """Centres the picture in its cell; the rest of the cell is pale."""
    window[...] = PALE
    if picture is not None:
        y, x = ((a - b) // 2 for a, b in zip(window.shape[:2], picture.shape[:2]))
        window[y : y + picture.shape[0], x : x + picture.shape[1]] = picture


def shortened(text: str, size: int, width: int) -> str:
    """The text, cut with an ellipsis so that it is at most `width` pixels long at this letter size."""
    if text_extent(text, size)[0] <= width:
        return text
    for length in range(len(text) - 1, 0, -1):
        cut = text[:length].rstrip() + "…"
        if text_extent(cut, size)[0] <= width:
            return cut
    return ""


def _write_upward(sheet: np.ndarray, text: str, x: int, y: int, height: int, size: int) -> None:
    strip = np.full((text_extent(text, size)[1], height, 3), 255, np.uint8)
    draw_text(strip, text, max(0, (height - text_extent(text, size)[0]) // 2), 0, size, colour=BLACK)
    turned = np.rot90(strip)
    sheet[y : y + height, x : x + turned.shape[1]] = turned
