"""Seeded samples of anchors and RoIs without random state.

Rows are ranked by an integer hash of (the image's seed, row), so that every backend, one or several devices and a
resumed run draw the same rows (DESIGN §3, FACTS 4.20b).
"""

from __future__ import annotations

import numpy as np
from keras import ops

from maskrcnn.ops.tensors import Tensor

_GOLDEN_RATIO = np.uint32(0x9E3779B9)
"""2³² divided by the golden ratio: the odd constant of Fibonacci hashing; spreads neighbouring numbers."""


def hash_uniform(seeds: Tensor, count: Tensor, stream: int) -> Tensor:
    """Numbers `[B, count]` float32 in [0, 1) that depend on (seed, stream, row) alone.

    Args:
        seeds: `[B]` int32, one for each image.
        count: number of rows, an integer or a scalar tensor.
        stream: which use of the seed this is; different streams are unrelated.
    """
    stream_key = np.uint32((int(stream) * 0x85EBCA6B + 0x7F4A7C15) & 0xFFFFFFFF)
    seed_keys = _mix(ops.bitwise_xor(_mix(ops.cast(seeds, "uint32")), stream_key))
    rows = ops.cast(ops.arange(count, dtype="int32"), "uint32") * _GOLDEN_RATIO
    bits = _mix(ops.bitwise_xor(seed_keys[:, None], _mix(rows)[None, :]))
    # 24 bits are what a float32 in [0, 1) holds exactly.
    return ops.cast(ops.cast(ops.right_shift(bits, np.uint32(8)), "int32"), "float32") * np.float32(2.0**-24)


def sample_balanced(
    states: Tensor, seeds: Tensor, *, count: int, positive_fraction: float, stream: int
) -> tuple[Tensor, Tensor]:
    """A random sample of each image's rows, positives first.

    At most `count * positive_fraction` positives; negatives fill the rest. Ignored rows are never drawn, and rows
    that are added behind with state -1 change nothing.

    Args:
        states: `[B, N]` int32: 1 positive, 0 negative, -1 ignored; N may be below `count`.
        seeds: `[B]` int32.
        count: rows of the sample.
        positive_fraction: largest share of positives.
        stream: see `hash_uniform`.

    Returns:
        indices `[B, count]` int32 and their states (1 or 0; -1 marks an empty slot, whose index is 0).
    """
    keys = hash_uniform(seeds, ops.shape(states)[1], stream)
    positives, num_positives = _ranked_rows(keys, ops.equal(states, 1), count)
    negatives, num_negatives = _ranked_rows(keys, ops.equal(states, 0), count)
    num_positives = ops.minimum(num_positives, int(count * positive_fraction))
    slots = ops.arange(count, dtype="int32")[None, :]
    is_positive = slots < num_positives
    rank = ops.maximum(slots - num_positives, 0)
    is_negative = ops.logical_and(ops.logical_not(is_positive), rank < num_negatives)
    fill = ops.take_along_axis(negatives, rank, axis=1)
    nothing = ops.zeros_like(positives)
    indices = ops.where(is_positive, positives, ops.where(is_negative, fill, nothing))
    return indices, ops.where(is_positive, nothing + 1, ops.where(is_negative, nothing, nothing - 1))


def _ranked_rows(keys: Tensor, chosen: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` chosen rows by falling key `[B, count]` and the number `[B, 1]` of chosen rows.

    Equal keys keep the order of their rows: `top_k` promises it on both backends.
    """
    ranked = ops.where(chosen, keys, -ops.ones_like(keys))
    padding = ops.zeros((ops.shape(keys)[0], count), "float32") - 1.0
    _, rows = ops.top_k(ops.concatenate([ranked, padding], axis=1), count)
    number = ops.sum(ops.cast(chosen, "int32"), axis=1, keepdims=True)
    return ops.cast(rows, "int32"), number


def _mix(bits: Tensor) -> Tensor:
    """Bijective mixing of 32 bits: a change of one input bit changes about half of the output's bits.

    Source: the constants "lowbias32" of C. Wellons' hash prospector (least bias of all two-round mixers found).
    """
    bits = ops.bitwise_xor(bits, ops.right_shift(bits, np.uint32(16)))
    bits = bits * np.uint32(0x7FEB352D)
    bits = ops.bitwise_xor(bits, ops.right_shift(bits, np.uint32(15)))
    bits = bits * np.uint32(0x846CA68B)
    return ops.bitwise_xor(bits, ops.right_shift(bits, np.uint32(16)))
