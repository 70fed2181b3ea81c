"""Batches on their way to `fit`."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pytest

from maskrcnn.training.adapter import Batch, step_dataset, stream


class Numbers:
    """Three batches an epoch; each says its epoch and step."""

    steps_per_epoch = 3
    signature: ClassVar = {"images": ((None,), np.dtype(np.int32))}

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        for step in range(start_step, self.steps_per_epoch):
            yield {"images": np.array([epoch, step], np.int32)}

    def image_ids(self, epoch: int, step: int) -> list[int]:
        return []


@pytest.mark.parametrize(("start", "count"), [(0, 1), (1, 4), (3, 3), (5, 7)])
def test_steps_are_counted_over_all_epochs(start: int, count: int) -> None:
    found = [tuple(batch["images"].tolist()) for batch in stream(Numbers(), start, count)]
    assert found == [divmod(step, 3) for step in range(start, start + count)]


def test_the_dataset_of_a_stretch_has_its_length_and_the_same_batches() -> None:
    data = step_dataset(Numbers(), 2, 5)
    assert int(data.cardinality()) == 5
    assert [tuple(b["images"].tolist()) for b in data.as_numpy_iterator()] == [divmod(step, 3) for step in range(2, 7)]


def test_nobody_waits_for_the_thread_that_tunes_datasets() -> None:
    """It sleeps up to a minute between two looks, and the end of each `fit` waits for it."""
    assert step_dataset(Numbers(), 0, 1).options().autotune.enabled is False
