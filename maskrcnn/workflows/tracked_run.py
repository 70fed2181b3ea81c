"""The run in the tracking store: its name, parameters and tags, and its place in a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskrcnn.config.schema import Config
from maskrcnn.tracking.read import SWEEP_TAG
from maskrcnn.tracking.tracker import Tracker
from maskrcnn.workflows import naming
from maskrcnn.workflows.sweep_plan import read_plan

ROLE_TAG = "sweep_role"
JOB, PARENT = "job", "parent"


def open_run(
    config: Config, overrides: Sequence[str], folder: Path, *, digest: str | None = None, is_chief: bool = True
) -> Tracker:
    """The tracker of the run in `folder`; a run in a sweep's folder becomes a child of the sweep's run.

    Args:
        digest: of the configuration as asked for, before weights and data have decided a part of it: the same request
            finds the run again. None: `config` is what was asked for.
        is_chief: False keeps the journal of a process that helps another one's run, and sends nothing.

    Raises:
        UserError: the address of the store is malformed.
    """
    plan = read_plan(folder.parent)
    swept = {} if plan is None else plan.values(overrides)
    tags = {"config_digest": digest or naming.config_digest(config), "overrides": " ".join(overrides)}
    if plan is not None:
        tags |= {SWEEP_TAG: plan.key, ROLE_TAG: JOB, "sweep_job": folder.name}
    return Tracker.start(
        run_folder=folder,
        uri=config.tracking.uri,
        experiment=config.tracking.experiment,
        name=_name(config, overrides, swept),
        params=naming.headline_params(config, swept),
        tags=tags,
        enabled=config.tracking.enabled and is_chief,
        parent=None if plan is None else folder.parent,
    )


def _name(config: Config, overrides: Sequence[str], swept: dict[str, str]) -> str:
    given = config.tracking.run_name
    if given is None:
        return naming.run_name(config, overrides, swept)
    return ", ".join([*(f"{key}={value}" for key, value in swept.items()), given])
