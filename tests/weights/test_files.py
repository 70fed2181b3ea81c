"""Well-formed files of every format give their arrays: names, shapes, types and values."""

from __future__ import annotations

import json
import pickle
import runpy
import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from maskrcnn.weights.files import is_keras_model, read_weights

FOREIGN = runpy.run_path(str(Path(__file__).with_name("foreign.py")))
Global, Call, Persistent, dumps = (FOREIGN[name] for name in ("Global", "Call", "Persistent", "dumps"))
storage, tensor, state_value = (FOREIGN[name] for name in ("storage", "tensor", "state_value"))
torch_zip, torch_legacy = FOREIGN["torch_zip"], FOREIGN["torch_legacy"]

ARRAYS: dict[str, np.ndarray] = {
    "conv.weight": np.arange(24, dtype="<f4").reshape(2, 3, 4),
    "conv.half": np.array([0.5, -2], "<f2"),
    "norm.count": np.array(1000, "<i8"),
    "double": np.linspace(0, 1, 5),
    "flags": np.array([True, False]),
    "bytes": np.arange(7, dtype="|u1"),
    "none": np.zeros((0, 3), "<f4"),
}


def read(folder: Path, name: str, data: bytes) -> dict[str, np.ndarray]:
    (folder / name).write_bytes(data)
    return read_weights(folder / name)


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape), name


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_s_zip_archive(tmp_path: Path, protocol: int) -> None:
    value, blocks = state_value(ARRAYS)
    same(read(tmp_path, "a.pth", torch_zip(dumps(value, protocol), blocks)), ARRAYS)


def test_torch_s_zip_archive_packed_again(tmp_path: Path) -> None:
    value, blocks = state_value(ARRAYS)
    same(read(tmp_path, "a.pt", torch_zip(dumps(value), blocks, compression=zipfile.ZIP_DEFLATED)), ARRAYS)


@pytest.mark.parametrize("protocol", [2, 4])
def test_torch_s_files_before_the_archive(tmp_path: Path, protocol: int) -> None:
    arrays = {"a.weight": ARRAYS["conv.weight"], "a.bias": np.ones(3, "<f4")}
    value, blocks = state_value(arrays, legacy=True)
    same(read(tmp_path, "a.pth", torch_legacy(dumps(value, protocol), blocks)), arrays)


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict"])
def test_wrappers_and_prefixes_are_taken_off(tmp_path: Path, key: str) -> None:
    arrays = {f"module.{name}": values for name, values in ARRAYS.items()}
    value, blocks = state_value(arrays)
    moments = {"state": {0: {"momentum_buffer": tensor(storage("FloatStorage", "missing", 3), 0, (3,), (1,))}}}
    checkpoint = {key: value, "optimizer": moments, "epoch": 7, "best": 0.5, "notes": [None, True, "é"]}
    same(read(tmp_path, "a.pth", torch_zip(dumps(checkpoint), blocks)), ARRAYS)


def test_views_of_one_storage_keep_their_strides(tmp_path: Path) -> None:
    block = storage("FloatStorage", "0", 12)
    numbers = np.arange(12, dtype="<f4")
    value = {
        "whole": tensor(block, 0, (3, 4), (4, 1)),
        "turned": tensor(block, 0, (4, 3), (1, 4)),
        "part": tensor(block, 5, (2, 2), (4, 2)),
        "expanded": tensor(block, 3, (5,), (0,)),
        "scalar": tensor(block, 11, (), ()),
    }
    found = read(tmp_path, "a.pth", torch_zip(dumps(value), {"0": numbers.tobytes()}))
    whole = numbers.reshape(3, 4)
    wanted = {
        "whole": whole,
        "turned": whole.T,
        "part": whole[1:3, 1::2],
        "expanded": np.full(5, 3, "f4"),
        "scalar": np.float32(11),
    }
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)


