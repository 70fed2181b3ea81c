"""Published detectors → our models."""

from __future__ import annotations

from maskrcnn.weights.importer import import_model

__all__ = ["import_model"]
