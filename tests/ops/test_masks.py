import numpy as np
import pytest

from maskrcnn.ops.masks import mask_targets

HEIGHT, WIDTH = 300, 500


def targets(masks, boxes, rois, *, size=28, binary=True, batch_indices=None, matched=None):
    count = len(rois)
    zero = np.zeros(count, "int32")
    got = mask_targets(
        np.asarray(masks, "uint8"),
        np.asarray(boxes, "float32"),
        np.asarray(rois, "float32").reshape(-1, 4),
        zero if batch_indices is None else np.asarray(batch_indices, "int32"),
        zero if matched is None else np.asarray(matched, "int32"),
        size=size,
        binary=binary,
    )
    return np.asarray(got)


def off_centre_object() -> tuple[np.ndarray, np.ndarray]:
    """A full-resolution mask `[H, W]` of an L with a slanted edge, and its tight box."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    mask = (x > 300) & (x < 440) & (y > 40) & (y < 130) & ~((x > 350) & (y < 90)) & (x - 300 > 0.3 * (y - 90))
    rows, columns = np.where(mask.any(1))[0], np.where(mask.any(0))[0]
    return mask, np.float32([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def in_box(mask: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """The S × S grid of a mask that fills its box: the full mask at the grid's cell centres."""
    x = box[0] + (np.arange(side) + 0.5) / side * (box[2] - box[0])
    y = box[1] + (np.arange(side) + 0.5) / side * (box[3] - box[1])
    return mask[np.ix_(y.astype(int), x.astype(int))]


def exact_target(mask: np.ndarray, roi: np.ndarray, size: int) -> np.ndarray:
    """Slow twin: share of each target cell that the full-resolution mask covers, at 20 × 20 points of the cell."""
    fine = 20 * size
    x = roi[0] + (np.arange(fine) + 0.5) / fine * (roi[2] - roi[0])
    y = roi[1] + (np.arange(fine) + 0.5) / fine * (roi[3] - roi[1])
    inside = ((y >= 0) & (y < HEIGHT))[:, None] & ((x >= 0) & (x < WIDTH))[None]
    values = mask[np.ix_(y.clip(0, HEIGHT - 1).astype(int), x.clip(0, WIDTH - 1).astype(int))] & inside
    return values.reshape(size, 20, size, 20).mean(axis=(1, 3))


def mask_iou(a, b):
    a, b = a >= 0.5, b >= 0.5
    return (a & b).sum() / (a | b).sum()


ROIS = np.float32(
    [
        [300, 40, 440, 130],  # about the object's own box
        [330, 60, 450, 140],  # shifted
        [280, 20, 400, 100],
        [250, 0, 500, 200],  # larger than the object
        [305.3, 45.7, 420.1, 128.9],
    ]
)


@pytest.mark.parametrize(("side", "size", "least"), [(112, 28, 0.96), (56, 28, 0.95), (28, 28, 0.95), (112, 14, 0.96)])
def test_targets_agree_with_the_full_resolution_mask(side, size, least):
    """PAPER §6 rows 9 and 23: an off-centre object in a wide image, cropped by the proposal, not by its own box."""
    mask, box = off_centre_object()
    got = targets(in_box(mask, box, side)[None, None], box[None, None], ROIS, size=size)
    assert got.shape == (len(ROIS), size, size)
    for target, roi in zip(got, ROIS, strict=True):
        assert mask_iou(target, exact_target(mask, roi, size)) >= least, roi


def test_soft_targets_are_close_to_the_covered_share():
    mask, box = off_centre_object()
    got = targets(in_box(mask, box, 112)[None, None], box[None, None], ROIS, binary=False)
    expected = np.stack([exact_target(mask, roi, 28) for roi in ROIS])
    assert np.abs(got - expected).mean() < 0.005
    assert got.min() >= 0.0
    assert got.max() <= 1.0


