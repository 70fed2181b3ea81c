"""Learning rate at chosen steps, by hand."""

import numpy as np
import pytest

from maskrcnn.training.schedules import WarmupSchedule


def rate(schedule, step):
    return float(np.asarray(schedule(step)))


def test_warm_up_is_linear_from_its_factor_to_the_peak():
    schedule = WarmupSchedule(0.02, 1000, warmup_steps=100, warmup_factor=0.001, decay="constant")
    assert rate(schedule, 0) == pytest.approx(0.02 * 0.001, rel=1e-5)
    assert rate(schedule, 50) == pytest.approx(0.02 * (0.001 + 0.999 * 0.5), rel=1e-5)
    assert rate(schedule, 100) == pytest.approx(0.02, rel=1e-5)


def test_the_cosine_arrives_at_its_end_on_the_last_step():
    schedule = WarmupSchedule(1.0, 200, warmup_steps=20, decay="cosine", final_factor=0.02)
    assert rate(schedule, 199) == pytest.approx(0.02, rel=1e-4)
    assert rate(schedule, 20) == pytest.approx(1.0, rel=1e-5)


def test_the_paper_drops_to_a_tenth_at_two_thirds_and_eight_ninths():
    schedule = WarmupSchedule(0.02, 90_000, decay="step", drops=(60 / 90, 80 / 90))
    assert rate(schedule, 59_999) == pytest.approx(0.02)
    assert rate(schedule, 60_000) == pytest.approx(0.002, rel=1e-5)
    assert rate(schedule, 80_000) == pytest.approx(0.0002, rel=1e-5)


def test_a_training_shorter_than_its_warm_up_still_reaches_the_peak():
    schedule = WarmupSchedule(1.0, 6, warmup_steps=100, decay="constant")
    assert rate(schedule, 5) == pytest.approx(1.0)


def test_a_schedule_survives_its_configuration():
    schedule = WarmupSchedule(0.5, 50, warmup_steps=5, decay="step", drops=(0.5,))
    twin = WarmupSchedule.from_config(schedule.get_config())
    assert [rate(twin, s) for s in range(50)] == [rate(schedule, s) for s in range(50)]


def test_an_unknown_decay_is_refused():
    with pytest.raises(ValueError, match="unknown decay 'linear'"):
        WarmupSchedule(1.0, 10, decay="linear")
