import numpy as np
import pytest

from maskrcnn.ops.anchors import cell_anchors, grid_anchors, pyramid_anchors

RATIOS = (0.5, 1.0, 2.0)
SIZES = (32.0, 64.0, 128.0, 256.0, 512.0)


def pyramid_cells(rounding: str) -> list[np.ndarray]:
    return [cell_anchors([size], RATIOS, rounding=rounding, order="size_major") for size in SIZES]


def test_a_tall_ratio_is_height_over_width():
    """PAPER §6 row 6: ratio 0.5 of size 32 is (-23, -11, 23, 11) in torchvision."""
    cells = cell_anchors([32.0], RATIOS, rounding="corners", order="ratio_major")
    np.testing.assert_array_equal(cells, [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]])


def test_rounded_cells_agree_with_torchvision(golden):
    np.testing.assert_array_equal(np.stack(pyramid_cells("corners")), golden["anchors.cell"])


def test_exact_cells_agree_with_detectron2s_formula(golden):
    np.testing.assert_allclose(np.stack(pyramid_cells("none")), golden["anchors.cell_unrounded"], rtol=1e-6)


def test_single_level_cells_are_ratio_major_as_in_torchvision(golden):
    got = cell_anchors(SIZES, RATIOS, rounding="corners", order="ratio_major")
    np.testing.assert_array_equal(got, golden["anchors.cell_single_level"])


def test_size_major_holds_the_same_anchors_with_all_ratios_of_a_size_together():
    by_size = cell_anchors(SIZES, RATIOS, rounding="none", order="size_major")
    by_ratio = cell_anchors(SIZES, RATIOS, rounding="none", order="ratio_major")
    np.testing.assert_array_equal(by_size.reshape(5, 3, 4), by_ratio.reshape(3, 5, 4).swapaxes(0, 1))


def test_pyramid_agrees_with_torchvision_where_strides_follow_the_grid(golden):
    grids = [tuple(map(int, size)) for size in golden["anchors.grid_sizes"]]
    strides = [tuple(map(int, stride)) for stride in golden["anchors.strides"]]
    levels = pyramid_anchors(grids, strides, pyramid_cells("corners"), 0.0)
    assert [tuple(level.shape) for level in levels] == [(h * w * 3, 4) for h, w in grids]
    np.testing.assert_array_equal(np.concatenate([np.asarray(level) for level in levels]), golden["anchors.all"])


def test_order_is_y_then_x_then_anchor_of_the_cell():
    cells = cell_anchors([8.0], (1.0, 4.0), rounding="none", order="size_major")
    got = np.asarray(grid_anchors(cells, 2, 3, 16, 32, 0.0)).reshape(2, 3, 2, 4)
    np.testing.assert_array_equal(got[1, 2, 0], cells[0] + [64, 16, 64, 16])
    np.testing.assert_array_equal(got[0, 1, 1], cells[1] + [32, 0, 32, 0])


def test_offset_moves_centres_by_a_share_of_the_stride():
    cells = cell_anchors([8.0], (1.0,), rounding="none", order="size_major")
    got = np.asarray(grid_anchors(cells, 1, 2, 16, 32, 0.5))
    np.testing.assert_array_equal(got, cells + np.array([[16, 8, 16, 8], [48, 8, 48, 8]]))


@pytest.mark.parametrize("choice", [{"rounding": "up", "order": "size_major"}, {"rounding": "none", "order": "rows"}])
def test_unknown_choices_are_refused(choice):
    with pytest.raises(ValueError, match="choose"):
        cell_anchors([8.0], (1.0,), **choice)
