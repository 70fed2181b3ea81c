"""Shapes that are known before the graph runs on some backends and only inside it on others."""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any


def at_most(size: Any, limit: int) -> Any:
    """The smaller of a dimension (an integer, or a tensor where it is dynamic) and a constant."""
    return min(size, limit) if isinstance(size, int) else ops.minimum(size, limit)


def flatten_levels(levels: list[Tensor], width: int) -> Tensor:
    """[B, sum of H·W·A, width] from a list of [B, H, W, A·width]: order level, y, x, anchor."""
    return ops.concatenate([ops.reshape(level, (ops.shape(level)[0], -1, width)) for level in levels], axis=1)


def split_rows(values: Tensor, lengths: list[Any]) -> list[Tensor]:
    """The rows of each level from a concatenation along axis 1."""
    parts, start = [], 0
    for length in lengths:
        parts.append(values[:, start : start + length])
        start = start + length
    return parts
