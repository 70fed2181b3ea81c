"""Tests of the order of images in training."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.data.order import aspect_buckets, epoch_batches


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 9), buckets=st.integers(1, 3), epoch=st.integers(0, 5))
def test_batches_are_full_and_hold_every_image(count: int, batch_size: int, buckets: int, epoch: int) -> None:
    bucket_of = np.arange(count) % buckets
    batches = epoch_batches(bucket_of, batch_size, seed=1, epoch=epoch)
    assert len(batches) == -(-count // batch_size)
    assert all(len(batch) == batch_size for batch in batches)
    rows, times = np.unique(np.concatenate(batches), return_counts=True)
    assert rows.tolist() == list(range(count))
    assert batch_size > count or times.max() <= 2


def test_most_batches_hold_one_bucket() -> None:
    bucket_of = np.arange(103) % 2
    batches = epoch_batches(bucket_of, 8, seed=0, epoch=0)
    mixed = [batch for batch in batches if len(set(bucket_of[batch])) > 1]
    assert len(mixed) <= 2


def test_the_same_seed_and_epoch_give_the_same_order() -> None:
    first, again, other = (epoch_batches(np.zeros(50, int), 4, seed, 3) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_two_buckets_part_upright_from_broad() -> None:
    buckets = aspect_buckets(np.array([50, 50, 50]), np.array([49, 50, 51]), 2)
    assert buckets.tolist() == [0, 1, 1]


def test_one_bucket_takes_all() -> None:
    assert not aspect_buckets(np.array([10, 500]), np.array([500, 10]), 1).any()
