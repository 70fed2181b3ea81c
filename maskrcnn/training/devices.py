"""Data-parallel training: TensorFlow's mirrored strategies, on one machine or over a cluster's, under the same `fit`.

Each device computes a part of each batch. Losses are divided by what the whole batch holds (`ops.replicas`), so that
a step is the same as on one device but for the order of sums.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.ops.replicas import workers_strategy
from maskrcnn.training.cluster import Cluster, meet

LONGEST_TEXT = 4096


def device_scope(count: int, cluster: Cluster | None = None) -> AbstractContextManager[Any]:
    """The scope to build and compile a model in, so that `fit` uses `count` devices of each of the cluster's processes.

    GPUs where there are some, else the processor in so many virtual devices, which shows that a setting works but
    wins no time. Call it before TensorFlow has done anything; with a cluster it waits for the other processes.

    Raises:
        UserError: another backend, fewer GPUs than asked for, or a cluster that does not come together.
    """
    if count == 1 and cluster is None:
        return contextlib.nullcontext()
    asked = f"devices={count}" if cluster is None else str(cluster)
    if keras.backend.backend() != "tensorflow":
        raise UserError("several devices need TensorFlow", asked, "set KERAS_BACKEND=tensorflow")
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus and len(gpus) < count:
        raise UserError(f"this machine has {len(gpus)}", f"devices={count}", f"write devices={len(gpus)}")
    if cluster is not None:
        return _join(cluster, count, gpus).scope()
    if gpus:
        strategy = tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(count)])
    else:
        _split_processor(count)
        names = [f"CPU:{i}" for i in range(count)]
        strategy = tf.distribute.MirroredStrategy(names, tf.distribute.ReductionToOneDevice())
    return strategy.scope()


def _join(cluster: Cluster, count: int, gpus: list[Any]) -> Any:
    """The strategy over all processes, which takes every GPU that a process sees, or its processor as one device."""
    import tensorflow as tf

    if count > 1 and not gpus:
        raise UserError("a worker without GPUs is one device", f"devices={count}", "write devices=1")
    meet(cluster)
    tf.config.set_visible_devices(gpus[:count], "GPU")
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.index,
        rpc_layer="grpc",
    )
    return tf.distribute.MultiWorkerMirroredStrategy(resolver)


@contextlib.contextmanager
def explained(cluster: Cluster | None) -> Iterator[None]:
    """Says in one line that the others have gone: TensorFlow finds out within ten seconds, wherever a sum waits.

    Raises:
        UserError: another process of the cluster has ended or cannot be reached.
    """
    if cluster is None:
        yield
        return
    import tensorflow as tf

    gone = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    try:
        yield
    except (*gone, tf.errors.InternalError) as error:
        cause = re.search(r"Collective ops is aborted by: (.{0,200})", error.message)
        if cause is None and isinstance(error, tf.errors.InternalError):
            raise  # not about the others
        found = f" ({cause[1]})" if cause else ""
        hint = "see the others' output; training.resume=auto goes on from the last checkpoint"
        raise UserError(f"another process has ended or cannot be reached{found}", str(cluster), hint) from error


def chiefs_text(text: str) -> str:
    """The chief's `text`, at most 4,096 bytes of UTF-8, in every process of the strategy that is in scope."""
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    own = np.zeros(LONGEST_TEXT, np.float32)
    encoded = text.encode()
    own[: len(encoded)] = list(encoded)

    @tf.function
    def shared() -> Any:
        return strategy.run(_first_replicas, (own,))

    first = strategy.experimental_local_results(shared())[0]
    return bytes(np.asarray(first).astype(np.uint8)).rstrip(b"\0").decode()


def leave_together(model: keras.Model) -> None:
    """Wait for all processes that trained the model: one that left early would be reported to the chief as crashed."""
    strategy = workers_strategy(model)
    if strategy is not None:
        with strategy.scope():
            chiefs_text("")


def _first_replicas(values: Any) -> Any:
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    is_first = tf.cast(tf.equal(context.replica_id_in_sync_group, 0), tf.float32)
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values * is_first)


def _split_processor(count: int) -> None:
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    try:
        parts = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(processor, parts)
    except RuntimeError:  # TensorFlow has begun; what it has may be enough.
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise UserError("TensorFlow has begun with fewer devices", f"devices={count}") from None
