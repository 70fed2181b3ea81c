"""What watches a training from inside `fit`: broken numbers, checkpoints by the clock, figures and progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from maskrcnn.errors import UserError


class StepValues(keras.callbacks.Callback):
    """Base of the callbacks that need each step's own figures: Keras hands out running means of the epoch.

    `start_step` is the number of steps done before this `fit`; `self.step` counts on from it.
    """

    def __init__(self, start_step: int) -> None:
        super().__init__()
        self.step = start_step
        self._count = 0
        self._means: dict[str, float] = {}

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.step += 1
        self._count += 1
        means = {name: float(value) for name, value in (logs or {}).items()}
        n = self._count
        values = {name: mean * n - self._means.get(name, 0.0) * (n - 1) for name, mean in means.items()}
        self._means = means
        self.on_step(self.step, values)

    def on_step(self, step: int, values: dict[str, float]) -> None:
        """Called with the number of steps done and the last step's own figures."""
        raise NotImplementedError


class NonFiniteGuard(StepValues):
    """Stops the run at the first loss or gradient that is not finite (TensorFlow's kernels can hide a NaN: FACTS 4.1).

    Args:
        image_ids: the ids of the images of a step (counted from 0).
    """

    def __init__(self, start_step: int, image_ids: Callable[[int], list[int]]) -> None:
        super().__init__(start_step)
        self._image_ids = image_ids

    def on_step(self, step: int, values: dict[str, float]) -> None:
        norm = float(np.asarray(self.model.optimizer.gradient_norm))
        losses = {name: value for name, value in values.items() if name.startswith("loss")}
        if math.isfinite(norm) and all(math.isfinite(v) for v in losses.values()):
            return
        listed = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        rate = float(np.asarray(self.model.optimizer.learning_rate))
        raise UserError(
            f"the loss or its gradient is not finite: {listed}, gradient norm {norm:.4g}, "
            f"learning rate {rate:.3g}, images {self._image_ids(step - 1)}",
            f"step {step}",
            "lower optimizer.learning_rate, lengthen schedule.warmup_steps or set optimizer.global_clipnorm",
        )


class Every(StepValues):
    """Calls `action(step, means)` each `period` steps with the figures' means since the last call.

    Beside the model's own figures: learning_rate, gradient_norm, images_per_second and, with `waited`, data_share:
    the share of the wall time in which the input pipeline waited for the reader.

    Args:
        waited: seconds that have been waited so far.
    """

    def __init__(
        self,
        start_step: int,
        period: int,
        images_per_step: int,
        action: Callable[[int, dict[str, float]], None],
        waited: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(start_step)
        self._period, self._images, self._action, self._waited = period, images_per_step, action, waited
        self._sums: dict[str, float] = {}
        self._steps = 0
        self._since, self._waited_before = 0.0, 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._since = time.perf_counter()
        self._waited_before = self._waited() if self._waited is not None else 0.0

    def on_step(self, step: int, values: dict[str, float]) -> None:
        self._steps += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        if step % self._period == 0:
            self.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self.flush()

    def flush(self) -> None:
        """Report what has been gathered since the last report."""
        if not self._steps:
            return
        now = time.perf_counter()
        figures = {name: total / self._steps for name, total in self._sums.items()}
        optimizer = self.model.optimizer
        figures["learning_rate"] = float(np.asarray(optimizer.learning_rate))
        figures["gradient_norm"] = float(np.asarray(optimizer.gradient_norm))
        seconds = max(now - self._since, 1e-9)
        figures["images_per_second"] = self._steps * self._images / seconds
        if self._waited is not None:
            waited = self._waited()
            figures["data_share"] = min((waited - self._waited_before) / seconds, 1.0)
            self._waited_before = waited
        self._sums, self._steps, self._since = {}, 0, now
        self._action(self.step, figures)


class CheckpointByClock(StepValues):
    """Calls `save(step)` when `minutes` of wall time have passed since the last time; 0: after each step."""

    def __init__(self, start_step: int, minutes: float, save: Callable[[int], None]) -> None:
        super().__init__(start_step)
        self._seconds, self._save = 60.0 * minutes, save
        self._last = time.monotonic()

    def on_step(self, step: int, values: dict[str, float]) -> None:
        if time.monotonic() - self._last >= self._seconds:
            self._save(step)
            self._last = time.monotonic()
