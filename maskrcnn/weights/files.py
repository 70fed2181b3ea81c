"""Weight files of any kind → names and arrays. What a file is, its first bytes say, whatever it is called.

No byte of a file is executed, nothing is extracted, and no program of the source is needed: each format has a reader
with an exact list of what it accepts.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from maskrcnn.archives import RefusedFileError, check_declared, open_h5, open_zip
from maskrcnn.errors import UserError
from maskrcnn.weights.pickle_machine import BoundedFile, load_pickle
from maskrcnn.weights.pickled_arrays import NUMPY, ArrayShell
from maskrcnn.weights.plain_files import read_h5, read_npz, read_safetensors
from maskrcnn.weights.torch_file import TorchContents, is_legacy, read_legacy, read_zip
from maskrcnn.weights.torch_tensors import Tensor

WRAPPERS = ("model", "state_dict", "model_state_dict", "blobs", "module", "net")
"""Keys under which checkpoints keep the state dict, beside optimizer and counters."""
PREFIXES = ("module.", "_orig_mod.")
"""What wrappers for several devices and for compilation put before every name."""
PICKLES = (".pkl", ".pickle", ".pth", ".pt", ".bin")
NO_WEIGHTS = "not a weight file"
HINT = "give a .pth, .pkl, .h5, .npz or .safetensors file of weights"
DAMAGED = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    RecursionError,
    RuntimeError,  # an encrypted zip archive, and h5py
    NotImplementedError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""All that the standard library, NumPy and h5py raise for bytes that are not what they should be."""


