"""The order of images in training: a seeded permutation, cut into full batches of images of like shape.

Everything follows from (seed, epoch), so a position in training is two numbers and needs no saved state.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np


def aspect_buckets(heights: np.ndarray, widths: np.ndarray, count: int) -> np.ndarray:
    """Bucket 0…count-1 of each image by width / height.

    The borders are spread evenly on a logarithmic scale between 1/2 and 2 (torchvision's rule): two buckets part at
    1, upright from broad or square.
    """
    borders = 2.0 ** np.linspace(-1, 1, count + 1)[1:-1]
    return np.searchsorted(borders, widths / heights, side="right")


def epoch_batches(buckets: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Rows of each batch of one epoch: ceil(images / batch_size) full batches that hold every image at least once.

    Batches are filled bucket by bucket along the epoch's permutation; what is left of the buckets shares the last
    ones, which are filled up from the next epoch's permutation. The batches are then shuffled, so that the mixed
    ones have no fixed place.
    """
    rng = np.random.default_rng([seed, epoch])
    open_batches: dict[int, list[int]] = {}
    batches: list[list[int]] = []
    for row in rng.permutation(len(buckets)):
        batch = open_batches.setdefault(int(buckets[row]), [])
        batch.append(int(row))
        if len(batch) == batch_size:
            batches.append(batch.copy())
            batch.clear()
    rest = [row for bucket in sorted(open_batches) for row in open_batches[bucket]]
    missing = -len(rest) % batch_size
    rest += itertools.islice(_following_rows(len(buckets), seed, epoch + 1, set(rest)), missing)
    batches += [rest[i : i + batch_size] for i in range(0, len(rest), batch_size)]
    return [np.array(batches[i], np.int32) for i in rng.permutation(len(batches))]


def _following_rows(count: int, seed: int, epoch: int, last: set[int]) -> Iterator[int]:
    """Rows of the next epochs' permutations, those that the last batches do not hold first."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    yield from (int(row) for row in order if row not in last)
    while True:
        yield from (int(row) for row in np.random.default_rng([seed, epoch]).permutation(count))
        epoch += 1
