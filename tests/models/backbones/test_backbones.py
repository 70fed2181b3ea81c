"""What all backbones have in common: maps, strides, counts, freezing, saving, precision."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.models.backbones import BACKBONE_NAMES, RESNETS, backbone_strides, blocks, build_backbone
from maskrcnn.models.pyramid import FeaturePyramid
from maskrcnn.structures import BackboneSettings, Conventions, PyramidSettings

PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
}
"""Parameters of torchvision's classifiers: golden/model_facts.json, and torchvision's weights metadata for the
three that are not in it (resnet152, resnext50_32x4d, resnext101_64x4d)."""
BATCH_NORM = {"resnet18": 9_600, "resnet34": 17_024, "resnet50": 53_120, "resnet101": 105_344}
"""Of these, gamma and beta; as many are the running statistics (golden/model_facts.json)."""
FROZEN_KERNELS = {"resnet18": 156_864, "resnet50": 222_400}
"""Kernels of stem and res2: parameters without batch norm less those that train with three backbone stages
(golden/model_facts.json, maskrcnn_resnet18_fpn and fasterrcnn_resnet50_fpn)."""
CLASSES = 1000


@pytest.fixture
def cheap_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large networks are built for their shapes alone: random numbers would take the time."""
    monkeypatch.setattr(blocks, "HE", "zeros")


def backbone(name: str = "small", norm: str = "frozen", frozen_stages: int = 0, network: str = "") -> keras.Model:
    return build_backbone(BackboneSettings(name, network, norm, frozen_stages), Conventions())


def count(variables: Any) -> int:
    return sum(int(np.prod(v.shape)) for v in variables)


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_parameters_are_those_of_the_published_classifier(name: str, cheap_kernels: None) -> None:
    model = backbone(name, "batch")
    features = model.output["c5"].shape[-1]
    assert count(model.trainable_variables) + CLASSES * features + CLASSES == PUBLISHED[name]
    assert count(model.non_trainable_variables) == BATCH_NORM.get(name, count(model.non_trainable_variables))


def test_frozen_norms_put_their_affine_terms_among_what_does_not_train(cheap_kernels: None) -> None:
    assert count(backbone("resnet18").non_trainable_variables) == 2 * BATCH_NORM["resnet18"]


@pytest.mark.parametrize("name", list(FROZEN_KERNELS))
def test_two_frozen_stages_are_torchvisions_default(name: str, cheap_kernels: None) -> None:
    free, frozen = backbone(name), backbone(name, frozen_stages=2)
    assert count(free.trainable_variables) - count(frozen.trainable_variables) == FROZEN_KERNELS[name]


def test_every_frozen_stage_takes_its_layers_out_of_training() -> None:
    trained = [
        {v.path.split("/")[0].split("_")[0] for v in backbone("small", "group", k).trainable_variables}
        for k in range(5)
    ]
    assert trained == [{"stem", "res2", "res3", "res4"}, {"res2", "res3", "res4"}, {"res3", "res4"}, {"res4"}, set()]


def test_frozen_norms_and_the_norms_of_frozen_stages_keep_their_statistics_in_training() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 32, 32, 3)).astype("float32")
    for norm, stages in (("frozen", 0), ("batch", 2)):
        model = backbone("small", norm, stages)
        before = [np.asarray(v) for v in model.non_trainable_variables]
        model(x, training=True)
        changed = {
            v.path for v, old in zip(model.non_trainable_variables, before, strict=True) if (np.asarray(v) != old).any()
        }
        assert {path.split("_")[0] for path in changed} == (set() if norm == "frozen" else {"res3", "res4"})