def read_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a weight file by name, in the source's own layout and number type.

    A checkpoint's wrapper ({"model": …}, {"state_dict": …}) and a prefix of all names (`module.`) are taken off;
    entries that are no arrays are left out. Arrays may be read-only views.

    Raises:
        UserError: no such file, not a weight file, cut off, damaged, or hostile. Nothing in it is executed.
    """
    file = Path(path)
    if not file.is_file():
        what = "there is no such file" if not file.exists() else "is a folder, not a file"
        raise UserError(what, str(file), HINT)
    try:
        with file.open("rb") as opened:
            arrays = _reader(opened, file)(opened)
    except RefusedFileError as error:
        raise UserError(error.what, str(file), error.hint) from None
    except DAMAGED as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"the file is cut off or damaged ({reason})", str(file), "download it again") from None
    if not arrays:
        raise UserError("the file holds no tensors", str(file), HINT)
    return arrays


def is_keras_model(path: str | os.PathLike[str]) -> bool:
    """Whether the file is a whole Keras model (`.keras`): by its name, or as a zip archive with such members."""
    if os.fspath(path).endswith(".keras"):
        return True
    try:
        with open(path, "rb") as file, open_zip(file) as archive:
            return _is_keras(archive)
    except (RefusedFileError, *DAMAGED):
        return False


def judge_h5(path: str | os.PathLike[str]) -> None:
    """Refuses an HDF5 file that leads to other files or lies about its sizes, before Keras opens it.

    Raises:
        UserError: see `maskrcnn.archives`; files that are missing or no HDF5 are left to whoever reads them.
    """
    try:
        open_h5(Path(path)).close()
    except RefusedFileError as error:
        raise UserError(error.what, os.fspath(path), error.hint) from None
    except DAMAGED:
        return


def _is_keras(archive: zipfile.ZipFile) -> bool:
    return {"config.json", "model.weights.h5"} <= set(archive.namelist())


def _reader(file: IO[bytes], path: Path) -> Callable[[IO[bytes]], dict[str, np.ndarray]]:
    """The reader of the kind of file that the first bytes show."""
    head = file.read(512)
    file.seek(0)
    for matches, reader in _READERS:
        if matches(head):
            return reader
    if path.suffix.lower() in PICKLES and head:
        return _read_pickle  # protocols 0 and 1 have no mark of their own
    raise RefusedFileError(_what_it_is(head), HINT)


def _what_it_is(head: bytes) -> str:
    """Names what a file is that cannot hold weights."""
    start = head.lstrip().lower()
    if not head:
        return "the file is empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "this is a web page, not a weight file"
    if start.startswith(b"version https://git-lfs"):
        return "this only stands for a file that Git LFS keeps elsewhere"
    if head[257:262] == b"ustar":
        return "a tar archive (also torch's oldest format), which is not read"
    if head[:2] == b"\x1f\x8b":
        return "a gzip archive: unpack it first"
    return NO_WEIGHTS


def _read_archive(file: IO[bytes]) -> dict[str, np.ndarray]:
    with open_zip(file) as archive:
        names = archive.namelist()
        if _is_keras(archive):
            raise RefusedFileError("a whole Keras model", "model files of this program are given as they are")
        if names and all(name.endswith(".npy") for name in names):
            return read_npz(archive)
        return _torch_arrays(read_zip(archive), _length(file))


def _read_pickle(file: IO[bytes]) -> dict[str, np.ndarray]:
    head = file.read(512)
    file.seek(0)
    if head.lstrip()[:1] in (b"<", b"{") or _what_it_is(head) != NO_WEIGHTS:
        raise RefusedFileError(_what_it_is(head), HINT)
    bounded = BoundedFile(file)
    if is_legacy(bounded):
        return _torch_arrays(read_legacy(bounded), bounded.length)
    leaves = {name: _array(leaf) for name, leaf in state_of(load_pickle(bounded, NUMPY)).items()}
    arrays = {name: array for name, array in leaves.items() if array is not None}
    check_declared(sum(array.nbytes for array in arrays.values()), bounded.length)
    return arrays


def _length(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _torch_arrays(contents: TorchContents, file_bytes: int) -> dict[str, np.ndarray]:
    state = state_of(contents.value)
    # Expanded tensors (stride 0) may be far larger than their storage.
    check_declared(sum(leaf.nbytes for leaf in state.values() if isinstance(leaf, Tensor)), file_bytes)
    arrays = {}
    for name, leaf in state.items():
        array = contents.array(leaf) if isinstance(leaf, Tensor) else _array(leaf)
        if array is not None:
            arrays[name] = array
    return arrays


def _array(leaf: Any) -> np.ndarray | None:
    return leaf.array if isinstance(leaf, ArrayShell) else leaf if isinstance(leaf, np.ndarray) else None


def state_of(value: Any) -> dict[str, Any]:
    """The state dict in the value of a checkpoint: names → tensors, and whatever stands between them.

    Raises:
        RefusedFileError: there is none, or its keys are no names.
    """
    for _ in range(len(WRAPPERS)):
        inner = next((value[key] for key in WRAPPERS if _holds_tensors(value, key)), None)
        if inner is None:
            break
        value = inner
    if not isinstance(value, Mapping):
        raise RefusedFileError(f"holds a {type(value).__name__}, not named tensors", "save a state dict")
    state = {name: leaf for name, leaf in value.items() if _is_tensor(leaf)}
    if not all(isinstance(name, str) for name in state):
        raise RefusedFileError("the names of the tensors are no texts")
    return without_prefix(state)


def _holds_tensors(value: Any, key: str) -> bool:
    """Whether the entry is a mapping with tensors, or again a wrapper of one."""
    inner = value.get(key) if isinstance(value, Mapping) else None
    return isinstance(inner, Mapping) and any(
        _is_tensor(leaf) or (name in WRAPPERS and isinstance(leaf, Mapping)) for name, leaf in inner.items()
    )


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, Tensor | ArrayShell | np.ndarray)


def without_prefix(state: dict[str, Any]) -> dict[str, Any]:
    """The state without what stands before every name."""
    for prefix in PREFIXES * 2:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): leaf for name, leaf in state.items()}
    return state


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40


_READERS: tuple[tuple[Callable[[bytes], bool], Callable[[IO[bytes]], dict[str, np.ndarray]]], ...] = (
    (lambda head: head[:4] in (b"PK\3\4", b"PK\5\6"), _read_archive),
    (lambda head: head[:8] == b"\x89HDF\r\n\x1a\n", lambda file: read_h5(Path(file.name))),
    (_is_safetensors, lambda file: read_safetensors(BoundedFile(file))),
    (lambda head: head[:1] == b"\x80", _read_pickle),
)
