"""The nearest orthogonal matrix, roughly and fast, as Muon's updates want it."""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of K. Jordan's quintic step (Muon, 2024): steep at zero, so that five steps lift small singular values near 1."""


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """[m, n] with the singular vectors of `matrix` and singular values near 1 (0.7 to 1.2).

    Newton and Schulz' step X ← X (a + b G + c G²), G = XᵀX, is a polynomial in the Gram matrix of the shorter side,
    which all factors commute with. So they are multiplied there, and X itself enters twice instead of 2 · steps times:
    a third of the arithmetic for the wide layers of the box head.
    """
    rows, columns = matrix.shape
    if rows < columns:
        return ops.transpose(orthogonalize(ops.transpose(matrix), steps))
    a, b, c = COEFFICIENTS
    unit = matrix / (ops.norm(matrix) + 1e-7)
    gram = ops.matmul(ops.transpose(unit), unit)
    identity = ops.eye(columns, dtype=matrix.dtype)
    product = identity
    for _ in range(steps):
        factor = a * identity + b * gram + c * ops.matmul(gram, gram)
        product = ops.matmul(product, factor)
        gram = ops.matmul(gram, ops.matmul(factor, factor))
    return ops.matmul(unit, product)
