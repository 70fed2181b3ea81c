"""Files that hold arrays alone: NumPy's `.npz`, safetensors, and the datasets of HDF5 files."""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.archives import RefusedFileError, datasets, open_h5
from maskrcnn.weights.pickle_machine import BoundedFile
from maskrcnn.weights.pickled_arrays import check_shape

Arrays = dict[str, np.ndarray]
HEADER_LIMIT_BYTES = 16 * 2**20
_SAFETENSORS: dict[str, str] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_NPY_SUFFIX = ".npy"


def read_npz(archive: zipfile.ZipFile) -> Arrays:
    """The arrays of an archive of `numpy.savez` whose members were judged (`maskrcnn.archives.open_zip`).

    Raises:
        RefusedFileError: a member that is no array of numbers.
    """
    found = {}
    for name in archive.namelist():
        if not name.endswith(_NPY_SUFFIX):
            raise RefusedFileError(f"the archive holds {name[:80]!r} beside its arrays")
        found[name.removesuffix(_NPY_SUFFIX)] = _read_npy(archive.read(name), name)
    return found


def _read_npy(data: bytes, name: str) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header: dict[Any, Callable[..., Any]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read_header:
        raise RefusedFileError(f"{name[:80]!r} has an unknown version of NumPy's format")
    shape, fortran, dtype = read_header[version](file)
    if dtype.kind not in "fiub" or dtype.hasobject or dtype.itemsize > 8:
        raise RefusedFileError(f"{name[:80]!r} holds {dtype}, not numbers")
    sides = check_shape(shape)
    if math.prod(sides) * dtype.itemsize != len(data) - file.tell():
        raise RefusedFileError(f"{name[:80]!r} is not as long as its shape says")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(sides, order="F" if fortran else "C")


def read_safetensors(file: BoundedFile) -> Arrays:
    """The arrays of a safetensors file: length of the header, header in JSON, numbers.

    Raises:
        RefusedFileError: cut off, tensors that overlap or leave the file, or types that are none of numbers.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > HEADER_LIMIT_BYTES:
        raise RefusedFileError("an absurdly long header")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise RefusedFileError("a header that lists no tensors")
    start, found, end = file.tell(), {}, 0
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name, (dtype, shape, begin, stop) in sorted(
        ((name, _entry(entry)) for name, entry in entries.items()), key=lambda item: item[1][2:]
    ):
        if begin != end:
            raise RefusedFileError(f"tensor {name[:80]!r} overlaps another, or leaves a gap")
        end = stop
        file.seek(start + begin)
        values = np.frombuffer(file.read(stop - begin), np.dtype(_SAFETENSORS[dtype])).reshape(shape)
        found[name] = (values.astype("<u4") << np.uint32(16)).view("<f4") if dtype == "BF16" else values
    return found


def _entry(entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    if not isinstance(entry, dict) or entry.get("dtype") not in _SAFETENSORS:
        raise RefusedFileError("a tensor of a type that is none of numbers")
    shape, offsets = check_shape(entry.get("shape")), check_shape(entry.get("data_offsets"))
    size = math.prod(shape) * np.dtype(_SAFETENSORS[entry["dtype"]]).itemsize
    if len(offsets) != 2 or offsets[1] - offsets[0] != size:
        raise RefusedFileError("a tensor that is not as long as its shape says")
    return entry["dtype"], shape, offsets[0], offsets[1]


def read_h5(source: Path | io.BufferedIOBase) -> Arrays:
    """The datasets of numbers of an HDF5 file, by path, such as `conv1/conv1/kernel:0`; attributes are not read.

    A whole-model file of Keras 2 has its weights below `model_weights/`, which is taken off; optimizer state is
    left out.

    Raises:
        RefusedFileError: see `maskrcnn.archives`.
    """
    found: Arrays = {}
    with open_h5(source) as file:
        for name, data in datasets(file):
            if data.dtype.kind in "fiub" and data.shape is not None and not name.startswith("optimizer_weights/"):
                found[re.sub(r"^model_weights/", "", name)] = np.asarray(data[()])
    return found
