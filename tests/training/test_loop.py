"""The loop on a toy model: which steps run, and that an interruption changes no bit."""

import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.training.adapter import stream
from maskrcnn.training.callbacks import CheckpointByClock, Every, NonFiniteGuard, StepValues
from maskrcnn.training.checkpoints import Progress, load_checkpoint, save_checkpoint, weights_digest
from maskrcnn.training.loop import compile_model, evaluation_steps, train
from maskrcnn.training.optimizers import build_optimizer
from maskrcnn.training.schedules import WarmupSchedule

TOTAL = 10


class StopError(Exception):
    pass


class Kill(StepValues):
    """Ends the training as a kill would, after a number of steps."""

    def __init__(self, start, at):
        super().__init__(start)
        self.at = at

    def on_step(self, step, values):
        if step == self.at:
            raise StopError


def make(toy, ema=None):
    model = toy()
    schedule = WarmupSchedule(0.05, TOTAL, warmup_steps=2)
    compile_model(model, build_optimizer("adamw", schedule, weight_decay=0.01, global_clipnorm=5.0, ema=ema))
    return model


def run(model, source, progress, stops, path, kill=None, seen=None):
    def save():
        save_checkpoint(path, model, progress)

    def save_at(step):
        progress.step = step
        save()

    def callbacks(start):
        kept = [CheckpointByClock(start, 0.0, save_at)]
        return kept + ([Kill(start, kill)] if kill is not None else [])

    stopped = (seen if seen is not None else []).append
    train(model, source, stops=stops, progress=progress, make_callbacks=callbacks, on_stop=stopped, save=save)


def test_evaluations_are_evenly_spread_and_end_with_the_last_step():
    assert evaluation_steps(100, 4) == [25, 50, 75, 100]
    assert evaluation_steps(3, 10) == [1, 2, 3]
    assert evaluation_steps(7, 1) == [7]


def test_the_stream_crosses_epochs_and_starts_anywhere(source):
    whole = [batch["x"] for batch in stream(source(), 0, 9)]
    rest = [batch["x"] for batch in stream(source(), 3, 6)]
    assert len(whole) == 9
    np.testing.assert_array_equal(np.stack(whole[3:]), np.stack(rest))


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("kill", [1, 5, 7])
def test_a_resumed_training_ends_with_the_same_bits(toy, source, tmp_path, kill, ema):
    stops, path = [5, TOTAL], tmp_path / "checkpoint.npz"
    whole = make(toy, ema)
    run(whole, source(), Progress(), stops, tmp_path / "other.npz")
    killed = make(toy, ema)
    with pytest.raises(StopError):
        run(killed, source(), Progress(), stops, path, kill=kill)
    resumed, seen = make(toy, ema), []
    progress = load_checkpoint(path, resumed)
    assert progress.step == kill
    run(resumed, source(), progress, stops, path, seen=seen)
    assert weights_digest(resumed) == weights_digest(whole)
    assert seen == [stop for stop in stops if stop > kill or (stop == kill == 5)]


def test_a_checkpoint_of_another_model_is_refused(toy, source, tmp_path):
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, make(toy), Progress())
    other = make(toy, ema=0.9)
    with pytest.raises(UserError, match="another model or optimizer"):
        load_checkpoint(path, other)


def test_a_cut_checkpoint_is_refused_by_name(toy, tmp_path):
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, make(toy), Progress())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"checkpoint\.npz"):
        load_checkpoint(path, make(toy))


def test_a_nan_in_the_data_stops_with_step_losses_rate_and_images(toy, source):
    model = make(toy)
    guard = lambda start: [NonFiniteGuard(start, lambda step: source().image_ids(*divmod(step, 4)))]  # noqa: E731
    with pytest.raises(UserError) as caught:
        train(
            model,
            source(broken_step=6),
            stops=[TOTAL],
            progress=Progress(),
            make_callbacks=guard,
            on_stop=lambda step: None,
            save=lambda: None,
        )
    message = str(caught.value)
    assert message.startswith("step 7: ")
    assert "loss/a nan" in message
    assert "learning rate" in message
    assert "images [12]" in message


def test_figures_are_means_of_the_steps_since_the_last_report(toy, source):
    model, reports = make(toy), []
    callback = lambda start: [Every(start, 4, 6, lambda step, figures: reports.append((step, figures)))]  # noqa: E731
    train(
        model,
        source(),
        stops=[TOTAL],
        progress=Progress(),
        make_callbacks=callback,
        on_stop=lambda step: None,
        save=lambda: None,
    )
    assert [step for step, _ in reports] == [4, 8, 10]
    sizes = [batch["x"].mean() for batch in stream(source(), 0, TOTAL)]
    assert reports[0][1]["size"] == pytest.approx(np.mean(sizes[:4]), abs=1e-5)
    assert reports[1][1]["size"] == pytest.approx(np.mean(sizes[4:8]), abs=1e-5)
    assert reports[2][1]["size"] == pytest.approx(np.mean(sizes[8:]), abs=1e-5)
    assert {"learning_rate", "gradient_norm", "images_per_second", "loss"} <= set(reports[0][1])


def test_the_share_of_waiting_for_data_is_that_of_the_seconds_since_the_last_report(toy, source):
    model, reports, waited = make(toy), [], iter([5.0, 5.0, 1e9, 1e9])
    callback = lambda start: [  # noqa: E731
        Every(start, 4, 6, lambda step, figures: reports.append(figures["data_share"]), lambda: next(waited))
    ]
    train(
        model,
        source(),
        stops=[TOTAL],
        progress=Progress(),
        make_callbacks=callback,
        on_stop=lambda step: None,
        save=lambda: None,
    )
    assert reports == [0.0, 1.0, 0.0]  # what was waited before the training does not count
