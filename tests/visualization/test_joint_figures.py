"""The figure of joints: bars in the schema's order and in the colours of the sides."""

from __future__ import annotations

import matplotlib.colors
import pytest

from maskrcnn.structures import COCO_PERSON, KeypointSchema
from maskrcnn.visualization.colours import LEFT, RIGHT, hex_colour
from maskrcnn.visualization.figures import figure_pixels
from maskrcnn.visualization.joint_figures import joints_figure


def test_bars_stand_in_the_order_of_the_joints_with_their_values() -> None:
    schema = KeypointSchema(("nose", "left_eye", "right_eye"), flip_pairs=((1, 2),))
    figure = joints_figure({"PCK": [0.5, None, 0.25], "mean OKS": [0.9, None, 0.1]}, schema)
    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["nose", "left_eye", "right_eye"]
    assert [text.get_text() for text in first.texts] == ["0.50", "–", "0.25"]
    assert (first.get_title(), second.get_title()) == ("PCK", "mean OKS")
    colours = [matplotlib.colors.to_hex(bar.get_facecolor()) for bar in first.patches]
    assert colours[1:] == [hex_colour(LEFT), hex_colour(RIGHT)]


@pytest.mark.parametrize("count", [1, 2, 17])
def test_any_number_of_joints_makes_a_picture(count: int) -> None:
    schema = COCO_PERSON.select(range(count))
    pixels = figure_pixels(joints_figure({"PCK": [0.5] * count}, schema))
    assert pixels.shape[0] > 100
    assert pixels.shape[2] == 3


def test_another_number_of_values_than_joints_is_refused() -> None:
    with pytest.raises(ValueError, match="2 values for 17 joints"):
        joints_figure({"PCK": [0.1, 0.2]}, COCO_PERSON)
