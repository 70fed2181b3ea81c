"""ImageNet files in backbones: the same maps as the stock network, all of the file or nothing."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

from maskrcnn.errors import UserError
from maskrcnn.models.backbones import (
    build_backbone,
    imagenet_conventions,
    imagenet_network,
    load_backbone_weights,
)
from maskrcnn.structures import BackboneSettings, Conventions

MOBILENET = Path(__file__).resolve().parents[3] / "../shared/data/weights/mobilenet_v2_1.0_imagenet_notop.weights.h5"
MOBILENET_ENDS = ("block_2_add", "block_5_add", "block_12_add", "block_16_project_BN")
RESNET_ENDS = ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")


def randomise(model: keras.Model) -> None:
    """Statistics, affine terms and biases that are not those of a fresh network."""
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.uniform(0, 0.1, w.shape) * (w.ndim == 1) for w in model.get_weights()])


def stock_maps(stock: keras.Model, ends: tuple[str, ...], x: np.ndarray) -> list[np.ndarray]:
    return keras.Model(stock.input, [stock.get_layer(end).output for end in ends]).predict(x, verbose=0)


def assert_same_maps(backbone: keras.Model, expected: list[np.ndarray], x: np.ndarray) -> None:
    for ours, theirs in zip(backbone.predict(x, verbose=0).values(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * theirs.std())


def images() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")


def save_legacy(model: keras.Model, path: Path) -> None:
    """The format of the published `notop.h5` files."""
    import h5py

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def test_the_published_mobilenetv2_gives_the_stock_network_s_maps() -> None:
    if not MOBILENET.exists():
        pytest.skip("needs ../shared/data/weights")
    stock = keras.applications.MobileNetV2(weights=str(MOBILENET), include_top=False, input_shape=(64, 64, 3))
    backbone = build_backbone(BackboneSettings("mobilenetv2", norm="frozen"), Conventions())
    load_backbone_weights(backbone, MOBILENET)
    assert_same_maps(backbone, stock_maps(stock, MOBILENET_ENDS, images()), images())


def test_a_legacy_file_and_a_file_of_the_backbone_itself_load(tmp_path: Path) -> None:
    stock = keras.applications.MobileNetV3Small(weights=None, include_top=False, input_shape=(64, 64, 3))
    randomise(stock)
    settings = BackboneSettings("applications", "MobileNetV3Small", "frozen")
    first, second = (build_backbone(settings, Conventions()) for _ in range(2))
    save_legacy(stock, tmp_path / "stock_notop.h5")
    load_backbone_weights(first, tmp_path / "stock_notop.h5")
    for name in ("expanded_conv_project_bn", "conv_1_bn"):
        for a, b in zip(first.get_layer(name).get_weights(), stock.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    first.save_weights(tmp_path / "own.weights.h5")
    load_backbone_weights(second, tmp_path / "own.weights.h5")
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_keras_resnet_fills_ours_with_its_biases_in_the_means(tmp_path: Path) -> None:
    stock = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(64, 64, 3))
    randomise(stock)
    stock.save_weights(tmp_path / "stock.weights.h5")
    settings = BackboneSettings("resnet50", norm="frozen")
    backbone = build_backbone(settings, imagenet_conventions(settings, Conventions()))
    load_backbone_weights(backbone, tmp_path / "stock.weights.h5")
    assert_same_maps(backbone, stock_maps(stock, RESNET_ENDS, images()), images())
    strided_in_3x3 = build_backbone(settings, Conventions())
    with pytest.raises(UserError, match="stride_in_1x1=true"):
        load_backbone_weights(strided_in_3x3, tmp_path / "stock.weights.h5")


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", None])
def test_files_of_something_else_are_refused_and_change_nothing(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    if content is None:
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(path)
    else:
        path.write_bytes(content)
    backbone = build_backbone(BackboneSettings("small", norm="frozen"), Conventions())
    before = backbone.get_weights()
    with pytest.raises(UserError, match=r"other\.weights\.h5: not a weights file of small"):
        load_backbone_weights(backbone, path)
    for a, b in zip(backbone.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_missing_file_and_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    backbone = build_backbone(BackboneSettings("small", norm="frozen"), Conventions())
    with pytest.raises(UserError, match="no such file"):
        load_backbone_weights(backbone, tmp_path / "none.weights.h5")
    broken = build_backbone(BackboneSettings("small", norm="frozen"), Conventions())
    broken.get_layer("stem_norm1").gamma.assign(np.full(16, np.nan))
    broken.save_weights(tmp_path / "nan.weights.h5")
    with pytest.raises(UserError, match="1 weights are not there or not finite"):
        load_backbone_weights(backbone, tmp_path / "nan.weights.h5")


def test_imagenet_networks_and_what_they_demand() -> None:
    assert imagenet_network(BackboneSettings("resnet101")) == "ResNet101"
    assert imagenet_network(BackboneSettings("mobilenetv2")) == "MobileNetV2"
    assert imagenet_network(BackboneSettings("applications", "VGG16")) == "VGG16"
    with pytest.raises(UserError, match="no ImageNet weights for resnet18"):
        imagenet_network(BackboneSettings("resnet18"))
    resnet = imagenet_conventions(BackboneSettings("resnet50"), Conventions(pad_multiple=64))
    assert (resnet.channel_order, resnet.stride_in_1x1, resnet.bn_epsilon) == ("bgr", True, 1.001e-5)
    assert (resnet.pixel_mean, resnet.pad_multiple) == ([103.939, 116.779, 123.68], 64)
    mobilenet = imagenet_conventions(BackboneSettings("mobilenetv2"), Conventions())
    assert (mobilenet.pixel_std, mobilenet.stride_in_1x1) == ([127.5] * 3, False)
