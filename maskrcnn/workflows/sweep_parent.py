"""A sweep from the outside: its folder, its run in the tracking store, and the comparison at its end.

The run is opened and closed around Hydra's own main, not in one of its callbacks: Hydra leaves the last one out when a
job fails (FACTS 3.11).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from maskrcnn.config.schema import Config
from maskrcnn.tracking import views
from maskrcnn.tracking.read import SWEEP_TAG, RunFolder
from maskrcnn.tracking.status import FAILED, FINISHED, read_status
from maskrcnn.tracking.sync import sync_run
from maskrcnn.tracking.tracker import Tracker
from maskrcnn.workflows.sweep import Job, JobFailedError
from maskrcnn.workflows.sweep_plan import SweepPlan, held_folder
from maskrcnn.workflows.sweep_report import (
    CURVE_NAMES,
    PAGE,
    Comparison,
    comparison_tables,
    describe,
    view_key,
    write_comparison,
)
from maskrcnn.workflows.tracked_run import JOB, PARENT, ROLE_TAG

UNNESTED_BY = "metrics.`box/AP`"
"""MLflow folds runs that have a parent, also in its charts, unless the list is ordered by a figure (FACTS 2.28)."""


def run_sweep(
    config: Config,
    plan: SweepPlan,
    launch: Callable[[Path], None],
    *,
    named: Path | None,
    make_folder: Callable[[], Path],
) -> int:
    """Runs all jobs through `launch`, compares them, and closes the sweep's run; the exit code: 1 if a job failed.

    Args:
        config: the configuration without the swept keys.
        launch: runs Hydra's launcher for the jobs in the given folder.
        named: the folder that the user has named, else None and `make_folder` makes one.

    Raises:
        UserError: the named folder is taken, or the address of the store is malformed.
    """
    go_on = config.sweep.skip_finished
    with held_folder(plan, Path.cwd(), named, make_folder, go_on=go_on) as (folder, plan):
        print(f"sweep {plan.key}: {len(plan.jobs) or 'as many as the sweeper draws'} jobs in {folder}", flush=True)
        with _open(config, plan, folder) as tracker:
            error = _error_of(launch, folder)
            comparison = Comparison.read(folder)
            if config.tracking.enabled:
                _send_rest(comparison.jobs, tracker, config.tracking.uri)
            _log(comparison, tracker)
            failed = [job.name for job in comparison.failed]
            reason = f"{len(failed)} of {len(comparison.jobs)} jobs failed: {', '.join(failed)}" if failed else ""
            tracker.finish(FAILED if failed or error else FINISHED, reason or str(error or ""))
        _print(comparison, tracker, in_store=config.tracking.enabled)
        if failed:
            print(reason, file=sys.stderr)
    if error is not None:
        raise error
    return 1 if failed else 0


def _error_of(launch: Callable[[Path], None], folder: Path) -> Exception | None:
    """What ended the launcher, None for its proper end and for failed jobs, which have said why themselves."""
    try:
        launch(folder)
    except JobFailedError:
        return None
    except Exception as error:  # raised again once the jobs that did finish are compared
        return error
    return None


def _open(config: Config, plan: SweepPlan, folder: Path) -> Tracker:
    tags = {SWEEP_TAG: plan.key, ROLE_TAG: PARENT, "overrides": " ".join(["-m", *plan.swept, *plan.fixed])}
    return Tracker.start(
        run_folder=folder,
        uri=config.tracking.uri,
        experiment=config.tracking.experiment,
        name=config.tracking.run_name or plan.name,
        params={key: values for key, _, values in (text.partition("=") for text in plan.swept[:7])}
        | {"jobs": len(plan.jobs) or "drawn"},
        tags=tags,
        enabled=config.tracking.enabled,
    )


def _send_rest(jobs: Iterable[Job], tracker: Tracker, uri: str | None) -> None:
    """Sends what jobs could not send themselves, such as that they were killed; gives up with the first that fails."""
    for job in jobs:
        status = read_status(job.folder)
        if tracker.is_failing:
            return
        if job.folder.is_dir() and (status.unsent or status.status != FINISHED):
            result = sync_run(job.folder, Path.cwd(), uri)
            if result.unsent:
                return


def _log(comparison: Comparison, tracker: Tracker) -> None:
    """Tables, figures, page and the prepared view on the sweep's run; a full disk must not end the sweep."""
    for name, table in comparison_tables(comparison).items():
        tracker.table(name, *table)
    try:
        page, _, *pictures = write_comparison(comparison, comparison.folder, PAGE)
    except OSError as error:
        tracker.complain("the comparison", error)
        return
    for picture in pictures:
        tracker.artifact(picture, "figures")
    tracker.artifact(page)
    tracker.view(view_key(comparison.plan), _images_view(comparison))


def _images_view(comparison: Comparison) -> views.View:
    """The grid of the jobs' images (columns: jobs), at the last step that every job has, with the curves below."""
    runs = [RunFolder(job.folder, read_status(job.folder)) for job in comparison.jobs if job.folder.is_dir()]
    steps: dict[str, list[int]] = {}
    for run in runs:
        for key, step in run.last_image_steps().items():
            steps.setdefault(key, []).append(step)
    curves = sorted({name for run in runs for name in run.curves() if re.fullmatch(CURVE_NAMES, name)})
    return views.images_view(
        sorted(steps),
        min((min(of_key) for of_key in steps.values()), default=0),
        curves=curves,
        search_filter=f"tags.`{SWEEP_TAG}` = '{comparison.plan.key}' and tags.`{ROLE_TAG}` = '{JOB}'",
        order_by=UNNESTED_BY,
    )


def _print(comparison: Comparison, tracker: Tracker, *, in_store: bool) -> None:
    print(f"\n{describe(comparison)}")
    print(f"folder: {comparison.folder}")
    if not in_store:
        return
    link = tracker.view_link(view_key(comparison.plan), charts=True)
    print("in MLflow: make ui" + (", then" if link else ""))
    if link:
        print(f"  images {link}")
        if len(comparison.jobs) > views.MOST_RUNS:
            print(f"  (MLflow shows the best {views.MOST_RUNS} of {len(comparison.jobs)} jobs)")
    if tracker.note:
        print(tracker.note)
