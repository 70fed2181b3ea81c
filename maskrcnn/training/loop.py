"""The training itself: plain `model.fit` from one evaluation to the next, from any step on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from maskrcnn.ops.replicas import workers_strategy
from maskrcnn.training.adapter import BatchSource, step_dataset
from maskrcnn.training.checkpoints import Progress

MakeCallbacks = Callable[[int], Sequence[keras.callbacks.Callback]]


def evaluation_steps(total_steps: int, evaluations: int) -> list[int]:
    """The steps after which the model is evaluated: evenly spread, the last at the end."""
    evaluations = max(1, min(evaluations, total_steps))
    return sorted({round(total_steps * (k + 1) / evaluations) for k in range(evaluations)})


def train(
    model: keras.Model,
    source: BatchSource,
    *,
    stops: Sequence[int],
    progress: Progress,
    make_callbacks: MakeCallbacks,
    on_stop: Callable[[int], None],
    save: Callable[[], None],
) -> None:
    """Train from `progress.step` to the last of `stops`, calling `on_stop(step)` and then `save()` at each.

    Each stretch is a `fit` of its own, so an interrupted one is finished by a shorter `fit` with the same batches;
    the compiled step is made once. `progress` is advanced in place.
    """
    for stop in stops:
        if stop > progress.step:
            start = progress.step
            workers = workers_strategy(model)
            data = step_dataset(source, start, stop - start, workers)
            # A dataset of TensorFlow's knows its length, unless it is one of several processes.
            steps = None if keras.backend.backend() == "tensorflow" and workers is None else stop - start
            model.fit(
                data, epochs=1, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=list(make_callbacks(start))
            )
            progress.step = stop
        if progress.evaluated < stop <= progress.step:
            on_stop(stop)
            progress.evaluated = stop
            save()


def make_deterministic(seed: int, deterministic: bool) -> None:
    """Seed everything that draws at build time; with `deterministic`, operators that give the same bits each time.

    On a CPU TensorFlow's gradient of crop_and_resize loses updates without it (FACTS 4.20).
    """
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow" and deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def compile_model(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Compile for `fit`: XLA on JAX, never on TensorFlow, where dynamic slices pay more (PERFORMANCE §3 F)."""
    model.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
    optimizer.build(model.trainable_variables)
