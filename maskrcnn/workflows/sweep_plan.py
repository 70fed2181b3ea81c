"""What a sweep is: its command line, its key, its jobs; kept as `sweep.json` in its folder, where jobs find it.

A sweep that is started again with the same command line, configuration, launcher and store goes on in its old folder,
where finished jobs are skipped. A sweep that a sweeper draws (Optuna) or whose jobs only Hydra can list has no jobs
here, and is never gone on with: job 3 may be another one the next time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maskrcnn.config.arguments import override_key
from maskrcnn.errors import UserError
from maskrcnn.tracking.journal import write_json
from maskrcnn.tracking.locks import file_lock
from maskrcnn.tracking.read import SWEEP, list_sweeps

LOCK = "sweep.lock"


@dataclass(frozen=True)
class SweepPlan:
    """The contents of `sweep.json`.

    Attributes:
        key: the tag that the sweep and its jobs have in common.
        identity: SHA-256 of all that makes two sweeps the same.
        fixed: overrides that all jobs share, Hydra's own among them.
        swept: overrides with several values, as typed.
        jobs: the overrides of each job; empty: not known beforehand.
        threads: of each job.
    """

    key: str
    identity: str
    fixed: tuple[str, ...]
    swept: tuple[str, ...]
    jobs: tuple[tuple[str, ...], ...]
    threads: int
    metric: str | None = None

    @property
    def name(self) -> str:
        """What differs first, for tables of runs."""
        shared = (text for text in self.fixed if not override_key(text).startswith(("tracking.", "sweep.", "hydra.")))
        return " ".join([*self.swept, *shared]) or "sweep"

    def values(self, overrides: Sequence[str]) -> dict[str, str]:
        """Value of each swept key in a job's overrides, in the job's order."""
        fixed = {override_key(text) for text in self.fixed}
        pairs = {override_key(text): text.partition("=")[2] for text in overrides}
        return {key: value.strip("'\"") for key, value in pairs.items() if key not in fixed}

    def write(self, folder: Path) -> None:
        write_json(folder / SWEEP, asdict(self))


def new_plan(
    fixed: Sequence[str],
    swept: Sequence[str],
    jobs: Sequence[Sequence[str]],
    *,
    threads: int,
    metric: str | None,
    same: Any,
) -> SweepPlan:
    """A plan with a key of its own; `same` (JSON-able) is what must agree besides, for a sweep to be the same."""
    facts = json.dumps([list(swept), [list(job) for job in jobs], same], sort_keys=True, default=str)
    return SweepPlan(
        key=uuid.uuid4().hex[:12],
        identity=hashlib.sha256(facts.encode()).hexdigest(),
        fixed=tuple(fixed),
        swept=tuple(swept),
        jobs=tuple(tuple(job) for job in jobs),
        threads=threads,
        metric=metric,
    )


def read_plan(folder: Path) -> SweepPlan | None:
    """The plan of the sweep in `folder`; None where there is none that can be read."""
    try:
        values = json.loads((folder / SWEEP).read_text(encoding="utf-8"))
        lists = {name: tuple(values[name]) for name in ("fixed", "swept")}
        return SweepPlan(**{**values, **lists, "jobs": tuple(tuple(job) for job in values["jobs"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


@contextlib.contextmanager
def held_folder(
    plan: SweepPlan, root: Path, named: Path | None, make: Callable[[], Path], *, go_on: bool
) -> Iterator[tuple[Path, SweepPlan]]:
    """The folder of the sweep, locked until the end, and the plan that counts there: an earlier one's, or `plan`.

    Args:
        named: the folder that the user has named.
        make: makes a new folder.
        go_on: whether an earlier sweep may be gone on with.

    Raises:
        UserError: the named folder holds another sweep, or one that runs at this moment.
    """
    with contextlib.ExitStack() as stack:
        if named is not None:
            yield _named_folder(plan, named, stack)
            return
        if go_on and plan.jobs:
            earlier = _earlier(plan, root, stack)
            if earlier is not None:
                yield earlier
                return
        folder = make()
        stack.enter_context(file_lock(folder / LOCK, 0.0))
        plan.write(folder)
        yield folder, plan


def _named_folder(plan: SweepPlan, folder: Path, stack: contextlib.ExitStack) -> tuple[Path, SweepPlan]:
    folder.mkdir(parents=True, exist_ok=True)
    if not stack.enter_context(file_lock(folder / LOCK, 0.0)):
        raise UserError("a sweep runs in this folder", str(folder), "wait for its end, or name another folder")
    earlier = read_plan(folder)
    if earlier is None:
        plan.write(folder)
        return folder, plan
    if earlier.identity != plan.identity:
        raise UserError("the folder holds another sweep", str(folder), "name another folder")
    return folder, earlier


def _earlier(plan: SweepPlan, root: Path, stack: contextlib.ExitStack) -> tuple[Path, SweepPlan] | None:
    """The newest sweep with the plan's identity that nobody else runs now."""
    for sweep in reversed(list_sweeps(root)):
        earlier = read_plan(sweep.path)
        if earlier is None or earlier.identity != plan.identity:
            continue
        with contextlib.ExitStack() as attempt:
            if attempt.enter_context(file_lock(sweep.path / LOCK, 0.0)):
                stack.push(attempt.pop_all())
                return sweep.path, earlier
    return None
