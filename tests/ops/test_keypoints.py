import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.ops.keypoints import cubic_taps, decode_keypoints, keypoint_targets


def targets(keypoints, rois, size=56):
    cells, valid = keypoint_targets(np.asarray(keypoints, "float32"), np.asarray(rois, "float32"), size)
    return np.asarray(cells), np.asarray(valid)


def test_targets_agree_with_torchvision(golden):
    cells, valid = targets(golden["keypoint_target.keypoints"], golden["keypoint_target.boxes"])
    np.testing.assert_array_equal(cells, golden["keypoint_target.index"])
    np.testing.assert_array_equal(valid, golden["keypoint_target.valid"])


def test_decoding_agrees_with_torchvision(golden):
    joints = decode_keypoints(golden["keypoint_loss.logits"], golden["keypoint_decode.boxes"], "logit")
    assert joints.shape == (4, 2, 3)
    np.testing.assert_allclose(joints[..., :2], golden["keypoint_decode.xy"][..., :2], rtol=1e-5)
    np.testing.assert_allclose(joints[..., 2], golden["keypoint_decode.scores"], atol=1e-4)


def test_a_joint_on_the_right_or_lower_border_belongs_to_the_last_cell():
    cells, valid = targets([[[50, 10, 2], [20, 30, 2], [50, 30, 2], [50.01, 10, 2]]], [[10, 10, 50, 30]], size=4)
    np.testing.assert_array_equal(valid, [[True, True, True, False]])
    np.testing.assert_array_equal(cells, [[3, 13, 15, 0]])


def test_occluded_joints_count_and_unlabelled_ones_do_not():
    _, valid = targets([[[20, 20, 0], [20, 20, 1], [20, 20, 2]]], [[10, 10, 50, 30]])
    np.testing.assert_array_equal(valid, [[False, True, True]])


def test_cells_are_rows_times_size_plus_columns():
    cells, _ = targets([[[10.5, 29.5, 2]]], [[10, 10, 50, 30]], size=20)
    assert cells.tolist() == [[19 * 20 + 0]]


def test_empty_rois_and_far_joints_give_finite_cells():
    cells, valid = targets([[[1e9, -1e9, 2], [5, 5, 2]]], [[10, 10, 10, 10]])
    assert not valid.any()
    assert not cells.any()


def test_no_rois_give_no_joints():
    cells, valid = targets(np.zeros((0, 5, 3)), np.zeros((0, 4)))
    assert cells.shape == valid.shape == (0, 5)
    assert decode_keypoints(np.zeros((0, 56, 56, 5)), np.zeros((0, 4)), "softmax").shape == (0, 5, 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_a_one_hot_map_decodes_to_within_half_a_cell(seed):
    """PAPER §6 row 36: half a cell of the map, and half a pixel of the resized one."""
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 300, 2), rng.uniform(60, 300, 2)
    box = np.concatenate([corner, corner + side])
    points = corner + side * rng.uniform(0.05, 0.95, (17, 2))
    cells, valid = targets(np.c_[points, np.full(17, 2)][None], box[None])
    assert valid.all()
    maps = np.eye(56 * 56, dtype="float32")[cells[0]].reshape(17, 56, 56).transpose(1, 2, 0)[None]
    found = decode_keypoints(maps * 10, box[None], "logit")[0, :, :2]
    assert (np.abs(found - points) <= 0.5 * side / 56 + 0.5 + 1e-3).all()


def test_points_decoded_from_one_hot_maps_have_no_mean_error():
    rng = np.random.default_rng(3)
    points = rng.uniform(0, 112, (400, 2))
    cells, _ = targets(np.c_[points, np.full(400, 1)][None], [[0, 0, 112, 112]])
    maps = np.eye(56 * 56, dtype="float32")[cells[0]].reshape(400, 56, 56).transpose(1, 2, 0)[None]
    error = decode_keypoints(maps, np.float32([[0, 0, 112, 112]]), "logit")[0, :, :2] - points
    # Cells of 2 px: uniform error, deviation 0.58 px; four standard errors. The bicubic maximum of a single cell lies
    # on either of two equal pixels, the first of which is taken: a quarter of a cell towards the corner.
    np.testing.assert_allclose(error.mean(axis=0), -0.5, atol=4 * 0.58 / 20)


def test_a_person_narrower_than_a_pixel_is_decoded_inside_one_pixel():
    joints = decode_keypoints(
        np.random.default_rng(0).normal(size=(1, 56, 56, 3)), np.float32([[5, 5, 5.2, 45]]), "logit"
    )
    np.testing.assert_allclose(joints[0, :, 0], 5.5, atol=1e-5)


def test_softmax_scores_are_normalised_over_the_maps_own_cells():
    logits = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype("float32")
    boxes = np.float32([[0, 0, 8, 8], [0, 0, 16, 24]])
    joints, raw = (decode_keypoints(logits, boxes, kind) for kind in ("softmax", "logit"))
    total = np.exp(logits.astype("float64")).sum(axis=(1, 2))
    np.testing.assert_allclose(joints[..., 2], np.exp(raw[..., 2]) / total, rtol=1e-5)
    np.testing.assert_array_equal(joints[..., :2], raw[..., :2])


def test_softmax_scores_stay_finite_for_large_logits():
    joints = decode_keypoints(np.full((1, 8, 8, 1), 5000.0), np.float32([[0, 0, 8, 8]]), "softmax")
    assert joints[0, 0, 2] == pytest.approx(1 / 64, rel=1e-3)


def test_an_unknown_score_is_refused():
    with pytest.raises(ValueError, match="choose softmax or logit"):
        decode_keypoints(np.zeros((0, 8, 8, 1)), np.zeros((0, 4)), "sum")


def cubic_matrix(source, target):
    """Weights `[target, source]` of the taps."""
    cells, weights = cubic_taps(source, target)
    assert cells.shape == weights.shape == (target, 4)
    matrix = np.zeros((target, source))
    np.add.at(matrix, (np.arange(target)[:, None], cells), weights)
    return matrix


@pytest.mark.parametrize(("source", "target"), [(8, 8), (8, 3), (8, 29), (3, 5), (56, 1)])
def test_cubic_weights_of_each_pixel_sum_to_one(source, target):
    np.testing.assert_allclose(cubic_matrix(source, target).sum(axis=1), 1.0, atol=1e-6)


def test_cubic_resize_of_the_same_size_is_the_identity():
    np.testing.assert_allclose(cubic_matrix(9, 9), np.eye(9), atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1), st.sampled_from([0.0, 1.0, 30.0]), st.booleans())
def test_the_maximum_is_that_of_the_whole_resized_map(seed, peak, coarse):
    """Rows that cannot hold the maximum are skipped: flat, noisy and peaked maps, with ties."""
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(12, 12, 2)).round(0 if coarse else 6).astype("float32")
    maps[tuple(rng.integers(0, 12, 2))] += np.float32(peak)
    width, height = rng.integers(1, 40, 2)
    joints = decode_keypoints(maps[None], np.float32([[0, 0, width, height]]), "logit")[0]
    for joint, own in zip(joints, maps.transpose(2, 0, 1).astype("float64"), strict=True):
        whole = cubic_matrix(12, height) @ own @ cubic_matrix(12, width).T
        column, row = (joint[:2] - 0.5).round().astype(int)
        # Float32 sums may order exact ties otherwise: the value decides.
        assert whole[row, column] == pytest.approx(whole.max(), abs=1e-4)
        assert joint[2] == pytest.approx(whole.max(), abs=1e-4)
