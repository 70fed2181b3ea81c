"""Contact sheets: sizes, order, holes and titles."""

from __future__ import annotations

import numpy as np

from maskrcnn.visualization.canvas import text_extent
from maskrcnn.visualization.sheets import contact_sheet, shortened


def filled(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_pictures_stand_in_their_rows_and_columns() -> None:
    sheet = contact_sheet([[filled(60, 80, 10), filled(60, 80, 20)], [filled(60, 80, 30)]], cell=200)
    values = [10, 20, 30]
    centres = [np.argwhere((sheet == value).all(axis=-1)).mean(axis=0) for value in values]
    assert centres[0][0] == centres[1][0] < centres[2][0]
    assert centres[0][1] == centres[2][1] < centres[1][1]


def test_titles_are_written_beside_the_pictures() -> None:
    rows = [[filled(100, 100, 50), filled(100, 100, 50)]]
    plain, titled = contact_sheet(rows), contact_sheet(rows, ["one", "two"], ["image 7"])
    assert titled.shape[0] > plain.shape[0]
    assert titled.shape[1] > plain.shape[1]
    dark = (titled < 30).all(axis=-1)
    assert dark[:20].any()
    assert dark[:, :20].any()


def test_holes_and_different_shapes_are_allowed() -> None:
    sheet = contact_sheet([[None, filled(10, 500, 9)], [filled(500, 10, 9), None], []], ["a"], ["x", "y", "z"])
    assert sheet.dtype == np.uint8
    assert sheet.ndim == 3


def test_an_empty_sheet_is_a_blank_picture() -> None:
    for rows in ([], [[]], [[None]]):
        sheet = contact_sheet(rows)
        assert min(sheet.shape[:2]) >= 320


def test_one_long_row_is_never_too_thin_for_a_thumbnail() -> None:
    sheet = contact_sheet([[filled(20, 400, 9)] * 12])
    assert sheet.shape[1] <= 8 * sheet.shape[0]


def test_long_titles_are_cut_to_the_width() -> None:
    cut = shortened("backbone=resnet50_fpn,head=keypoint,num_keypoints=17", 14, 120)
    assert cut.endswith("…")
    assert text_extent(cut, 14)[0] <= 120
    assert shortened("short", 14, 120) == "short"
    assert shortened("anything", 14, 1) == ""