def test_soft_targets_are_torchvisions_moved_by_its_half_pixel(golden):
    """torchvision crops with aligned=False, which reads the mask half a pixel too far to the upper left."""
    full = golden["mask_target.gt_masks"].astype(bool)
    boxes = []
    for mask in full:
        rows, columns = np.where(mask.any(1))[0], np.where(mask.any(0))[0]
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    boxes = np.float32(boxes)
    own = np.stack([in_box(mask, box, 112) for mask, box in zip(full, boxes, strict=True)])
    rois = golden["mask_target.boxes"] + 0.5
    got = targets(own[None], boxes[None], rois, binary=False, matched=golden["mask_target.matched"])
    error = np.abs(got - golden["mask_target.targets"]).mean(axis=(1, 2))
    # Row 4 is a mask of four pixels at the image's border, where the half pixel leaves the object's box.
    assert np.delete(error, 4).max() < 0.01


def test_a_shifted_proposal_shows_the_shifted_object():
    """PAPER §6 row 23."""
    full = np.ones((1, 1, 8, 8))
    (target,) = targets(full, [[[10, 10, 18, 18]]], [[14, 10, 22, 18]], size=8)
    np.testing.assert_array_equal(target, np.tile(np.repeat([1, 0], 4), (8, 1)))


def test_x_and_y_keep_their_axes():
    mask = np.zeros((1, 1, 4, 4))
    mask[0, 0, 0, 3] = 1  # upper right
    (target,) = targets(mask, [[[0, 0, 40, 8]]], [[0, 0, 40, 8]], size=4)
    np.testing.assert_array_equal(target, mask[0, 0])


def test_flipping_image_and_roi_flips_the_target():
    """PAPER §6 row 14."""
    mask, box = off_centre_object()
    own = in_box(mask, box, 56)
    flip = np.float32([-1, 1, -1, 1])

    def mirrored(boxes):
        return (boxes * flip + [WIDTH, 0, WIDTH, 0])[..., [2, 1, 0, 3]]

    plain = targets(own[None, None], box[None, None], ROIS, binary=False)
    flipped = targets(own[None, None, :, ::-1], mirrored(box)[None, None], mirrored(ROIS), binary=False)
    np.testing.assert_allclose(flipped[:, :, ::-1], plain, atol=2e-4)


def test_every_roi_reads_its_own_image_and_object():
    masks = np.zeros((2, 3, 4, 4))
    masks[1, 2] = 1
    boxes = np.tile(np.float32([0, 0, 8, 8]), (2, 3, 1))
    rois = np.tile(np.float32([0, 0, 8, 8]), (3, 1))
    got = targets(masks, boxes, rois, size=4, batch_indices=[0, 1, 1], matched=[2, 2, 1])
    np.testing.assert_array_equal(got.mean(axis=(1, 2)), [0, 1, 0])


def test_outside_the_ground_truth_box_the_target_is_zero():
    (target,) = targets(np.ones((1, 1, 4, 4)), [[[4, 4, 12, 12]]], [[0, 0, 16, 16]], size=16, binary=False)
    expected = np.zeros((16, 16))
    expected[4:12, 4:12] = 1
    np.testing.assert_allclose(target, expected, atol=1e-6)


def test_a_half_covered_cell_is_inside():
    half = np.zeros((1, 1, 8, 8))
    half[..., ::2] = 1
    assert targets(half, [[[0, 0, 10, 10]]], [[0, 0, 10, 10]], size=4).all()


def test_coarse_targets_average_instead_of_skipping():
    stripes = np.zeros((1, 1, 8, 8))
    stripes[..., ::2] = 1
    (target,) = targets(stripes, [[[0, 0, 10, 10]]], [[0, 0, 10, 10]], size=4, binary=False)
    np.testing.assert_allclose(target, 0.5, atol=1e-5)


def test_padding_rows_and_empty_rois_give_finite_zeros():
    got = targets(np.ones((1, 1, 4, 4)), [[[0, 0, 0, 0]]], [[0, 0, 0, 0], [5, 5, 5, 5], [1, 1, 9, 9]], size=4)
    np.testing.assert_array_equal(got, np.zeros((3, 4, 4)))


def test_no_rois_give_no_targets():
    assert targets(np.zeros((1, 2, 4, 4)), np.zeros((1, 2, 4)), np.zeros((0, 4)), size=7).shape == (0, 7, 7)
