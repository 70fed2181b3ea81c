import functools

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from maskrcnn.ops import roi_align as roi_align_module
from maskrcnn.ops.roi_align import Places, align_by_gathers, roi_align, roi_levels, roi_pool

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="only TensorFlow has a second form, and adaptive loops of any length",
)


def on_one_map(features, rois, *, scale=1.0, size=7, ratio=2, aligned=False, form=roi_align):
    """Output for `rois [R, 5]` (image, box in cells of `features`)."""
    boxes, images = rois[:, 1:] / np.float32(scale), rois[:, 0].astype("int32")
    if form is align_by_gathers:
        scaled = roi_align_module._align_rois(roi_align_module._boxes_in_cells(boxes, 0 * images, [1 / scale]), aligned)
        size = (size, size) if isinstance(size, int) else size
        return np.asarray(align_by_gathers([features], scaled, Places(images, 0 * images), size, ratio))
    return np.asarray(
        roi_align(
            [features],
            boxes,
            images,
            np.full(len(boxes), 2, "int32"),
            min_level=2,
            output_size=size,
            sampling_ratio=ratio,
            aligned=aligned,
            strides=[1 / scale],
        )
    )


@pytest.mark.parametrize("form", [roi_align, align_by_gathers])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [2, pytest.param(0, marks=needs_tensorflow)])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_output_agrees_with_torchvision_for_every_kind_of_roi(golden, form, aligned, ratio, scale):
    """Inside, small, partly and wholly outside, empty, reversed, tiny, on the border, large."""
    args = golden["roi_align.features"], golden["roi_align.rois_cells"]
    for size, name in ((7, "7x7"), ((3, 5), "3x5")):
        got = on_one_map(*args, scale=scale, size=size, ratio=ratio, aligned=aligned, form=form)
        expected = golden[f"roi_align.out.scale1.aligned{int(aligned)}.sr{ratio}.{name}"]
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [7, 14])
def test_pyramid_agrees_with_torchvision(golden, size):
    boxes = np.concatenate([golden["fpn_pool.boxes0"], golden["fpn_pool.boxes1"]])
    images = np.repeat(np.int32([0, 1]), [15, 5])
    levels = roi_levels(boxes, min_level=2, max_level=5, canonical_size=224, canonical_level=4, epsilon="outside")
    np.testing.assert_array_equal(np.asarray(levels), golden["fpn_pool.levels"])
    features = [golden[f"fpn_pool.p{level}"] for level in (2, 3, 4, 5)]
    options = {"min_level": 2, "sampling_ratio": 2, "aligned": False, "strides": [4, 8, 16, 32]}
    got = roi_align(features, boxes, images, levels, output_size=size, **options)
    np.testing.assert_allclose(np.asarray(got), golden[f"fpn_pool.out{size}"], rtol=1e-5, atol=2e-5)


def test_output_of_a_ramp_is_the_coordinate_of_the_bin_centre():
    """PAPER §6 row 1: f(y, x) = x and = y; the cell with index j is at coordinate j + 0.5 of the box."""
    y, x = np.mgrid[:20, :30].astype("float32")
    features = np.stack([x, y], axis=-1)[None]
    rng = np.random.default_rng(0)
    corner = rng.uniform(1, 12, (12, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.3, 6, (12, 2))], axis=1)
    rois = np.concatenate([np.zeros((12, 1)), boxes], axis=1).astype("float32")
    centers = boxes[:, None, :2] + (np.arange(7)[:, None] + 0.5) / 7 * (boxes[:, None, 2:] - boxes[:, None, :2]) - 0.5
    for ratio in (1, 2, 3):
        got = on_one_map(features, rois, ratio=ratio, aligned=True)
        np.testing.assert_allclose(got[:, 0, :, 0], centers[:, :, 0], atol=2e-5)
        np.testing.assert_allclose(got[:, :, 0, 1], centers[:, :, 1], atol=2e-5)


def test_a_roi_on_the_border_of_a_constant_map_gives_the_constant():
    """PAPER §6 row 3."""
    rois = np.float32([[0, 0, 0, 3, 2], [0, 27, 17, 30, 20], [0, 0, 0, 30, 20], [0, 29.5, 19.5, 30, 20]])
    got = on_one_map(np.full((1, 20, 30, 1), 3.0, "float32"), rois, aligned=True)
    np.testing.assert_allclose(got, 3.0, rtol=1e-6)


def test_level_rule_agrees_with_torchvision(golden):
    got = roi_levels(
        golden["fpn_levels.boxes"], min_level=2, max_level=5, canonical_size=224, canonical_level=4, epsilon="outside"
    )
    # Rows 5 and 8 to 11 lie within a few float32 roundings of a boundary: they depend on how log2 is computed.
    sure = np.delete(np.arange(20), [5, 8, 9, 10, 11])
    np.testing.assert_array_equal(np.asarray(got)[sure], golden["fpn_levels.level"][sure])


