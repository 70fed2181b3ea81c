"""Files of other programs, written byte by byte: torch's two containers without torch, and pickles of any shape."""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {
    "<f4": "FloatStorage", "<f8": "DoubleStorage", "<f2": "HalfStorage", "<i8": "LongStorage", "<i4": "IntStorage",
    "|u1": "ByteStorage", "|b1": "BoolStorage",
}  # fmt: skip


@dataclass(frozen=True)
class Global:
    """A name of a module that need not exist here."""

    module: str
    name: str


@dataclass
class Call:
    """A call that the reader would make, and the state it would set."""

    function: Any
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass(frozen=True)
class Persistent:
    """A persistent id."""

    identity: Any


class Pickler(pickle._Pickler):
    """Writes `Global`, `Call` and `Persistent` as the opcodes that stand for them."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Global):
            if self.proto >= 4:
                self.save(obj.module)
                self.save(obj.name)
                self.write(pickle.STACK_GLOBAL)
            else:
                self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
            if obj.state is not None:
                self.save(obj.state)
                self.write(pickle.BUILD)
        elif isinstance(obj, Persistent):
            self.save(obj.identity)
            self.write(pickle.BINPERSID)
        else:
            super().save(obj, save_persistent_id)


def dumps(value: Any, protocol: int = 2) -> bytes:
    held = io.BytesIO()
    Pickler(held, protocol).dump(value)
    return held.getvalue()


def storage(kind: str, key: str, count: int, *, legacy: bool = False) -> Persistent:
    identity = ("storage", Global("torch", kind), key, "cpu", count)
    return Persistent((*identity, None) if legacy else identity)


def tensor(block: Any, offset: Any, shape: Any, strides: Any) -> Call:
    arguments = (block, offset, shape, strides, False, Call(Global("collections", "OrderedDict"), ()))
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)


def state_value(arrays: dict[str, np.ndarray], *, legacy: bool = False) -> tuple[Any, dict[str, bytes]]:
    """An OrderedDict of tensors, and the bytes of their storages."""
    items, blocks = [], {}
    for key, (name, array) in enumerate(arrays.items()):
        block = storage(STORAGES[array.dtype.str], str(key), array.size, legacy=legacy)
        strides = tuple(s // array.itemsize for s in array.strides)
        items.append([name, tensor(block, 0, array.shape, strides)])
        blocks[str(key)] = array.tobytes()
    return Call(Global("collections", "OrderedDict"), (items,)), blocks


def torch_zip(
    pickled: bytes,
    blocks: dict[str, bytes],
    *,
    top: str = "archive",
    compression: int = zipfile.ZIP_STORED,
    order: str = "little",
) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", compression) as archive:
        archive.writestr(f"{top}/data.pkl", pickled)
        archive.writestr(f"{top}/byteorder", order)
        for key, data in blocks.items():
            archive.writestr(f"{top}/data/{key}", data)
        archive.writestr(f"{top}/version", "3\n")
    return held.getvalue()


def torch_legacy(pickled: bytes, blocks: dict[str, bytes], itemsize: int = 4, *, little_endian: bool = True) -> bytes:
    system = {
        "protocol_version": PROTOCOL,
        "little_endian": little_endian,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    parts = [dumps(MAGIC), dumps(PROTOCOL), dumps(system), pickled, dumps(sorted(blocks))]
    for key in sorted(blocks):
        parts += [(len(blocks[key]) // itemsize).to_bytes(8, "little"), blocks[key]]
    return b"".join(parts)


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name) if compression == zipfile.ZIP_STORED else name, data)
    return held.getvalue()


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    held = io.BytesIO()
    np.lib.format.write_array(held, array, allow_pickle=allow_pickle)
    return held.getvalue()
