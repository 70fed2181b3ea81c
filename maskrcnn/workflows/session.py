"""One training from its first step to the test: the objects that take part, and their clock."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras

from maskrcnn.config.schema import Config
from maskrcnn.data.reader import Reader
from maskrcnn.prediction.predictor import Predictor, load_predictor
from maskrcnn.progress import ProgressLine
from maskrcnn.tracking.process import peak_memory_mib, process_memory_mib
from maskrcnn.tracking.read import MODELS
from maskrcnn.tracking.tracker import Tracker
from maskrcnn.training.callbacks import CheckpointByClock, Every, NonFiniteGuard, StepValues
from maskrcnn.training.checkpoints import Progress, averaged_weights, load_checkpoint, save_checkpoint, weights_digest
from maskrcnn.training.loop import compile_model, evaluation_steps, train
from maskrcnn.training.validation import compiled_losses, validation_losses
from maskrcnn.workflows import naming
from maskrcnn.workflows.build import TrainingLength, build_detector, build_optimizer_for, build_reader, training_length
from maskrcnn.workflows.datasets import Data
from maskrcnn.workflows.finish import FinalFigures, final_figures
from maskrcnn.workflows.monitor import Monitor, picture_records

logger = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.npz"
LAST = "last.keras"
LOG_STEPS = 20


class Clock:
    """Wall and processor seconds since it was made, and wall seconds by kind of work."""

    def __init__(self) -> None:
        self.kinds: dict[str, float] = {}
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._before: dict[str, float] = {}

    @contextlib.contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        """Add the time spent inside to `kind`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.kinds[kind] = self.kinds.get(kind, 0.0) + time.perf_counter() - began

    def add(self, kind: str, seconds: float) -> None:
        """Add time that was measured elsewhere to `kind`."""
        self.kinds[kind] = self.kinds.get(kind, 0.0) + seconds

    def seconds(self) -> dict[str, float]:
        """All of it, by name; an interrupted run's earlier time included."""
        now = {"total": time.perf_counter() - self._wall, "cpu": time.process_time() - self._cpu, **self.kinds}
        return {name: self._before.get(name, 0.0) + now.get(name, 0.0) for name in {**self._before, **now}}

    def resume(self, seconds: Mapping[str, float]) -> None:
        """Count on from what an interrupted run had spent."""
        self._before = dict(seconds)


