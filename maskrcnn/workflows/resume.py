"""Which interrupted run a new start goes on with."""

from __future__ import annotations

from pathlib import Path

from maskrcnn.config.schema import Config
from maskrcnn.tracking.read import unfinished_runs
from maskrcnn.workflows.naming import config_digest


def find_unfinished(config: Config, root: Path) -> Path | None:
    """The folder of the newest run under `root` that has the same configuration and did not finish, if any.

    A run that is still going is left alone.
    """
    digest = config_digest(config)
    runs = (run for run in unfinished_runs(root) if run.status.tags.get("config_digest") == digest)
    return next((run.path for run in runs), None)
