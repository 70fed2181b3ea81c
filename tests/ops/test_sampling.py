import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.ops.sampling import hash_uniform, sample_balanced


def sample(states, seed=7, count=16, fraction=0.5, stream=0):
    states = np.atleast_2d(np.asarray(states, "int32"))
    seeds = np.full(len(states), seed, "int32")
    indices, sampled = sample_balanced(states, seeds, count=count, positive_fraction=fraction, stream=stream)
    return np.asarray(indices), np.asarray(sampled)


def test_hashes_look_uniform():
    numbers = np.asarray(hash_uniform(np.array([-3, 0, 2**31 - 1], "int32"), 20_000, 0)).astype("float64")
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    # Four standard errors of the mean (0.289 / sqrt(20,000)) and of a bin's count of 1000 (31).
    np.testing.assert_allclose(numbers.mean(axis=1), 0.5, atol=4 * 0.289 / 141)
    counts = np.stack([np.histogram(row, bins=20, range=(0, 1))[0] for row in numbers])
    assert np.abs(counts - 1000).max() < 4.5 * 31


def test_neighbouring_seeds_and_streams_are_unrelated():
    seeds = np.array([10, 11], "int32")
    rows = np.concatenate([np.asarray(hash_uniform(seeds, 20_000, stream)) for stream in (0, 1)])
    correlations = np.corrcoef(rows)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 4 / 141  # four standard errors


def test_a_row_has_the_same_number_however_many_rows_follow():
    seeds = np.array([5], "int32")
    np.testing.assert_array_equal(
        np.asarray(hash_uniform(seeds, 10, 2)), np.asarray(hash_uniform(seeds, 99, 2))[:, :10]
    )


def test_counts_agree_with_torchvision(golden):
    for case, expected in zip(golden["sampler.cases"], golden["sampler.counts"], strict=True):
        positives, negatives, count, fraction = int(case[0]), int(case[1]), int(case[2]), float(case[3])
        _, sampled = sample([1] * positives + [0] * negatives, count=count, fraction=fraction)
        assert [int((sampled == 1).sum()), int((sampled == 0).sum())] == expected.tolist(), case


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([1, 0, -1]), min_size=1, max_size=40),
    st.integers(0, 99),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_sample_holds_each_row_once_with_its_own_state_and_positives_first(states, seed, fraction):
    (indices,), (sampled,) = sample(states, seed, fraction=fraction)
    used = sampled >= 0
    assert len(set(indices[used])) == used.sum()
    np.testing.assert_array_equal(np.asarray(states)[indices[used]], sampled[used])
    assert (np.diff(sampled) <= 0).all()
    assert (indices[~used] == 0).all()
    positives = min(states.count(1), int(16 * fraction))
    assert (sampled == 1).sum() == positives
    assert (sampled == 0).sum() == min(states.count(0), 16 - positives)


def test_rows_of_padding_change_nothing():
    states = np.random.default_rng(1).integers(-1, 2, 200)
    for got, expected in zip(sample(np.append(states, [-1] * 50)), sample(states), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_an_image_draws_the_same_alone_and_in_a_batch():
    """PAPER §6 row 26."""
    states = np.random.default_rng(2).integers(-1, 2, (3, 100)).astype("int32")
    seeds = np.array([4, 5, 6], "int32")
    together = sample_balanced(states, seeds, count=16, positive_fraction=0.5, stream=0)
    for row in range(3):
        alone = sample_balanced(states[row : row + 1], seeds[row : row + 1], count=16, positive_fraction=0.5, stream=0)
        for got, expected in zip(together, alone, strict=True):
            np.testing.assert_array_equal(np.asarray(got)[row], np.asarray(expected)[0])


def test_every_row_is_drawn_about_equally_often():
    states = np.tile(np.array([[1] * 10 + [0] * 10], "int32"), (2000, 1))
    indices, _ = sample_balanced(states, np.arange(2000, dtype="int32"), count=8, positive_fraction=0.5, stream=3)
    counts = np.bincount(np.asarray(indices).ravel(), minlength=20)
    # Each of 10 rows is one of 4 in 2000 draws: 800 ± 22.
    assert np.abs(counts - 800).max() < 4.5 * 22


@pytest.mark.parametrize("states", [[-1, -1, -1], [-1]])
def test_nothing_to_draw_gives_empty_slots(states):
    indices, sampled = sample(states)
    assert (sampled == -1).all()
    assert (indices == 0).all()
