"""Learning rate at each step: linear warm-up, then cosine, drops or a constant (PAPER §1.3)."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("maskrcnn")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Warm-up from `warmup_factor` of the peak over `warmup_steps`, then the chosen decay until `total_steps`.

    Args:
        peak: learning rate after the warm-up.
        decay: cosine (ends at `final_factor` of the peak on the last step) | step (a tenth after each of `drops`,
            shares of the steps) | constant.
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        *,
        warmup_steps: int = 0,
        warmup_factor: float = 0.001,
        decay: str = "cosine",
        final_factor: float = 0.0,
        drops: tuple[float, ...] = (),
    ) -> None:
        super().__init__()
        if decay not in ("cosine", "step", "constant"):
            raise ValueError(f"unknown decay {decay!r}")
        self.peak, self.total_steps, self.decay = float(peak), int(total_steps), decay
        self.warmup_steps, self.warmup_factor = min(int(warmup_steps), max(int(total_steps) // 2, 0)), warmup_factor
        self.final_factor, self.drops = final_factor, tuple(drops)

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        return self.peak * self._warmup(step) * self._decayed(step)

    def _warmup(self, step: Any) -> Any:
        if not self.warmup_steps:
            return 1.0
        share = ops.minimum(step / self.warmup_steps, 1.0)
        return self.warmup_factor + (1.0 - self.warmup_factor) * share

    def _decayed(self, step: Any) -> Any:
        if self.decay == "constant":
            return 1.0
        if self.decay == "step":
            passed = [ops.cast(step >= round(drop * self.total_steps), "float32") for drop in self.drops]
            return 0.1 ** sum(passed) if passed else 1.0
        # The last step is total - 1: the cosine must have arrived there, not one step later.
        length = max(self.total_steps - 1 - self.warmup_steps, 1)
        share = ops.clip((step - self.warmup_steps) / length, 0.0, 1.0)
        return self.final_factor + (1.0 - self.final_factor) * 0.5 * (1.0 + ops.cos(math.pi * share))

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "warmup_factor": self.warmup_factor,
            "decay": self.decay,
            "final_factor": self.final_factor,
            "drops": self.drops,
        }
