"""From the reader's NumPy batches to what `fit` takes: one tf.data signature for all shapes, or plain
batches on JAX.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import keras
import numpy as np

Batch = dict[str, np.ndarray]


class BatchSource(Protocol):
    """What training needs of a reader."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch."""

    @property
    def signature(self) -> dict[str, tuple[tuple[int | None, ...], np.dtype]]:
        """Shape (None where it varies) and type of each key of a batch."""

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on."""

    def image_ids(self, epoch: int, step: int) -> list[int]:
        """The images of one batch."""


def stream(source: BatchSource, start: int, count: int) -> Iterator[Batch]:
    """The batches of the steps start … start + count - 1, counted over all epochs."""
    epoch, step = divmod(start, source.steps_per_epoch)
    while count > 0:
        for batch in source.batches(epoch, step):
            yield batch
            count -= 1
            if count == 0:
                return
        epoch, step = epoch + 1, 0


def step_dataset(source: BatchSource, start: int, count: int) -> Any:
    """What `fit` reads for the steps start … start + count - 1.

    TensorFlow gets a dataset with free height, width and instances, so that one trace serves all shapes, and with
    its length asserted (FACTS 4.18).
    """
    if keras.backend.backend() != "tensorflow":
        return stream(source, start, count)
    import tensorflow as tf

    signature = {name: tf.TensorSpec(shape, dtype) for name, (shape, dtype) in source.signature.items()}

    def generate() -> Iterator[Batch]:
        yield from stream(source, start, count)

    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    # On several devices each batch is cut into parts; the stream of batches is one (FACTS 4.19b).
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # There is nothing to tune, and at the end of each `fit` the tuner's thread is waited for: it sleeps up to a minute.
    options.autotune.enabled = False
    return data.apply(tf.data.experimental.assert_cardinality(count)).with_options(options).prefetch(2)
