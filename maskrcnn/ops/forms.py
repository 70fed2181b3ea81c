"""Which of two equal forms of an operator is traced: the reference form, or the one of TensorFlow's own kernels.

Kernels are faster, but export formats lack some of them or read them otherwise (`crop_and_resize`, NMS of a number of
boxes that is not known before).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras

_portable: ContextVar[bool] = ContextVar("portable", default=False)


def portable() -> bool:
    """Whether only operators that every export format reads alike are wanted: inside `portable_forms`."""
    return _portable.get()


def kernels_allowed() -> bool:
    """Whether TensorFlow's own kernels may be used: on TensorFlow, outside `portable_forms`."""
    return keras.backend.backend() == "tensorflow" and not portable()


@contextmanager
def portable_forms() -> Iterator[None]:
    """What is traced inside consists of operators that every export format reads alike."""
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)
