"""Networks of `keras.applications` as backbones: ends by shape, pixels, norms, and what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.models.backbones import backbone_pixels, build_backbone
from maskrcnn.models.backbones.applications import (
    AlignToStride,
    application_names,
    preprocessing_mode,
    stock_network,
)
from maskrcnn.structures import BackboneSettings, Conventions


def application(network: str, norm: str = "frozen", frozen_stages: int = 0) -> keras.Model:
    return build_backbone(BackboneSettings("applications", network, norm, frozen_stages), Conventions())


def norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.mark.parametrize(
    ("network", "channels"),
    [
        ("MobileNetV2", [144, 192, 576, 1280]),
        ("MobileNetV3Small", [72, 96, 288, 576]),
        ("ResNet50", [256, 512, 1024, 2048]),
        ("EfficientNetB0", [144, 240, 672, 1280]),
        ("VGG16", [256, 512, 512, 512]),
        ("Xception", [256, 728, 1024, 2048]),
    ],
)
def test_last_map_of_each_stride_is_found(network: str, channels: list[int]) -> None:
    model = application(network)
    maps = model.compute_output_spec(keras.KerasTensor((1, 96, 160, 3)))
    assert {key: tuple(x.shape[1:]) for key, x in maps.items()} == {
        f"c{k}": (96 // 2**k, 160 // 2**k, c) for k, c in enumerate(channels, start=2)
    }


def test_mobilenetv2_ends_at_the_narrow_sums() -> None:
    model = build_backbone(BackboneSettings("mobilenetv2", norm="frozen"), Conventions())
    assert {key: x.shape[-1] for key, x in model.output.items()} == {"c2": 24, "c3": 32, "c4": 96, "c5": 320}


def test_valid_convolutions_are_centred_again() -> None:
    layer = AlignToStride(4)
    x = np.arange(1.0, 10.0, dtype="float32").reshape(1, 3, 3, 1)
    aligned = np.asarray(layer([x, np.zeros((1, 20, 17, 3), "float32")]))[0, ..., 0]
    np.testing.assert_array_equal(aligned, np.pad(x[0, ..., 0], 1))
    smaller = np.asarray(layer([x, np.zeros((1, 12, 13, 3), "float32")]))[0, ..., 0]
    np.testing.assert_array_equal(smaller, np.pad(x[0, ..., 0], ((0, 0), (0, 1))))


def test_aligned_maps_work_in_a_graph_of_any_size() -> None:
    inputs = [keras.Input((None, None, 2)), keras.Input((None, None, 3))]
    model = keras.Model(inputs, AlignToStride(8)(inputs))
    for side, pixels in ((6, 64), (5, 41)):
        found = model([np.ones((1, side, side, 2), "float32"), np.ones((1, pixels, pixels, 3), "float32")])
        assert found.shape == (1, -(-pixels // 8), -(-pixels // 8), 2)
        assert np.asarray(found).sum() == 2 * side**2


def test_every_network_has_a_preprocessing_mode() -> None:
    modes = {name: preprocessing_mode(name) for name in application_names()}
    assert len(modes) >= 38
    assert {modes[n] for n in ("ResNet50", "VGG16")} == {"caffe"}
    assert {modes[n] for n in ("ResNet50V2", "MobileNetV3Large", "InceptionResNetV2", "NASNetMobile")} == {"tf"}
    assert {modes[n] for n in ("DenseNet121", "EfficientNetB0", "EfficientNetV2B1", "ConvNeXtTiny")} == {"torch"}
    assert modes["EfficientNetV2S"] == "tf128"


@pytest.mark.parametrize("network", ["ResNet50", "ResNet50V2", "DenseNet121"])
def test_pixels_agree_with_keras_own_preprocessing(network: str) -> None:
    module = {"ResNet50": "resnet", "ResNet50V2": "resnet_v2", "DenseNet121": "densenet"}[network]
    rgb = np.random.default_rng(0).uniform(0, 255, (1, 2, 2, 3)).astype("float32")
    expected = getattr(keras.applications, module).preprocess_input(rgb.copy())
    order, mean, std = backbone_pixels(BackboneSettings("applications", network))
    pixels = rgb[..., ::-1] if order == "bgr" else rgb
    np.testing.assert_allclose((pixels - mean) / std, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", ["MobileNetV3Small", "EfficientNetV2B0", "EfficientNetV2S", "ConvNeXtTiny"])
def test_pixels_replace_the_preprocessing_layers_that_a_network_has_inside(network: str) -> None:
    builder = getattr(keras.applications, network)
    stock = builder(include_top=False, weights=None, input_shape=(32, 32, 3))
    inside = [x for x in stock._flatten_layers() if isinstance(x, keras.layers.Rescaling | keras.layers.Normalization)]
    x = rgb = np.random.default_rng(0).uniform(0, 255, (1, 2, 2, 3)).astype("float32")
    for layer in inside:
        x = layer(x)
    _, mean, std = backbone_pixels(BackboneSettings("applications", network))
    np.testing.assert_allclose((rgb - mean) / std, x, rtol=1e-3, atol=1e-3)


def test_preprocessing_is_cut_off() -> None:
    kept = [type(layer).__name__ for layer in application("EfficientNetB0").layers]
    assert "Rescaling" not in kept
    assert "Normalization" not in kept


def test_frozen_norms_keep_their_statistics_and_batch_norms_follow() -> None:
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    for norm in ("frozen", "batch"):
        model = application("MobileNetV3Small", norm)
        before = [np.asarray(layer.moving_mean) for layer in norms(model)]
        model(x, training=True)
        changed = [(np.asarray(n.moving_mean) != old).any() for n, old in zip(norms(model), before, strict=True)]
        assert any(changed) == (norm == "batch")


def test_frozen_stages_are_cut_by_stride() -> None:
    trained = [len(application("MobileNetV2", "batch", k).trainable_variables) for k in range(6)]
    assert trained == sorted(trained, reverse=True)
    assert len(set(trained)) == 6
    assert trained[-1] == 0


def test_names_norms_and_networks_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"no network 'ResNet51'; did you mean ResNet"):
        application("ResNet51")
    with pytest.raises(UserError, match=r"no network ''; did you mean"):
        application("")
    with pytest.raises(UserError, match=r"batch norms, not 'group'; choose frozen"):
        application("MobileNetV2", "group")
    with pytest.raises(UserError, match=r"nasnet_mobile is made for one image size"):
        application("NASNetMobile")


def test_the_stock_network_has_no_weights_to_fetch() -> None:
    assert stock_network("MobileNetV2").name.startswith("mobilenetv2")
