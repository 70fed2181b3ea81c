"""Which sweep is the same as an earlier one, and which folder it gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from maskrcnn.errors import UserError
from maskrcnn.tracking.status import RunStatus
from maskrcnn.workflows.sweep_plan import SweepPlan, held_folder, new_plan, read_plan


def plan_of(*swept: str, jobs: int = 2, same: object = None) -> SweepPlan:
    fixed = ["schedule=tiny", "+hydra.sweeper.n=3", "tracking.uri=x"]
    return new_plan(fixed, swept, [[f"seed={k}"] for k in range(jobs)], threads=2, metric=None, same=same)


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], Path]:
    def make_folder() -> Path:
        folders = tmp_path / "mlruns/runs"
        folder = folders / f"sweep{len(list(folders.iterdir())) if folders.is_dir() else 0}"
        folder.mkdir(parents=True)
        RunStatus(name="sweep", started_ms=int(folder.name[5:]) + 1).write(folder)
        return folder

    return make_folder


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = plan_of("seed=0,1")
    plan.write(tmp_path)
    assert read_plan(tmp_path) == plan
    (tmp_path / "sweep.json").write_text("{")
    assert read_plan(tmp_path) is None
    assert read_plan(tmp_path / "nowhere") is None


def test_what_differs_between_jobs_comes_first_and_is_told_from_what_they_share() -> None:
    plan = plan_of("head=box,mask", "seed=0,1")
    assert plan.name == "head=box,mask seed=0,1 schedule=tiny"
    overrides = ["schedule=tiny", "head=box", "++seed=1", "tracking.uri=x", 'dataset.root="a b"']
    assert plan.values(overrides) == {"head": "box", "seed": "1", "dataset.root": "a b"}


def test_the_same_sweep_goes_on_in_its_folder_and_another_gets_its_own(tmp_path: Path, make: Callable) -> None:
    first, again, other = plan_of("seed=0,1"), plan_of("seed=0,1"), plan_of("seed=0,2")
    with held_folder(first, tmp_path, None, make, go_on=True) as (folder, plan):
        assert plan is first
    with held_folder(again, tmp_path, None, make, go_on=True) as (same_folder, plan):
        assert (same_folder, plan.key) == (folder, first.key)
    for plan in (other, plan_of("seed=0,1", same="another store")):
        with held_folder(plan, tmp_path, None, make, go_on=True) as (other_folder, _):
            assert other_folder != folder


def test_two_sweeps_at_once_do_not_share_a_folder(tmp_path: Path, make: Callable) -> None:
    with held_folder(plan_of("seed=0,1"), tmp_path, None, make, go_on=True) as (one, _):
        with held_folder(plan_of("seed=0,1"), tmp_path, None, make, go_on=True) as (two, _):
            assert one != two
        with (
            pytest.raises(UserError, match="a sweep runs in this folder"),
            held_folder(plan_of("seed=0,1"), tmp_path, one, make, go_on=True),
        ):
            pass


def test_a_sweep_can_be_begun_anew(tmp_path: Path, make: Callable) -> None:
    folders = set()
    for _ in range(2):
        with held_folder(plan_of("seed=0,1"), tmp_path, None, make, go_on=False) as (folder, _plan):
            folders.add(folder)
    assert len(folders) == 2


def test_a_sweep_without_known_jobs_is_never_gone_on_with(tmp_path: Path, make: Callable) -> None:
    folders = set()
    for _ in range(2):
        with held_folder(plan_of("x=interval(0,1)", jobs=0), tmp_path, None, make, go_on=True) as (folder, _plan):
            folders.add(folder)
    assert len(folders) == 2


def test_a_named_folder_takes_one_sweep_alone(tmp_path: Path, make: Callable) -> None:
    named = tmp_path / "mine"
    for _ in range(2):
        with held_folder(plan_of("seed=0,1"), tmp_path, named, make, go_on=True) as (folder, _plan):
            assert folder == named
    with (
        pytest.raises(UserError, match="the folder holds another sweep"),
        held_folder(plan_of("seed=3,4"), tmp_path, named, make, go_on=True),
    ):
        pass
