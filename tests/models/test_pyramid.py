"""The feature pyramid against a NumPy twin, at sizes that the strides divide and at odd ones."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.models.pyramid import FeaturePyramid, extra_level, upsample_to
from maskrcnn.structures import PyramidSettings


def random_maps(rng: np.random.Generator, sides: list[tuple[int, int]], channels: list[int]) -> dict[str, np.ndarray]:
    return {
        f"c{k}": rng.normal(size=(2, h, w, c)).astype("float32")
        for k, ((h, w), c) in enumerate(zip(sides, channels, strict=True), start=2)
    }


def nearest(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """torchvision's rule: floor(i · source / target)."""
    rows = np.arange(height) * x.shape[1] // height
    columns = np.arange(width) * x.shape[2] // width
    return x[:, rows][:, :, columns]


def convolve(x: np.ndarray, layer: keras.layers.Conv2D) -> np.ndarray:
    kernel, bias = (np.asarray(v) for v in layer.get_weights())
    pad = kernel.shape[0] // 2
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0))), kernel.shape[:2], axis=(1, 2)
    )
    return np.einsum("bhwcij,ijco->bhwo", windows, kernel) + bias


@pytest.mark.parametrize(
    "sides", [[(24, 32), (12, 16), (6, 8), (3, 4)], [(25, 17), (13, 9), (7, 5), (4, 3)], [(1, 1)] * 4]
)
def test_levels_are_laterals_plus_upsampled_sums_and_a_3x3(sides: list[tuple[int, int]]) -> None:
    maps = random_maps(np.random.default_rng(0), sides, [3, 5, 7, 9])
    pyramid = FeaturePyramid(PyramidSettings(channels=6, levels=4))
    found = pyramid(maps)
    merged = [convolve(x, layer) for x, layer in zip(maps.values(), pyramid.laterals, strict=True)]
    for k in (2, 1, 0):
        merged[k] = merged[k] + nearest(merged[k + 1], *merged[k].shape[1:3])
    for level, x, layer in zip(found, merged, pyramid.outputs_, strict=True):
        np.testing.assert_allclose(level, convolve(x, layer), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", range(1, 40))
def test_upsampling_is_torchvisions_nearest_rule(size: int) -> None:
    coarse = np.arange((size + 1) // 2, dtype="float32").reshape(1, -1, 1, 1)
    fine = np.zeros((1, size, 1, 1), "float32")
    np.testing.assert_array_equal(upsample_to(coarse, fine), nearest(coarse, size, 1))


@pytest.mark.parametrize("side", [1, 2, 7, 8])
def test_the_extra_level_is_every_second_pixel(side: int) -> None:
    last = np.arange(side * side, dtype="float32").reshape(1, side, side, 1)
    assert extra_level(last).shape == (1, (side + 1) // 2, (side + 1) // 2, 1)
    np.testing.assert_array_equal(extra_level(last), last[:, ::2, ::2])


def test_a_list_of_maps_gives_the_same_as_a_dict() -> None:
    maps = random_maps(np.random.default_rng(1), [(8, 8), (4, 4)], [3, 5])
    pyramid = FeaturePyramid(PyramidSettings(channels=4, levels=2))
    for a, b in zip(pyramid(maps), pyramid(list(maps.values())), strict=True):
        np.testing.assert_array_equal(a, b)


def test_fewer_levels_than_maps_use_the_finest() -> None:
    maps = random_maps(np.random.default_rng(1), [(8, 8), (4, 4), (2, 2)], [3, 5, 7])
    levels = FeaturePyramid(PyramidSettings(channels=4, levels=2))(maps)
    assert [level.shape[1] for level in levels] == [8, 4]


def test_more_levels_than_maps_are_refused_with_the_number_that_would_do() -> None:
    maps = random_maps(np.random.default_rng(1), [(8, 8), (4, 4)], [3, 5])
    with pytest.raises(UserError, match=r"pyramid.levels=2"):
        FeaturePyramid(PyramidSettings(channels=4, levels=3))(maps)


def test_initial_weights_are_uniform_over_the_inputs_and_biases_zero() -> None:
    pyramid = FeaturePyramid(PyramidSettings(channels=64, levels=1))
    pyramid([np.zeros((1, 4, 4, 48), "float32")])
    kernel, bias = pyramid.laterals[0].get_weights()
    limit = np.sqrt(3 / 48)  # kaiming_uniform with a=1
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_array_equal(bias, 0)


@pytest.mark.parametrize("norm", ["none", "group", "batch"])
def test_saved_pyramid_loads_to_the_same_outputs(norm: str, tmp_path: Path) -> None:
    inputs = [keras.Input((None, None, 3)), keras.Input((None, None, 5))]
    model = keras.Model(inputs, FeaturePyramid(PyramidSettings(channels=16, levels=2, norm=norm), name="p")(inputs))
    maps = list(random_maps(np.random.default_rng(2), [(9, 8), (5, 4)], [3, 5]).values())
    model.save(tmp_path / "pyramid.keras")
    loaded = keras.saving.load_model(tmp_path / "pyramid.keras")
    assert loaded.get_layer("p").laterals[0].use_bias == (norm == "none")
    for a, b in zip(model(maps), loaded(maps), strict=True):
        np.testing.assert_array_equal(a, b)


def test_half_precision_policy_gives_half_precision_maps() -> None:
    pyramid = FeaturePyramid(PyramidSettings(channels=8, levels=2), dtype="mixed_bfloat16")
    levels = pyramid([np.ones((1, 5, 5, 3), "float32"), np.ones((1, 3, 3, 3), "float32")])
    assert {keras.backend.standardize_dtype(level.dtype) for level in levels} == {"bfloat16"}