def test_parameters_and_bfloat16(tmp_path: Path) -> None:
    numbers = np.array([1.5, -2.0, 0.0078125], "<f4")
    plain = tensor(storage("BFloat16Storage", "0", 3), 0, (3,), (1,))
    parameter = Call(Global("torch._utils", "_rebuild_parameter"), (plain, True, None))
    typed = Call(
        Global("torch._tensor", "_rebuild_from_type_v2"),
        (Global("torch._utils", "_rebuild_tensor_v2"), Global("torch.nn.parameter", "Parameter"), plain.arguments, {}),
    )
    halves = (numbers.view("<u4") >> 16).astype("<u2").tobytes()
    found = read(tmp_path, "a.pth", torch_zip(dumps({"p": parameter, "q": typed}), {"0": halves}))
    same(found, {"p": numbers, "q": numbers})


def test_big_endian_archives_are_turned(tmp_path: Path) -> None:
    numbers = np.arange(3, dtype="<f4")
    value, _ = state_value({"a": numbers})
    data = torch_zip(dumps(value), {"0": numbers.astype(">f4").tobytes()}, order="big")
    np.testing.assert_array_equal(read(tmp_path, "a.pth", data)["a"], numbers)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_numpy_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    value: dict[str, Any] = {"model": ARRAYS, "__author__": "somebody", "matching_heuristics": True}
    same(read(tmp_path, "a.pkl", pickle.dumps(value, protocol)), ARRAYS)


def test_arrays_in_fortran_order_and_scalars(tmp_path: Path) -> None:
    value = {"a": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "b": np.float32(2), "c": np.arange(6)[::2]}
    found = read(tmp_path, "a.pkl", pickle.dumps(value, 2))
    for name, values in value.items():
        np.testing.assert_array_equal(found[name], values)


def test_pickles_of_python_2_hold_bytes_as_texts(tmp_path: Path) -> None:
    data = (
        b"\x80\x02}q\x00(U\x05blobsq\x01}q\x02U\x07conv1_wq\x03cnumpy.core.multiarray\n_reconstruct\nq\x04"
        b"cnumpy\nndarray\nq\x05K\x00\x85q\x06U\x01bq\x07\x87q\x08Rq\x09(K\x01K\x02\x85q\x0acnumpy\ndtype\nq\x0b"
        b"U\x02f4K\x00K\x01\x87q\x0cRq\x0d(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89U\x08"
        + np.array([1.5, -3], "<f4").tobytes()
        + b"q\x0ftq\x10bsU\x03cfgq\x11U\x03abcq\x12u."
    )
    same(read(tmp_path, "a.pkl", data), {"conv1_w": np.array([1.5, -3], "<f4")})


def test_npz_plain_and_packed(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **ARRAYS)  # type: ignore[operator]
        same(read_weights(tmp_path / "a.npz"), ARRAYS)


def test_hdf5_datasets_by_path(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv1"]
        file.create_dataset("model_weights/conv1/conv1/kernel:0", data=ARRAYS["conv.weight"], compression="gzip")
        file.create_dataset("model_weights/conv1/conv1/bias:0", data=np.ones(3, "f4"))
        file.create_dataset("optimizer_weights/iterations:0", data=5)
        file.create_dataset("model_weights/note", data="text")
    found = read_weights(tmp_path / "a.h5")
    assert sorted(found) == ["conv1/conv1/bias:0", "conv1/conv1/kernel:0"]
    np.testing.assert_array_equal(found["conv1/conv1/kernel:0"], ARRAYS["conv.weight"])


def test_safetensors(tmp_path: Path) -> None:
    numbers = np.arange(4, dtype="<f4")
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]},
    }
    text = json.dumps(header).encode()
    halves = (numbers.view("<u4") >> 16).astype("<u2").tobytes()
    data = struct.pack("<Q", len(text)) + text + numbers.tobytes() + halves
    same(read(tmp_path, "a.safetensors", data), {"a": numbers.reshape(2, 2), "b": numbers})


def test_the_first_bytes_decide_and_not_the_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.ones(2))
    (tmp_path / "a.npz").rename(tmp_path / "weights.download")
    assert list(read_weights(tmp_path / "weights.download")) == ["a"]
    assert not is_keras_model(tmp_path / "weights.download")
