"""The figure of a keypoint evaluation: how well each joint is found, left joints beside their right partners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from maskrcnn.structures import KeypointSchema
from maskrcnn.visualization.colours import GREY, LEFT, RIGHT, hex_colour
from maskrcnn.visualization.figures import new_figure
from maskrcnn.visualization.skeletons import joint_sides
from maskrcnn.visualization.tables import cell_text

SIDE_COLOURS = {-1: hex_colour(LEFT), 0: hex_colour(GREY), 1: hex_colour(RIGHT)}


def joints_figure(
    columns: Mapping[str, Sequence[float | None]], schema: KeypointSchema, title: str = "Keypoints per joint"
) -> Figure:
    """Horizontal bars of each joint in the schema's order, one panel for each of `columns` (title → K values, 0…1).

    Bars have the colours of the sides in the overlays; an undefined value is «–».

    Raises:
        ValueError: a column with another number of values than the schema has joints.
    """
    figure = new_figure(2.2 + 3.4 * max(len(columns), 1), 1.3 + 0.26 * len(schema))
    figure.suptitle(title, fontsize=12)
    sides = joint_sides(schema)
    for number, (name, values) in enumerate(columns.items(), start=1):
        if len(values) != len(schema):
            raise ValueError(f"{name}: {len(values)} values for {len(schema)} joints")
        axes = figure.add_subplot(1, len(columns), number)
        _draw_bars(axes, values, sides)
        axes.set_title(name, fontsize=10.5)
        axes.set_yticks(np.arange(len(schema)), schema.names if number == 1 else [""] * len(schema), fontsize=9)
    if any(sides):
        patches = [Patch(color=SIDE_COLOURS[side], label=text) for side, text in ((-1, "left"), (1, "right"))]
        figure.legend(handles=patches, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def _draw_bars(axes: Axes, values: Sequence[float | None], sides: Sequence[int]) -> None:
    places = list(range(len(values)))
    axes.barh(places, [value or 0.0 for value in values], height=0.74, color=[SIDE_COLOURS[side] for side in sides])
    for place, value in zip(places, values):
        axes.text((value or 0.0) + 0.015, place, cell_text(value, 2), va="center", fontsize=8.5)
    axes.set(xlim=(0, 1.14), ylim=(len(values) - 0.4, -0.6), xticks=np.linspace(0, 1, 6))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
