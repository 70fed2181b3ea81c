import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskrcnn.ops.boxes import box_areas, clip_boxes, decode_boxes, encode_boxes, pairwise_iou

HEAD_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
UNIT_WEIGHTS = (1.0, 1.0, 1.0, 1.0)


@st.composite
def boxes(draw, count=5):
    corners = draw(hnp.arrays("float32", (count, 2), elements=st.floats(-100, 1000, width=32)))
    sides = draw(hnp.arrays("float32", (count, 2), elements=st.floats(0.5, 500, width=32)))
    return np.concatenate([corners, corners + sides], axis=-1).astype("float32")


def test_area_has_no_plus_one():
    assert np.asarray(box_areas(np.array([[0.0, 0.0, 10.0, 10.0]], "float32"))) == pytest.approx(100.0)


def test_reversed_corners_have_no_area():
    reversed_boxes = np.array([[5.0, 5.0, 1.0, 9.0], [5.0, 5.0, 1.0, 1.0]], "float32")
    np.testing.assert_array_equal(np.asarray(box_areas(reversed_boxes)), [0.0, 0.0])


def test_iou_agrees_with_torchvision_except_that_empty_boxes_give_zero(golden):
    got = np.asarray(pairwise_iou(golden["iou.boxes"], golden["iou.boxes"]))
    np.testing.assert_allclose(got, np.nan_to_num(golden["iou.matrix"]), rtol=1e-5, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(boxes(), boxes(3))
def test_iou_is_symmetric_and_between_zero_and_one(a, b):
    iou = np.asarray(pairwise_iou(a, b))
    assert iou.shape == (5, 3)
    assert np.all((iou >= 0.0) & (iou <= 1.0 + 1e-6))
    np.testing.assert_array_equal(iou, np.asarray(pairwise_iou(b, a)).T)
    np.testing.assert_allclose(np.diag(np.asarray(pairwise_iou(a, a))), 1.0, rtol=1e-5)


def test_iou_broadcasts_leading_dimensions_and_takes_empty_lists():
    a = np.zeros((2, 4, 4), "float32")
    assert pairwise_iou(a, np.zeros((2, 0, 4), "float32")).shape == (2, 4, 0)
    assert pairwise_iou(a, np.zeros((1, 3, 4), "float32")).shape == (2, 4, 3)


@pytest.mark.parametrize(("name", "weights"), [("w1", UNIT_WEIGHTS), ("w10", HEAD_WEIGHTS)])
def test_encode_agrees_with_torchvision(golden, name, weights):
    got = np.asarray(encode_boxes(golden["box_coder.target"], golden["box_coder.source"], weights))
    np.testing.assert_allclose(got, golden[f"box_coder.encode.{name}"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "weights"), [("w1", UNIT_WEIGHTS), ("w10", HEAD_WEIGHTS)])
def test_decode_agrees_with_torchvision_for_class_specific_deltas(golden, name, weights):
    deltas = golden["box_coder.deltas"].reshape(-1, 2, 4)
    expected = golden[f"box_coder.decode.{name}"]
    got = np.asarray(decode_boxes(deltas, golden["box_coder.source"][:, None], weights))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4 * np.abs(expected).max())


def test_clip_agrees_with_torchvision(golden):
    boxes = golden["box_coder.decode.w10"].reshape(1, -1, 4)
    got = np.asarray(clip_boxes(boxes, np.array([[240, 320]], "int32")))
    np.testing.assert_array_equal(got.reshape(-1, 2, 4), golden["box_coder.clip"])


def test_clip_uses_each_images_own_height_and_width():
    boxes = np.tile(np.array([-5.0, -5.0, 500.0, 500.0], "float32"), (2, 1, 1))
    got = np.asarray(clip_boxes(boxes, np.array([[30, 40], [70, 20]], "int32")))
    np.testing.assert_array_equal(got[:, 0], [[0, 0, 40, 30], [0, 0, 20, 70]])


@settings(max_examples=25, deadline=None)
@given(boxes(), boxes())
def test_decode_undoes_encode(targets, references):
    sides = (targets[:, 2:] - targets[:, :2]) / (references[:, 2:] - references[:, :2])
    inside_clamp = (sides < 62.5).all(axis=1)
    deltas = encode_boxes(targets, references, HEAD_WEIGHTS)
    got = np.asarray(decode_boxes(deltas, references, HEAD_WEIGHTS))
    # 1e-6 of the coordinates (up to 1500 px), grown by the division by small sides.
    np.testing.assert_allclose(got[inside_clamp], targets[inside_clamp], rtol=1e-4, atol=1e-2)


def test_huge_deltas_grow_a_box_by_62_and_a_half():
    """PAPER §6 row 8."""
    got = np.asarray(
        decode_boxes(np.full((1, 4), [0, 0, 1e4, 1e4], "float32"), np.float32([[0, 0, 16, 8]]), UNIT_WEIGHTS)
    )
    np.testing.assert_allclose(got[:, 2:] - got[:, :2], [[1000.0, 500.0]], rtol=1e-5)


def test_empty_boxes_encode_to_finite_deltas():
    empty, full = np.zeros((1, 4), "float32"), np.float32([[1, 2, 30, 40]])
    for targets, references in ((empty, full), (full, empty), (empty, empty)):
        assert np.isfinite(np.asarray(encode_boxes(targets, references, HEAD_WEIGHTS))).all()


def test_a_pixel_wide_box_on_the_border_survives_coding():
    targets, references = np.float32([[639, 479, 640, 480]]), np.float32([[600, 440, 640, 480]])
    got = np.asarray(decode_boxes(encode_boxes(targets, references, UNIT_WEIGHTS), references, UNIT_WEIGHTS))
    np.testing.assert_allclose(got, targets, atol=1e-3)