@pytest.mark.parametrize("epsilon", ["inside", "outside"])
def test_level_of_a_box_by_its_size(epsilon):
    """PAPER §6 row 28."""
    sides = np.float32([1, 112, 223.9, 224, 448, 1e4, 0, np.nan])
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=-1)
    got = roi_levels(boxes, min_level=2, max_level=5, canonical_size=224, canonical_level=4, epsilon=epsilon)
    np.testing.assert_array_equal(np.asarray(got), [2, 3, 3, 4, 5, 5, 2, 2])


def test_an_unknown_epsilon_is_refused():
    with pytest.raises(ValueError, match="choose inside or outside"):
        roi_levels(np.zeros((1, 4)), min_level=2, max_level=5, canonical_size=224, canonical_level=4, epsilon="0")


def random_rois(rng, count, height, width):
    """Boxes in an image: any size, tiny ones, and many that touch or lie on the border."""
    corner = rng.uniform(0, 1, (count, 2)) ** rng.choice([0.1, 1, 5], (count, 1)) * [width, height]
    side = np.exp(rng.uniform(np.log(1e-2), np.log(max(width, height)), (count, 2)))
    boxes = np.concatenate([corner, corner + side], axis=1)
    snapped = np.where(rng.uniform(size=boxes.shape) < 0.2, np.float32([width, height, width, height]), boxes)
    return np.clip(snapped, 0, [width, height, width, height]).astype("float32")


NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
PYRAMID = (("float32", (None, None, None, 3)),) * 3


@pytest.fixture
def both_forms(compiled):
    """Outputs of the backend's form and of the reference form on a pyramid of three levels."""

    def run(features, boxes, images, levels, *, ratio, aligned):
        def make(form):
            def graph(p2, p3, p4, boxes, images, levels):
                places = Places(images, levels - 2)
                scaled = roi_align_module._align_rois(
                    roi_align_module._boxes_in_cells(boxes, places.level, [4, 8, 16]), aligned
                )
                return form([p2, p3, p4], scaled, places, (7, 7), ratio)

            return graph

        from maskrcnn.ops.roi_align_tensorflow import align_by_crops

        rois = (("float32", 2), ("int32", 1), ("int32", 1))
        args = (*features, boxes, images, levels)
        return [
            np.asarray(compiled((form, ratio, aligned), functools.partial(make, form), *PYRAMID, *rois)(*args))
            for form in (align_by_crops, align_by_gathers)
        ]

    return run


