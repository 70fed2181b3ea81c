"""NumPy arrays in pickles, as Detectron2's `.pkl` files and Detectron's of Python 2 hold them (PAPER §5.3, §5.4).

The names here are the whole allow-list of such files; arrays of objects, texts and records are refused.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from maskrcnn.archives import RefusedFileError
from maskrcnn.weights.pickle_machine import COLLECTIONS, Name, Names, Shell

MOST_AXES = 32
LONGEST_SIDE = 2**40


class DtypeShell(Shell):
    """A number type whose byte order comes with its state: (3, byte order, None, None, None, -1, -1, 0)."""

    def __init__(self, code: Any) -> None:
        code = as_text(code)
        if not re.fullmatch(r"[<>|=]?(f[248]|[iu][1248]|b1)", code):
            raise RefusedFileError(f"an array of the type {code[:20]!r}, which is none of numbers")
        self.dtype = np.dtype(code)

    def fill(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or as_text(state[1]) not in ("<", ">", "|", "="):
            raise RefusedFileError("a number type with a state of another form")
        if any(part is not None for part in state[2:5]):
            raise RefusedFileError("an array of records, not of numbers")
        self.dtype = self.dtype.newbyteorder(as_text(state[1]))


class ArrayShell(Shell):
    """An array whose shape, type and bytes come with its state: (1, shape, dtype, Fortran order, bytes)."""

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def fill(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise RefusedFileError("an array with a state of another form")
        shape, dtype, fortran, data = state[-4:]
        self.array = make_array(data, dtype, shape, order="F" if fortran is True or fortran == 1 else "C")


def as_text(value: Any) -> str:
    """A short name that Python 2 wrote as bytes, or a text."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise RefusedFileError(f"a name is expected in the pickle, found {type(value).__name__}")
    return value


def as_bytes(value: Any) -> bytes | bytearray:
    """The bytes of an array; texts of Python 2 are read as Latin-1, which keeps every byte."""
    if isinstance(value, str):
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError:
            raise RefusedFileError("an array whose bytes are a text") from None
    if not isinstance(value, bytes | bytearray):
        raise RefusedFileError(f"an array made of {type(value).__name__}, not of bytes")
    return value


def check_shape(shape: Any) -> tuple[int, ...]:
    """The shape, if it is one: whole numbers, not negative, not absurd.

    Raises:
        RefusedFileError: it is none.
    """
    if not isinstance(shape, tuple | list) or len(shape) > MOST_AXES:
        raise RefusedFileError("a tensor without a shape")
    if not all(type(side) is int and 0 <= side < LONGEST_SIDE for side in shape):
        raise RefusedFileError("a tensor with an absurd shape")
    return tuple(shape)


def make_array(data: Any, dtype: Any, shape: Any, *, order: str) -> np.ndarray:
    """The array of raw bytes, which it keeps without a copy.

    Raises:
        RefusedFileError: bytes, shape and type do not fit.
    """
    if not isinstance(dtype, DtypeShell):
        raise RefusedFileError("an array without a number type")
    sides, raw = check_shape(shape), as_bytes(data)
    if math.prod(sides) * dtype.dtype.itemsize != len(raw):
        raise RefusedFileError(f"an array of {len(raw)} bytes, which is not what its shape says")
    if not raw:
        return np.zeros(sides, dtype.dtype)
    return np.frombuffer(raw, dtype.dtype).reshape(sides, order="F" if order == "F" else "C")


def _reconstruct(kind: Any, shape: Any, code: Any) -> ArrayShell:
    if kind is not NDARRAY:
        raise RefusedFileError("an array of a class of its own")
    return ArrayShell()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return make_array(data, dtype, shape, order=as_text(order))


def _scalar(dtype: Any, data: Any) -> np.ndarray:
    return make_array(data, dtype, (), order="C")


def _dtype(code: Any, align: Any = False, copy: Any = True) -> DtypeShell:
    return DtypeShell(code)


def _encode(text: Any, codec: Any) -> bytes:
    """How Python 3 writes bytes in protocol 2."""
    if not isinstance(text, str) or as_text(codec).lower().replace("-", "") != "latin1":
        raise RefusedFileError("bytes in an unusual encoding")
    return bytes(as_bytes(text))


def _no_bytes() -> bytes:
    return b""


NDARRAY = Name("ndarray")
NUMPY: Names = {
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): Name("dtype", _dtype),
    ("_codecs", "encode"): Name("encode", _encode),
    ("builtins", "bytes"): Name("bytes", _no_bytes),
    ("__builtin__", "bytes"): Name("bytes", _no_bytes),
    **{
        (f"numpy.{core}.{module}", name): Name(name, build)
        for core in ("core", "_core")
        for module, name, build in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
    **COLLECTIONS,
}
"""The allow-list of pickles without torch."""
