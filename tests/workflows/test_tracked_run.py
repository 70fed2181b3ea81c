"""The run in the store bears the digest of what was asked for, by which a later start finds it."""

from pathlib import Path

from maskrcnn.config.compose import compose
from maskrcnn.tracking.status import read_status
from maskrcnn.workflows.naming import config_digest
from maskrcnn.workflows.resume import find_to_resume
from maskrcnn.workflows.tracked_run import open_run

ASKED = ["tracking.enabled=false", "training.resume=auto"]


def run_folder(root: Path) -> Path:
    folder = root / "mlruns" / "runs" / "2026-01-01-first"
    folder.mkdir(parents=True)
    return folder


def test_without_a_digest_it_is_the_configurations_own(tmp_path: Path) -> None:
    config, folder = compose(ASKED), run_folder(tmp_path)
    open_run(config, ASKED, folder).finish("FAILED", "stopped")
    assert read_status(folder).tags["config_digest"] == config_digest(config)


def test_a_run_whose_values_followed_from_its_data_is_found_by_what_was_asked(tmp_path: Path) -> None:
    asked, folder = compose(ASKED), run_folder(tmp_path)
    derived = compose([*ASKED, "schedule.steps=7"])
    open_run(derived, ASKED, folder, digest=config_digest(asked)).finish("FAILED", "stopped")
    again = tmp_path / "mlruns" / "runs" / "2026-01-01-second"
    assert read_status(folder).tags["config_digest"] == config_digest(asked) != config_digest(derived)
    assert find_to_resume(derived, config_digest(asked), again, tmp_path) == folder
    assert find_to_resume(derived, config_digest(derived), again, tmp_path) is None
