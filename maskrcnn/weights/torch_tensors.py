"""Tensors in torch's pickles: which part of which storage they are, checked before any storage is read (PAPER §5.7).

The names here are the whole allow-list of torch's files, beside NumPy's. Quantized, sparse and complex tensors,
whole pickled modules and subclasses are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from maskrcnn.archives import RefusedFileError
from maskrcnn.weights.pickle_machine import Name, Names
from maskrcnn.weights.pickled_arrays import LONGEST_SIDE, NUMPY, as_text, check_shape

BFLOAT16 = "bfloat16"
"""NumPy has no such type: the upper half of a float32."""
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
_TYPES = {
    "float32": "<f4",
    "float64": "<f8",
    "float16": "<f2",
    "bfloat16": BFLOAT16,
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint8": "|u1",
    "bool": "|b1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
}
UNTYPED = Name("UntypedStorage")
TENSOR, PARAMETER, SIZE = Name("Tensor"), Name("Parameter"), Name("Size", lambda sides=(): check_shape(sides))


@dataclass(frozen=True)
class Storage:
    """One block of numbers of the file: its key, type and count; `offset` in numbers where it is a view of another."""

    key: str
    dtype: str
    count: int
    offset: int = 0


@dataclass(frozen=True)
class Tensor:
    """A strided part of a storage; all in numbers of `dtype`."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def itemsize(self) -> int:
        return itemsize(self.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor as an array of its own."""
        return math.prod(self.shape) * self.itemsize

    def view(self, raw: bytes | bytearray | memoryview, byteorder: Literal["<", ">"] = "<") -> np.ndarray:
        """The tensor, without a copy where its type is NumPy's.

        Args:
            raw: all bytes of the storage.
        """
        if not math.prod(self.shape):
            return np.zeros(self.shape, "<f4" if self.dtype == BFLOAT16 else self.dtype)
        stored = np.dtype("<u2" if self.dtype == BFLOAT16 else self.dtype).newbyteorder(byteorder)
        block = np.frombuffer(raw, stored)[self.storage.offset + self.offset :]
        strides = [side * self.itemsize for side in self.strides]
        values = np.lib.stride_tricks.as_strided(block, self.shape, strides, writeable=False)
        if self.dtype == BFLOAT16:
            return (values.astype("<u4") << np.uint32(16)).view("<f4")
        return values


def itemsize(dtype: str) -> int:
    """Bytes of one number."""
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def read_storage(identity: Any) -> Storage:
    """The storage of a persistent id ("storage", type, key, location, count[, view]).

    Raises:
        RefusedFileError: it has another form.
    """
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or as_text(identity[0]) != "storage":
        raise RefusedFileError("the pickle refers to something that is no storage of numbers")
    kind, key, count = identity[1], as_text(identity[2]), _count(identity[4])
    if kind is UNTYPED:
        return Storage(key, "|u1", count)
    if not isinstance(kind, Name) or kind.text not in _STORAGES:
        raise RefusedFileError("a storage of a type that is none of numbers")
    view = identity[5] if len(identity) == 6 else None
    if view is None:
        return Storage(key, _STORAGES[kind.text], count)
    if not isinstance(view, tuple) or len(view) != 3 or _count(view[1]) + _count(view[2]) > count:
        raise RefusedFileError("a view of a storage that leaves the storage")
    return Storage(key, _STORAGES[kind.text], count, view[1])


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < LONGEST_SIDE:
        raise RefusedFileError("a storage of an absurd size")
    return value


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *ignored: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise RefusedFileError("a tensor without a storage")
    return _checked(Tensor(storage, storage.dtype, _count(offset), check_shape(shape), check_shape(strides)))


def _tensor_of_type(storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any) -> Tensor:
    """A tensor over untyped bytes."""
    if not isinstance(storage, Storage) or not isinstance(dtype, Name) or dtype.text not in _TYPES:
        raise RefusedFileError("a tensor of a type that is none of numbers")
    size = itemsize(_TYPES[dtype.text])
    typed = Storage(storage.key, _TYPES[dtype.text], storage.count // size)
    return _checked(Tensor(typed, typed.dtype, _count(offset), check_shape(shape), check_shape(strides)))


def _checked(tensor: Tensor) -> Tensor:
    if len(tensor.shape) != len(tensor.strides):
        raise RefusedFileError("a tensor with strides for other axes")
    reach = sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides, strict=True))
    if math.prod(tensor.shape) and tensor.storage.offset + tensor.offset + reach >= tensor.storage.count:
        raise RefusedFileError("a tensor that reaches beyond its storage")
    return tensor


def _parameter(data: Any, *ignored: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise RefusedFileError("a parameter that is no tensor")
    return data


def _from_type(build: Any, kind: Any, arguments: Any, state: Any) -> Tensor:
    """Tensors that carry attributes: those are left out."""
    if build not in _BUILDERS or kind not in (TENSOR, PARAMETER) or not isinstance(arguments, tuple):
        raise RefusedFileError("a tensor of a class of its own")
    return _parameter(build.build(*arguments))


def _names(build: dict[str, Callable[..., Any]]) -> dict[tuple[str, str], Name]:
    return {("torch._utils", name): Name(name, function) for name, function in build.items()}


_REBUILD = _names(
    {
        "_rebuild_tensor": _tensor,
        "_rebuild_tensor_v2": _tensor,
        "_rebuild_tensor_v3": _tensor_of_type,
        "_rebuild_parameter": _parameter,
        "_rebuild_parameter_with_state": _parameter,
    }
)
_BUILDERS = tuple(_REBUILD.values())
TORCH: Names = {
    **NUMPY,
    **_REBUILD,
    ("torch._tensor", "_rebuild_from_type_v2"): Name("_rebuild_from_type_v2", _from_type),
    ("torch", "Size"): SIZE,
    ("torch", "Tensor"): TENSOR,
    ("torch.nn.parameter", "Parameter"): PARAMETER,
    ("torch.storage", "UntypedStorage"): UNTYPED,
    **{("torch", name): Name(name) for name in (*_STORAGES, *_TYPES)},
}
"""The allow-list of torch's files."""