@dataclass
class Session:
    """The objects of one training."""

    config: Config
    data: Data
    folder: Path
    tracker: Tracker
    clock: Clock
    length: TrainingLength
    predictor: Predictor
    progress: Progress
    monitor: Monitor
    is_chief: bool
    """Whether this process evaluates and saves; others of its cluster only take part in the steps."""

    @classmethod
    def build(
        cls,
        config: Config,
        data: Data,
        folder: Path,
        tracker: Tracker,
        clock: Clock,
        pretrained: Predictor | None = None,
        *,
        is_chief: bool = True,
    ) -> Session:
        length = training_length(config, len(data.train))
        detector = build_detector(config, data, pretrained)
        compile_model(detector, build_optimizer_for(config, length, detector))
        progress = Progress()
        predictor = Predictor(detector, batch_size=config.evaluation.batch_size)
        monitor = Monitor(
            predictor=predictor,
            tracker=tracker,
            progress=progress,
            folder=folder,
            kinds=naming.evaluation_kinds(config),
            headline=naming.headline(config),
            val=naming.capped(data.val, config.evaluation.max_val_images),
            pictures=picture_records(data.test, config.evaluation.pictures),
            picture_score=config.evaluation.picture_score,
            losses=_validation(config, data, detector),
        )
        return cls(config, data, folder, tracker, clock, length, predictor, progress, monitor, is_chief)

    def restore(self, checkpoint: Path) -> None:
        """Go on where the interrupted run's last checkpoint stands."""
        found = load_checkpoint(checkpoint, self.predictor.detector)
        for name, value in dataclasses.asdict(found).items():
            setattr(self.progress, name, value)
        self.clock.resume(found.seconds)
        logger.info("resuming %s at step %d of %d", checkpoint.parent.name, found.step, self.length.steps)

    def run(self) -> None:
        """Train to the end, with the evaluations in between."""
        if self.progress.step == 0 and self.is_chief:
            with self.clock.measure("evaluation"):
                self.monitor.draw(0)
        reader = build_reader(self.config, self.data.train, training=True)
        with ProgressLine(self.length.steps, "training") as line, self.clock.measure("training"):
            line.update(self.progress.step)
            train(
                self.predictor.detector,
                reader,
                stops=evaluation_steps(self.length.steps, self.config.schedule.evaluations),
                progress=self.progress,
                make_callbacks=lambda start: self._callbacks(start, reader, line),
                on_stop=self._evaluate,
                save=self._save,
            )
        self.clock.add("waiting", reader.waited_s)

    def _callbacks(self, start: int, reader: Reader, line: ProgressLine) -> list[keras.callbacks.Callback]:
        return [
            NonFiniteGuard(start, lambda step: reader.image_ids(*divmod(step, reader.steps_per_epoch))),
            Every(start, LOG_STEPS, self.config.training.batch_size, self._log, lambda: reader.waited_s),
            _Advance(start, line),
            CheckpointByClock(start, self.config.training.checkpoint_minutes, self._save_at),
        ]

    def finish(self) -> FinalFigures:
        """The figures of the best model on the test part, which is looked at here and nowhere else."""
        with averaged_weights(self.predictor.detector):
            self.predictor.save(self.folder / LAST)
        digest = weights_digest(self.predictor.detector)
        options = self.config.evaluation
        best = load_predictor(self.folder / MODELS[0], batch_size=options.batch_size, tta=options.tta)
        with self.clock.measure("test"):
            figures = final_figures(best, self.data.test, naming.evaluation_kinds(self.config))
        seconds = self.clock.seconds()
        figures.metrics |= {f"seconds/{kind}": value for kind, value in seconds.items()} | time_shares(seconds)
        figures.metrics |= {"memory/peak_mib": peak_memory_mib(), "model/parameters": best.detector.count_params()}
        figures.facts |= {
            "steps": self.length.steps,
            "best_step": self.progress.best_step,
            "weights_sha256": digest,
            "headline": naming.headline(self.config),
        }
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return figures

    def _log(self, step: int, figures: dict[str, float]) -> None:
        self.tracker.metrics({**figures, "memory/mib": process_memory_mib()}, step)

    def _evaluate(self, step: int) -> None:
        if not self.is_chief:
            return
        with self.clock.measure("evaluation"):
            self.monitor.evaluate(step)

    def _save(self) -> None:
        if not self.is_chief:
            return
        self.progress.seconds = self.clock.seconds()
        save_checkpoint(self.folder / CHECKPOINT, self.predictor.detector, self.progress)

    def _save_at(self, step: int) -> None:
        self.progress.step = step
        self._save()


def time_shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """Where the time of a training went: shares of waiting for the reader, evaluating, and the steps themselves."""
    training = seconds.get("training", 0.0)
    if training <= 0.0:
        return {}
    shares = {
        "share/data": min(seconds.get("waiting", 0.0) / training, 1.0),
        "share/evaluation": min(seconds.get("evaluation", 0.0) / training, 1.0),
    }
    return shares | {"share/step": max(1.0 - sum(shares.values()), 0.0)}


class _Advance(StepValues):
    """Moves the progress line on."""

    def __init__(self, start_step: int, line: ProgressLine) -> None:
        super().__init__(start_step)
        self._line = line

    def on_step(self, step: int, values: dict[str, float]) -> None:
        self._line.update(1, loss=values.get("loss", float("nan")))


def _validation(config: Config, data: Data, detector: keras.Model) -> Callable[[], Mapping[str, float]] | None:
    """Mean losses over the validation part, None without one."""
    if not len(data.val):
        return None
    reader = build_reader(config, naming.capped(data.val, config.evaluation.max_val_images), training=False)
    losses_of = compiled_losses(detector)
    return lambda: validation_losses(losses_of, reader)
