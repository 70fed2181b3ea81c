"""Draws images in strata, by the labels of their instances.

The stratum of an image is the rarest label of its instances (rarest by the number of images in the whole set), so a
category of few images is shared out like one of many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

Labels = Sequence[frozenset[int]]
"""The labels of each image's instances, crowds left out; an image is its row here."""


def rows_of_labels(labels: Iterable[frozenset[int]]) -> dict[int, list[int]]:
    """Rows of the images that hold an instance of each label."""
    rows: dict[int, list[int]] = defaultdict(list)
    for row, held in enumerate(labels):
        for label in held:
            rows[label].append(row)
    return rows


def choose_rows(labels: Labels, emptied: set[int], limit: int, rng: np.random.Generator) -> list[int]:
    """Rows of `limit` images, in order: one for each category, then strata in proportion, then the emptied images."""
    covering = _cover_labels(labels, limit, rng)
    order = sorted(_stratified_keys(labels, covering, rng).items(), key=lambda item: (item[0] in emptied, item[1]))
    others = [row for row, _ in order if row not in covering]
    return sorted([*covering, *others[: limit - len(covering)]])


def split_order(labels: Labels, rng: np.random.Generator) -> list[int]:
    """Rows in the order in which they leave for the part; the last of each stratum leaves when no other can."""
    keys = _stratified_keys(labels, set(), rng)
    last = {max(rows, key=lambda row: keys[row]) for rows in _strata(labels)}
    return sorted(keys, key=lambda row: (row in last, keys[row]))


def _cover_labels(labels: Labels, limit: int, rng: np.random.Generator) -> set[int]:
    """At most `limit` rows that hold as many labels as possible: the rarest label first, and the richest image."""
    rows_of = rows_of_labels(labels)
    missing = set(rows_of)
    covering: set[int] = set()
    for label in sorted(rows_of, key=lambda label: (len(rows_of[label]), label)):
        if label not in missing or len(covering) == limit:
            continue
        candidates = rng.permutation(rows_of[label]).tolist()
        best = max(candidates, key=lambda row: len(labels[row] & missing))
        covering.add(best)
        missing -= labels[best]
    return covering


def _strata(labels: Labels) -> list[list[int]]:
    """Rows by the rarest label of each image; images without instances are a stratum of their own."""
    frequency = {label: len(rows) for label, rows in rows_of_labels(labels).items()}
    strata: dict[int, list[int]] = defaultdict(list)
    for row, held in enumerate(labels):
        strata[min(held, key=lambda label: (frequency[label], label)) if held else 0].append(row)
    return [strata[label] for label in sorted(strata)]


def _stratified_keys(labels: Labels, first: set[int], rng: np.random.Generator) -> dict[int, float]:
    """A number in 0…1 for each row: the rows with the n smallest numbers hold their share of every stratum.

    Rows in `first` come first in their stratum; the others follow in random order. The k-th of a stratum of size m
    gets (k + u) / m with one random u for each stratum, so that small strata get their share on average.
    """
    keys = {}
    for rows in _strata(labels):
        shuffled = sorted(rng.permutation(rows).tolist(), key=lambda row: row not in first)
        start = rng.random()
        keys.update({row: (k + start) / len(rows) for k, row in enumerate(shuffled)})
    return keys