@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_maps_have_the_rounded_up_share_of_every_size(name: str) -> None:
    model, strides = backbone(name, "group"), backbone_strides(BackboneSettings(name))
    for side in range(64, 98):
        maps = model.compute_output_spec(keras.KerasTensor((1, side, 161 - side, 3)))
        assert {key: tuple(spec.shape[1:3]) for key, spec in maps.items()} == {
            key: (-(-side // stride), -(-(161 - side) // stride)) for key, stride in strides.items()
        }


def test_one_network_takes_images_of_any_size() -> None:
    model = backbone("small", "group")
    for height, width in ((32, 32), (65, 97), (128, 40)):
        maps = model(np.zeros((1, height, width, 3), "float32"))
        assert {key: tuple(x.shape[1:3]) for key, x in maps.items()} == {
            key: (-(-height // s), -(-width // s)) for key, s in model.strides.items()
        }


def test_the_small_network_is_that_of_the_prototype() -> None:
    model = backbone("small", "group")
    assert {key: x.shape[-1] for key, x in model.output.items()} == {"c2": 32, "c3": 64, "c4": 128}
    assert [
        layer.filters for layer in model.layers if layer.name.startswith("stem_conv") and hasattr(layer, "filters")
    ] == [16, 32]


def test_convolutions_of_one_network_start_from_different_values() -> None:
    model = backbone("small", "group")
    one, two = (model.get_layer(f"res2_1_conv{k}").get_weights()[0] for k in (1, 2))
    assert np.abs(one - two).max() > 0.1
    assert 0.8 < one.std() / np.sqrt(2 / (9 * 32)) < 1.2  # He: variance 2 / inputs


def test_convolutions_before_a_norm_have_no_bias() -> None:
    assert not any(layer.use_bias for layer in backbone("resnet18").layers if isinstance(layer, keras.layers.Conv2D))


def test_attributes_say_what_was_built() -> None:
    settings, conventions = BackboneSettings("small"), Conventions(bn_epsilon=0.5)
    model = build_backbone(settings, conventions)
    assert (model.settings, model.conventions) == (settings, conventions)
    assert model.strides == {"c2": 4, "c3": 8, "c4": 16}
    assert model.get_layer("stem_norm1").epsilon == 0.5


def test_names_and_an_unknown_one() -> None:
    assert set(RESNETS) < set(BACKBONE_NAMES)
    with pytest.raises(UserError, match=r"resnet51.*choose one of small, resnet18"):
        backbone("resnet51")


@keras.saving.register_keras_serializable("maskrcnn_tests")
class Parent(keras.Model):
    """A model that rebuilds its backbone from settings, as the detector does."""

    def __init__(self, settings: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = BackboneSettings(**settings)
        self.backbone = build_backbone(self.settings, Conventions())
        levels = len(self.backbone.strides)
        self.pyramid = FeaturePyramid(PyramidSettings(channels=8, levels=levels, norm="group"))
        self.pyramid.build({key: tuple(x.shape) for key, x in self.backbone.output.items()})
        self.built = True

    def call(self, images: Any, training: bool = False) -> Any:
        return self.pyramid(self.backbone(images, training=training), training=training)

    def get_config(self) -> dict[str, Any]:
        return {"settings": dataclasses.asdict(self.settings)}


@pytest.mark.parametrize(
    ("name", "norm", "network"),
    [
        ("small", "group", ""),
        ("small", "batch", ""),
        ("small", "frozen", ""),
        ("mobilenetv2", "frozen", ""),
        ("applications", "frozen", "EfficientNetB0"),
    ],
)
def test_saved_parent_loads_to_the_same_outputs(name: str, norm: str, network: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    settings = {"name": name, "norm": norm, "network": network, "frozen_stages": 2}
    parent = Parent(settings)
    parent.backbone.set_weights(
        [w + rng.uniform(0, 0.2, w.shape).astype("float32") * (w.ndim == 1) for w in parent.backbone.get_weights()]
    )
    x = rng.normal(size=(1, 32, 32, 3)).astype("float32")
    parent.save(tmp_path / "parent.keras")
    loaded = keras.saving.load_model(tmp_path / "parent.keras")
    assert len(loaded.trainable_variables) == len(parent.trainable_variables)
    for a, b in zip(parent(x), loaded(x), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("norm", ["group", "batch", "frozen"])
def test_mixed_precision_keeps_float32_variables(norm: str) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = backbone("small", norm)
        maps = model(np.ones((1, 32, 32, 3), "float32"), training=True)
    finally:
        keras.config.set_dtype_policy(before)
    assert {keras.backend.standardize_dtype(x.dtype) for x in maps.values()} == {"bfloat16"}
    assert {v.dtype for v in model.variables} == {"float32"}
