"""Where the time of a training went."""

import pytest

from maskrcnn.workflows.session import Clock, time_shares


def test_shares_of_data_evaluation_and_steps_add_up_to_the_training():
    shares = time_shares({"training": 200.0, "waiting": 20.0, "evaluation": 60.0, "total": 300.0})
    assert shares == {"share/data": 0.1, "share/evaluation": 0.3, "share/step": pytest.approx(0.6)}


def test_a_run_that_did_not_train_has_no_shares():
    assert time_shares({"total": 3.0}) == {}


def test_time_measured_elsewhere_is_counted_by_its_kind():
    clock = Clock()
    clock.add("waiting", 1.5)
    clock.add("waiting", 2.0)
    assert clock.seconds()["waiting"] == 3.5
