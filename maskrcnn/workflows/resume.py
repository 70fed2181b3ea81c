"""Which interrupted run a new start goes on with."""

from __future__ import annotations

from pathlib import Path

from maskrcnn.config.schema import Config
from maskrcnn.tracking.read import is_sweep_folder, unfinished_runs
from maskrcnn.tracking.status import FAILED, KILLED, read_status


def find_unfinished(digest: str, root: Path) -> Path | None:
    """The folder of the newest run under `root` with this digest of its configuration that did not finish, if any.

    A run that is still going is left alone.
    """
    runs = (run for run in unfinished_runs(root) if run.status.tags.get("config_digest") == digest)
    return next((run.path for run in runs), None)


def find_to_resume(config: Config, digest: str, folder: Path, root: Path) -> Path | None:
    """The folder of the run that a start in `folder` goes on with, None for a new run.

    A job of a sweep that is started again goes on with what lies in its own folder, and never with a run elsewhere.
    """
    if is_sweep_folder(folder.parent):
        status = read_status(folder)
        same = status.tags.get("config_digest") == digest
        return folder if same and status.status in (FAILED, KILLED) else None
    return find_unfinished(digest, root) if config.training.resume == "auto" else None
