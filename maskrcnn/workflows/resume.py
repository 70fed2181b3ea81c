"""Which interrupted run a new start goes on with."""

from __future__ import annotations

from pathlib import Path

from maskrcnn.config.schema import Config
from maskrcnn.tracking.status import FINISHED, RUNNING, read_status
from maskrcnn.workflows.naming import config_digest


def find_unfinished(config: Config, output_dir: Path) -> Path | None:
    """The newest folder beside `output_dir` whose run has the same configuration and did not finish, if any.

    A run that is still going is left alone.
    """
    digest = config_digest(config)
    for folder in sorted(output_dir.absolute().parent.iterdir(), reverse=True):
        if folder == output_dir.absolute() or not folder.is_dir():
            continue
        status = read_status(folder)
        if status.tags.get("config_digest") == digest and status.status not in (FINISHED, RUNNING):
            return folder
    return None
