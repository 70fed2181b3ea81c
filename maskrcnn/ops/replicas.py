"""What the replicas of a data-parallel step must agree on: sums over the whole batch, of which each sees a part.

Without a strategy of TensorFlow's there is one replica, and nothing here changes a value.
"""

from __future__ import annotations

from typing import Any

import keras


def replica_count() -> int:
    """Replicas that take part in a step."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def workers_strategy(model: keras.Model) -> Any:
    """The strategy of a model whose replicas belong to several processes; None for any other."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    strategy = model.distribute_strategy
    return strategy if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) else None


def total(value: Any) -> Any:
    """Sum of a tensor, or of each tensor of a list, over all replicas; outside a step of theirs, the value itself."""
    if replica_count() == 1:
        return value
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return value if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, value)
