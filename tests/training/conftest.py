"""A toy model with the detector's contract, and a source of batches that is cheap to draw."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest
from keras import ops


@keras.saving.register_keras_serializable("maskrcnn-tests")
class Toy(keras.Model):
    """Two dense layers; `call(training=True)` returns named terms."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.first, self.last = keras.layers.Dense(4, name="first"), keras.layers.Dense(1, name="last")
        self.first.build((None, 3))
        self.last.build((None, 4))
        self.means = {name: keras.metrics.Mean(name=name) for name in ("loss/a", "loss/b", "size")}
        self.built = True

    @property
    def metrics(self):
        return [*super().metrics, *self.means.values()]

    def call(self, batch, training=False):
        return self.loss_terms(batch)

    def loss_terms(self, batch):
        out = self.last(ops.tanh(self.first(batch["x"])))[:, 0] - batch["y"]
        weight = ops.sum(ops.square(self.last.kernel))
        return {"loss/a": ops.mean(out**2), "loss/b": 0.01 * weight, "size": ops.mean(batch["x"])}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        for name, value in y_pred.items():
            self.means[name].update_state(value)
        return y_pred["loss/a"] + y_pred["loss/b"]


class Source:
    """Four batches an epoch, drawn from (epoch, step)."""

    steps_per_epoch = 4
    signature = {"x": ((None, 3), np.dtype(np.float32)), "y": ((None,), np.dtype(np.float32))}  # noqa: RUF012

    def __init__(self, broken_step: int | None = None) -> None:
        self.broken_step = broken_step

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[dict[str, np.ndarray]]:
        for step in range(start_step, self.steps_per_epoch):
            rng = np.random.default_rng([epoch, step])
            x = rng.normal(size=(6, 3)).astype(np.float32)
            if self.broken_step == epoch * self.steps_per_epoch + step:
                x[0, 0] = np.nan
            yield {"x": x, "y": x.sum(1)}

    def image_ids(self, epoch: int, step: int) -> list[int]:
        return [10 * epoch + step]


@pytest.fixture
def toy():
    def make(seed=0):
        keras.utils.set_random_seed(seed)
        return Toy(name="toy")

    return make


@pytest.fixture
def source():
    return Source