@needs_tensorflow
@settings(
    max_examples=40, deadline=None, phases=NO_SHRINKING, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(0, 2**31 - 1),
    st.sampled_from([(64, 96), (16, 16), (48, 16), (32, 112)]),
    st.sampled_from([1, 2, 3, 0]),
    st.booleans(),
)
def test_the_fast_form_equals_the_reference_for_every_roi_of_an_image(both_forms, seed, size, ratio, aligned):
    rng = np.random.default_rng(seed)
    features = [rng.normal(size=(2, size[0] // s, size[1] // s, 3)).astype("float32") for s in (4, 8, 16)]
    boxes = random_rois(rng, 30, *size)
    images, levels = rng.integers(0, 2, 30).astype("int32"), rng.integers(2, 5, 30).astype("int32")
    fast, reference = both_forms(features, boxes, images, levels, ratio=ratio, aligned=aligned)
    assert fast.shape == reference.shape == (30, 7, 7, 3)
    # Coordinates are rounded at the size of the atlas: 1e-5 cells, times differences of neighbours of size 1.
    np.testing.assert_allclose(fast, reference, atol=1e-4)


@needs_tensorflow
def test_the_fast_form_equals_the_reference_beyond_the_image_too(both_forms):
    rng = np.random.default_rng(1)
    features = [rng.normal(size=(1, 64 // s, 96 // s, 3)).astype("float32") for s in (4, 8, 16)]
    corner = rng.uniform(-60, 150, (200, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(-5, 80, (200, 2))], axis=1).astype("float32")
    images, levels = np.zeros(200, "int32"), rng.integers(2, 5, 200).astype("int32")
    for aligned in (False, True):
        for ratio in (2, 0):
            fast, reference = both_forms(features, boxes, images, levels, ratio=ratio, aligned=aligned)
            np.testing.assert_allclose(fast, reference, atol=1e-4)


@needs_tensorflow
@pytest.mark.parametrize("ratio", [1, 2, 0])
def test_the_gradient_of_the_fast_form_is_that_of_the_reference(ratio):
    """RoI by RoI: the kernel's gradient is wrong where several threads add to one cell (FACTS 4.20)."""
    import tensorflow as tf

    from maskrcnn.ops.roi_align_tensorflow import align_by_crops

    rng = np.random.default_rng(3)
    features = [tf.constant(rng.normal(size=(2, 32 // s, 48 // s, 3)).astype("float32")) for s in (4, 8)]
    for box in random_rois(rng, 8, 32, 48):
        places = Places(tf.constant([1]), tf.constant([int(rng.integers(2))]))
        scaled = roi_align_module._align_rois(
            roi_align_module._boxes_in_cells(tf.constant(box[None]), places.level, [4, 8]), True
        )
        upstream = tf.constant(rng.normal(size=(1, 3, 3, 3)).astype("float32"))
        gradients = []
        for form in (align_by_crops, align_by_gathers):
            with tf.GradientTape() as tape:
                tape.watch(features)
                total = tf.reduce_sum(form(features, scaled, places, (3, 3), ratio) * upstream)
            gradients.append(tape.gradient(total, features, unconnected_gradients="zero"))
        for fast, reference in zip(*gradients):
            np.testing.assert_allclose(tf.convert_to_tensor(fast), tf.convert_to_tensor(reference), atol=1e-4)


def test_packed_maps_are_the_same_maps_and_give_the_same_features():
    rng = np.random.default_rng(4)
    features = [
        keras.ops.convert_to_tensor(rng.normal(size=(1, 16 // s, 24 // s, 2)).astype("float32")) for s in (1, 2)
    ]
    packed = roi_align_module.pack_maps(features)
    assert all(a is b for a, b in zip(packed, features, strict=True))
    boxes, images = np.float32([[1, 2, 20, 14], [3, 3, 9, 5]]), np.zeros(2, "int32")
    options = {"min_level": 2, "output_size": 3, "sampling_ratio": 2, "aligned": True, "strides": [1, 2]}
    plain, fast = (np.asarray(roi_align(f, boxes, images, np.int32([2, 3]), **options)) for f in (features, packed))
    np.testing.assert_array_equal(plain, fast)


@needs_tensorflow
@pytest.mark.parametrize("ratio", [2, 0])
def test_no_rois_give_no_features(both_forms, ratio):
    features = [np.zeros((1, n, n, 3), "float32") for n in (8, 4, 2)]
    none = np.zeros(0, "int32")
    for got in both_forms(features, np.zeros((0, 4), "float32"), none, none, ratio=ratio, aligned=True):
        assert got.shape == (0, 7, 7, 3)


def test_boxes_that_are_not_finite_do_not_end_the_process():
    features = np.ones((1, 8, 8, 2), "float32")
    rois = np.float32([[0, np.nan, 0, 4, 4], [0, 0, 0, np.inf, 4], [0, -np.inf, 0, 4, np.nan]])
    for form in (roi_align, align_by_gathers):
        assert np.isfinite(on_one_map(features, rois, form=form, aligned=True)).all()


def test_output_has_the_features_type():
    features = keras.ops.cast(np.ones((1, 8, 8, 2)), "bfloat16")
    got = roi_align(
        [features], np.float32([[0, 0, 8, 8]]), np.int32([0]), np.int32([2]),
        min_level=2, output_size=2, sampling_ratio=2, aligned=True, strides=[1],
    )  # fmt: skip
    assert "bfloat16" in str(got.dtype)


@needs_tensorflow
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_pooling_agrees_with_torchvision(golden, scale):
    rois = golden["roi_align.rois_cells"]
    got = roi_pool(
        [golden["roi_align.features"]],
        rois[:, 1:] / np.float32(scale),
        rois[:, 0].astype("int32"),
        np.full(16, 3, "int32"),
        min_level=3,
        output_size=7,
        strides=[1 / scale],
    )
    np.testing.assert_array_equal(np.asarray(got), golden["roi_pool.out.scale1"])


@needs_tensorflow
@pytest.mark.parametrize("ratio", [2, 0])
def test_boxes_get_no_gradient_and_no_rois_give_none_to_the_features(ratio):
    import tensorflow as tf

    features = tf.Variable(np.ones((1, 8, 8, 2), "float32"))

    @tf.function(input_signature=[tf.TensorSpec([None, 4])])
    def gradients(boxes):
        images = tf.zeros(tf.shape(boxes)[:1], tf.int32)
        options = {"min_level": 2, "output_size": 2, "sampling_ratio": ratio, "aligned": True, "strides": [1]}
        with tf.GradientTape() as tape:
            tape.watch(boxes)
            total = tf.reduce_sum(roi_align([features], boxes, images, images + 2, **options))
        return tape.gradient(total, [features, boxes])

    to_features, to_boxes = gradients(np.float32([[1, 1, 7, 7]]))
    assert to_boxes is None
    # Means: each of 2 x 2 bins and 2 channels shares 1 among the cells.
    assert float(tf.reduce_sum(to_features)) == pytest.approx(8.0, rel=1e-5)
    to_features, _ = gradients(np.zeros((0, 4), "float32"))
    assert not to_features.numpy().any()
