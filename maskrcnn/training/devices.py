"""Data-parallel training on one machine: TensorFlow's mirrored strategy under the same `fit`.

Each device computes a part of each batch. Losses are divided by what the whole batch holds (`ops.replicas`), so that
a step is the same as on one device but for the order of sums.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import keras

from maskrcnn.errors import UserError


def device_scope(count: int) -> AbstractContextManager[Any]:
    """The scope to build and compile a model in, so that `fit` uses `count` devices.

    GPUs where there are some, else the processor in so many virtual devices, which shows that a setting works but
    wins no time. Call it before TensorFlow has done anything.

    Raises:
        UserError: another backend, or fewer GPUs than asked for.
    """
    if count == 1:
        return contextlib.nullcontext()
    if keras.backend.backend() != "tensorflow":
        raise UserError("several devices need TensorFlow", f"devices={count}", "set KERAS_BACKEND=tensorflow")
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus and len(gpus) < count:
        raise UserError(f"this machine has {len(gpus)}", f"devices={count}", f"write devices={len(gpus)}")
    if gpus:
        strategy = tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(count)])
    else:
        _split_processor(count)
        names = [f"CPU:{i}" for i in range(count)]
        strategy = tf.distribute.MirroredStrategy(names, tf.distribute.ReductionToOneDevice())
    return strategy.scope()


def _split_processor(count: int) -> None:
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    try:
        parts = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(processor, parts)
    except RuntimeError:  # TensorFlow has begun; what it has may be enough.
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise UserError("TensorFlow has begun with fewer devices", f"devices={count}") from None
