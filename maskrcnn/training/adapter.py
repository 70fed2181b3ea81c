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


def step_dataset(source: BatchSource, start: int, count: int, workers: Any = None) -> Any:
    """What `fit` reads for the steps start … start + count - 1.

    TensorFlow gets a dataset with free height, width and instances, so that one trace serves all shapes, and with
    its length asserted (FACTS 4.18).

    Args:
        workers: the strategy whose processes share each batch, if there is one; `fit` must be told the number of steps.
    """
    if keras.backend.backend() != "tensorflow":
        return stream(source, start, count)
    import tensorflow as tf

    if workers is not None:
        return workers.distribute_datasets_from_function(lambda place: _own_parts(source, start, count, place))
    signature = {name: tf.TensorSpec(shape, dtype) for name, (shape, dtype) in source.signature.items()}

    def generate() -> Iterator[Batch]:
        yield from stream(source, start, count)

    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return data.apply(tf.data.experimental.assert_cardinality(count)).with_options(_options()).prefetch(2)


def _options() -> Any:
    import tensorflow as tf

    # On several devices each batch is cut into parts; the stream of batches is one (FACTS 4.19b).
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # There is nothing to tune, and at the end of each `fit` the tuner's thread is waited for: it sleeps up to a minute.
    options.autotune.enabled = False
    return options


def _own_parts(source: BatchSource, start: int, count: int, place: Any) -> Any:
    """The parts of each batch that the devices of this process take, one after the other.

    Each process makes the whole batch: what is padded in a part depends on the images of the others.
    """
    import tensorflow as tf

    parts = place.num_replicas_in_sync
    own = parts // place.num_input_pipelines
    first = place.input_pipeline_id * own
    signature = {
        n: tf.TensorSpec((shape[0] // parts, *shape[1:]), kind) for n, (shape, kind) in source.signature.items()
    }

    def generate() -> Iterator[Batch]:
        for batch in stream(source, start, count):
            cut = {name: np.split(value, parts) for name, value in batch.items()}
            yield from ({name: values[part] for name, values in cut.items()} for part in range(first, first + own))

    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return data.apply(tf.data.experimental.assert_cardinality(count * own)).with_options(_options()).prefetch(2 * own)
