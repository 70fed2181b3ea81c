"""Published detectors → our models; weight files of other programs → arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskrcnn.weights.importer import import_model

__all__ = ["import_model"]


def __getattr__(name: str) -> Any:
    """Imported late: the readers of files need no TensorFlow, and refuse a bad file before it is loaded."""
    if name != "import_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from maskrcnn.weights.importer import import_model

    return import_model
