"""Tests of model files: what is saved comes back, and whatever is no model file of ours is refused by name."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.models.detector import Detector
from maskrcnn.prediction.model_file import load_detector, save_detector
from maskrcnn.prediction.predictor import Predictor, load_predictor
from maskrcnn.structures import (
    AnchorSettings,
    BoxHeadSettings,
    Conventions,
    DetectorSettings,
    MaskHeadSettings,
    ProposalSettings,
    PyramidSettings,
    RoISettings,
)

METADATA = {
    "categories": [{"id": 1, "name": "person"}, {"id": 9, "name": "Ölkanne"}],
    "schema": {"names": ["a", "b"], "flip_pairs": [[0, 1]], "skeleton": [[0, 1]], "sigmas": [0.1, 0.2]},
    "image": {"short_side": 64, "long_side": 96},
}


def small_detector() -> Detector:
    settings = DetectorSettings(
        pyramid=PyramidSettings(channels=16, levels=3),
        anchors=AnchorSettings(sizes=[[14.0], [28.0], [56.0], [96.0]]),
        rpn=ProposalSettings(pre_nms_test=60, post_nms_test=30),
        roi=RoISettings(score_threshold=0.0, detections_per_image=8, canonical_size=56.0, canonical_level=3),
        box_head=BoxHeadSettings(channels=16),
        mask_head=MaskHeadSettings(convolutions=1, channels=8, predictor_std=1.0),
        conventions=Conventions(mask_paste="legacy"),
    )
    return Detector(settings, 2, metadata=METADATA)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "modell-ä.keras"
    save_detector(small_detector(), path)
    return path


def rewritten(source: Path, target: Path, **changes: Any) -> Path:
    """A copy of a model file with other values at the top of its configuration."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                data = json.dumps({**json.loads(data), **changes}).encode()
            new.writestr(name, data)
    return target


def test_saved_and_loaded_detectors_find_the_same(tmp_path: Path) -> None:
    predictor = Predictor(small_detector())
    images = [np.random.default_rng(i).integers(0, 256, (50 + 9 * i, 80, 3), dtype=np.uint8) for i in range(2)]
    predictor.save(tmp_path / "deep" / "m.keras")
    loaded = load_predictor(tmp_path / "deep" / "m.keras")
    for first, second in zip(predictor.predict_images(images), loaded.predict_images(images), strict=True):
        assert len(first) > 0
        np.testing.assert_array_equal(first.boxes, second.boxes)
        np.testing.assert_array_equal(first.scores, second.scores)
        assert first.masks == second.masks
    assert loaded.detector.settings == predictor.detector.settings


def test_categories_joints_and_image_size_travel_with_the_file(model_file: Path) -> None:
    predictor = load_predictor(model_file)
    assert predictor.category_names == ["person", "Ölkanne"]
    assert predictor.schema is not None
    assert predictor.schema.flip_pairs == ((0, 1),)
    assert (predictor.image.short_side, predictor.image.long_side) == (64, 96)
    assert predictor.conventions.mask_paste == "legacy"


def test_nothing_but_the_file_is_left_after_saving(model_file: Path) -> None:
    assert [p.name for p in model_file.parent.iterdir()] == [model_file.name]


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"m\.h5: a model file ends in \.keras"):
        save_detector(small_detector(), tmp_path / "m.h5")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html>Not found</html>", "web page"),
        (b"<HTML><body>", "web page"),
        (b"\x89HDF\r\n", "not a .keras file"),
        (b"PK\x03\x04 and no archive", "cut off or damaged"),
    ],
)
def test_what_is_no_model_file_is_refused_by_name(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"m\.keras: .*{words}"):
        load_detector(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(model_file: Path, tmp_path: Path, share: float) -> None:
    data = model_file.read_bytes()
    path = tmp_path / "m.keras"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match="cut off or damaged"):
        load_detector(path)


def test_a_damaged_byte_in_the_weights_is_noticed(model_file: Path, tmp_path: Path) -> None:
    data = bytearray(model_file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / "m.keras"
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="damaged"):
        load_detector(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.keras: model file is missing"):
        load_detector(tmp_path / "none.keras")
    with pytest.raises(UserError, match="found a folder"):
        load_detector(tmp_path)


def test_a_foreign_keras_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)]).save(path)
    with pytest.raises(UserError, match=r"class 'Sequential', not a detector of ours"):
        load_detector(path)


def test_a_class_hidden_in_our_configuration_is_refused(model_file: Path, tmp_path: Path) -> None:
    hidden = {"metadata": [{"class_name": "Lambda", "module": "keras.layers", "config": {}}]}
    path = rewritten(model_file, tmp_path / "m.keras", config=hidden)
    with pytest.raises(UserError, match="names the class 'Lambda' inside the detector"):
        load_detector(path)


def test_a_setting_of_another_version_is_named(model_file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(model_file) as archive:
        config = json.loads(archive.read("config.json"))["config"]
    config["settings"]["box_head"]["new_option"] = 1
    path = rewritten(model_file, tmp_path / "m.keras", config=config)
    with pytest.raises(UserError, match=r"does not fit this version.*new_option"):
        load_detector(path)


def test_a_zip_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match=r"a zip archive, but not a \.keras file"):
        load_detector(path)


def _rewritten(source: Path, target: Path, **members: bytes) -> Path:
    """A copy of an archive with further or replaced members (`__` stands for `.`)."""
    changed = {name.replace("__", "."): data for name, data in members.items()}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if name not in changed:
                new.writestr(name, old.read(name))
        for name, data in changed.items():
            new.writestr(name, data)
    return target


def _weights_with(edit: Callable[[h5py.File], None]) -> bytes:
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        edit(file)
    return held.getvalue()


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "assets/x.txt", "a\\..\\b"])
def test_members_that_a_model_does_not_have_are_refused(model_file: Path, tmp_path: Path, name: str) -> None:
    path = _rewritten(model_file, tmp_path / "m.keras", **{name: b"x"})
    with pytest.raises(UserError, match="model file refused"):
        load_detector(path)


def test_weights_that_lead_to_other_files_or_declare_too_much_are_refused(model_file: Path, tmp_path: Path) -> None:
    def external(file: h5py.File) -> None:
        file["layers"] = h5py.ExternalLink("other.h5", "/secret")

    def huge(file: h5py.File) -> None:
        file.create_dataset("w", shape=(2**40,), dtype="f4", chunks=(2**20,))

    for edit, reason in ((external, "is a link"), (huge, "declares")):
        path = _rewritten(model_file, tmp_path / "m.keras", model__weights__h5=_weights_with(edit))
        with pytest.raises(UserError, match=reason):
            load_detector(path)
