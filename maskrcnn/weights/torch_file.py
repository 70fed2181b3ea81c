"""torch's two containers, read without torch: the zip archive (1.6 and later) and the pickles in a row before it.

Only the tensors that are asked for are read. Source: PAPER §5.7; checked with files that torch itself wrote.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np

from maskrcnn.archives import RefusedFileError
from maskrcnn.weights.pickle_machine import BoundedFile, load_pickle
from maskrcnn.weights.torch_tensors import TORCH, Storage, Tensor, itemsize, read_storage

MAGIC = 0x1950A86A20F9469CFC6C
"""First value of a legacy file."""
LEGACY_PROTOCOL = 1001
PICKLE_LIMIT_BYTES = 256 * 2**20
"""Of `data.pkl`, which holds names and sizes alone."""

ReadBytes = Callable[[Storage], bytes]


@dataclass
class TorchContents:
    """The value of a file, with `Tensor`s in it, and the way to their numbers."""

    value: Any
    byteorder: Literal["<", ">"]
    read_bytes: ReadBytes

    def array(self, tensor: Tensor) -> np.ndarray:
        """The numbers of a tensor of `value`."""
        return tensor.view(self.read_bytes(tensor.storage), self.byteorder)


def read_zip(archive: zipfile.ZipFile) -> TorchContents:
    """The contents of a zip archive whose members were judged (`maskrcnn.archives.open_zip`).

    Raises:
        RefusedFileError: another kind of archive, or a pickle or storage that is refused.
    """
    top = _top_folder(archive)
    if f"{top}/constants.pkl" in archive.namelist():
        raise RefusedFileError("a TorchScript program, not a state dict", "save the state dict of the model")
    if archive.getinfo(f"{top}/data.pkl").file_size > PICKLE_LIMIT_BYTES:
        raise RefusedFileError("an absurdly long list of tensors")
    byteorder = _byteorder(archive, f"{top}/byteorder")
    with archive.open(f"{top}/data.pkl") as file:
        # A copy in memory: the machine asks for its length and position, which a compressed member cannot tell.
        value = load_pickle(BoundedFile(io.BytesIO(file.read())), TORCH, read_storage)
    kept: dict[str, bytes] = {}

    def read_bytes(storage: Storage) -> bytes:
        if storage.key not in kept:
            kept[storage.key] = _member(archive, f"{top}/data/{storage.key}")
        _check_length(storage, len(kept[storage.key]))
        return kept[storage.key]

    return TorchContents(value, byteorder, read_bytes)


def _top_folder(archive: zipfile.ZipFile) -> str:
    """The one folder that all members lie in."""
    tops = {PurePosixPath(name).parts[0] for name in archive.namelist()}
    if len(tops) != 1 or f"{min(tops)}/data.pkl" not in archive.namelist():
        raise RefusedFileError("a zip archive, but none that torch has saved")
    return min(tops)


def _byteorder(archive: zipfile.ZipFile, name: str) -> Literal["<", ">"]:
    if name not in archive.namelist():
        return "<"
    if archive.getinfo(name).file_size > 16:
        raise RefusedFileError("a byte order that is none")
    order = archive.read(name).strip()
    if order not in (b"little", b"big"):
        raise RefusedFileError("a byte order that is none")
    return ">" if order == b"big" else "<"


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if name not in archive.namelist():
        raise RefusedFileError("the numbers of a tensor are missing from the archive")
    return archive.read(name)


def _check_length(storage: Storage, found: int) -> None:
    if found != storage.count * itemsize(storage.dtype):
        raise RefusedFileError(f"a storage of {found} bytes, which is not what its tensors say")


def is_legacy(file: BoundedFile) -> bool:
    """Whether the file begins with the number of a legacy file; the position is put back."""
    start = file.tell()
    head = file.read(min(32, file.length - start))
    file.seek(start)
    return head[:1] == b"\x80" and MAGIC.to_bytes(10, "little") in head


def read_legacy(file: BoundedFile) -> TorchContents:
    """The contents of a file of torch before 1.6.

    Raises:
        RefusedFileError: a pickle or storage that is refused, or the file is cut off.
    """
    if load_pickle(file, {}) != MAGIC or load_pickle(file, {}) != LEGACY_PROTOCOL:
        raise RefusedFileError("not a file of torch, or of an unknown version")
    system = load_pickle(file, {})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise RefusedFileError("a file of a machine with another byte order")
    storages: dict[str, Storage] = {}

    def remember(identity: Any) -> Storage:
        storage = read_storage(identity)
        known = storages.setdefault(storage.key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise RefusedFileError("a storage with two different sizes")
        return storage

    value = load_pickle(file, TORCH, remember)
    places = _places(file, storages)
    kept: dict[str, bytes] = {}

    def read_bytes(storage: Storage) -> bytes:
        if storage.key not in kept:
            file.seek(places[storage.key])
            kept[storage.key] = file.read(storage.count * itemsize(storage.dtype))
        return kept[storage.key]

    return TorchContents(value, "<", read_bytes)


def _places(file: BoundedFile, storages: dict[str, Storage]) -> dict[str, int]:
    """Where the numbers of each storage begin; behind the pickles they stand one after another, each with its count."""
    keys = load_pickle(file, {})
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(storages):
        raise RefusedFileError("a list of storages that is not that of the tensors")
    places = {}
    for key in keys:
        storage = storages[key]
        if int.from_bytes(file.read(8), "little", signed=True) != storage.count:
            raise RefusedFileError("a storage with two different sizes")
        places[key] = file.tell()
        size = storage.count * itemsize(storage.dtype)
        if places[key] + size > file.length:
            raise RefusedFileError("cut off: it declares more data than it holds")
        file.seek(places[key] + size)
    return places
