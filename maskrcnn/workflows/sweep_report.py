"""The comparison of a sweep's jobs: tables, curves, contact sheet and page, made from the folders of the jobs alone."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from maskrcnn.errors import UserError
from maskrcnn.tracking import tables
from maskrcnn.tracking.pages import view_page
from maskrcnn.tracking.pictures import write_image
from maskrcnn.tracking.read import RunFolder, resolve_sweep
from maskrcnn.tracking.status import FAILED, FINISHED, read_status
from maskrcnn.tracking.store import resolve_store
from maskrcnn.visualization.comparison import Curve, runs_figure, runs_sheet
from maskrcnn.visualization.tables import markdown_table, text_table
from maskrcnn.workflows.panels import read_panels
from maskrcnn.workflows.report import gather
from maskrcnn.workflows.report_page import result_record
from maskrcnn.workflows.sweep import Job, read_jobs
from maskrcnn.workflows.sweep_plan import SweepPlan, read_plan
from maskrcnn.workflows.sweep_tables import (
    JobFigures,
    Table,
    is_repeated,
    jobs_table,
    metric_names,
    settings_table,
    settings_text,
    shown_names,
    without_empty,
)

JOBS, SETTINGS = "comparison", "settings"
"""Names of the two tables: one row a job, and one row a setting with the mean over its seeds."""
CURVES = Path("figures", "curves.png")
SHEET = Path("figures", "contact_sheet.png")
PAGE, OVERVIEW, RESULTS = "report.md", "README.md", "results.json"
CURVE_NAMES = r"loss|val/\w+/(AP|loss)|val/loss"
MOST_COLUMNS = 24


@dataclass(frozen=True)
class Comparison:
    """A sweep and its jobs, as they are now."""

    folder: Path
    plan: SweepPlan
    jobs: tuple[Job, ...]

    @classmethod
    def read(cls, folder: Path) -> Comparison:
        """Reads the folder of a sweep.

        Raises:
            UserError: it holds none.
        """
        plan = read_plan(folder)
        if plan is None:
            raise UserError("holds no sweep", str(folder))
        return cls(folder, plan, tuple(read_jobs(folder, plan)))

    @property
    def figures(self) -> list[JobFigures]:
        return [job.figures(self.plan) for job in self.jobs]

    @property
    def failed(self) -> list[Job]:
        return [job for job in self.jobs if job.failed]

    def labels(self) -> list[str]:
        """A label for each job, unlike all others."""
        labels = [job.label(self.plan) for job in self.jobs]
        return [f"{job.name}: {x}" if labels.count(x) > 1 else x for job, x in zip(self.jobs, labels, strict=True)]


def comparison_tables(comparison: Comparison) -> dict[str, Table]:
    """Every figure of every job, and per setting where seeds were swept."""
    figures = comparison.figures
    names = metric_names(figures)
    found = {JOBS: jobs_table(figures, names)}
    if is_repeated(figures):
        found[SETTINGS] = settings_table(figures, names)
    return found


def describe(comparison: Comparison) -> str:
    """The figures that the terminal has room for, and why jobs failed; lines of text."""
    figures = comparison.figures
    names = shown_names(figures, comparison.plan.metric)
    text = text_table(*without_empty(jobs_table(figures, names)))
    if is_repeated(figures):
        text += "\nMean ± standard deviation over the seeds:\n" + text_table(
            *without_empty(settings_text(figures, names))
        )
    for job in comparison.failed:
        if job.reason:
            text += f"job {job.name} {job.status.lower()}: {' '.join(job.reason.split())}\n"
    return text


def curves_of(comparison: Comparison) -> Figure:
    """Losses and validation figures of all jobs in one figure."""
    panels: dict[str, dict[str, Curve]] = {}
    for label, job in zip(comparison.labels(), comparison.jobs, strict=True):
        for name, points in RunFolder(job.folder, read_status(job.folder)).curves().items():
            if re.fullmatch(CURVE_NAMES, name):
                panels.setdefault(name, {})[label] = ([step for step, _ in points], [value for _, value in points])
    return runs_figure(panels, comparison.labels())


def sheet_of(comparison: Comparison) -> np.ndarray | None:
    """The same test images under all runs, ground truth first (with the most joints); None where there are none."""
    truth: dict[str, tuple[int, Path]] = {}
    columns: dict[str, dict[str, np.ndarray]] = {}
    for label, job in zip(comparison.labels(), comparison.jobs, strict=True):
        panels = read_panels(job.folder)
        if not panels or len(columns) == MOST_COLUMNS:
            continue
        columns[label] = {panel.image: _read_image(job.folder / panel.prediction) for panel in panels}
        for panel in panels:
            if panel.image not in truth or panel.joints > truth[panel.image][0]:
                truth[panel.image] = panel.joints, job.folder / panel.truth
    pictures = {image: _read_image(path) for image, (_, path) in truth.items()}
    return runs_sheet(list(pictures), pictures, columns) if columns else None


def _read_image(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def write_comparison(comparison: Comparison, out: Path, page_name: str) -> list[Path]:
    """Writes tables, curves, contact sheet and page into `out`, which needs nothing else then; the files.

    Raises:
        OSError: it cannot be written.
    """
    files = [_write_tables(comparison, out), *_write_pictures(comparison, out)]
    page = out / page_name
    page.write_text(render(comparison, [path for path in (CURVES, SHEET) if (out / path).is_file()]), encoding="utf-8")
    return [page, *files]


def _write_tables(comparison: Comparison, out: Path) -> Path:
    (out / "tables").mkdir(parents=True, exist_ok=True)
    for name, table in comparison_tables(comparison).items():
        for text, suffix in tables.formats(*table):
            (out / "tables" / f"{name}{suffix}").write_text(text, encoding="utf-8")
    return out / "tables"


def _write_pictures(comparison: Comparison, out: Path) -> list[Path]:
    (out / CURVES).parent.mkdir(parents=True, exist_ok=True)
    curves_of(comparison).savefig(out / CURVES)
    sheet = sheet_of(comparison)
    if sheet is None:
        return [out / CURVES]
    write_image(out / SHEET, sheet)
    return [out / CURVES, out / SHEET]


def render(comparison: Comparison, pictures: Sequence[Path]) -> str:
    """The page: what was asked, the figures, curves and pictures, and how to make it again."""
    plan, status = comparison.plan, read_status(comparison.folder)
    figures = comparison.figures
    names = shown_names(figures, plan.metric)
    lines = [f"# {plan.name}\n", _summary(comparison, status.started_ms), "## Figures\n"]
    lines.append(markdown_table(*without_empty(jobs_table(figures, names))))
    if is_repeated(figures):
        lines.append("Mean ± sample standard deviation over the seeds:\n")
        lines.append(markdown_table(*without_empty(settings_text(figures, names))))
    lines.append("All figures: [comparison.csv](tables/comparison.csv).\n")
    for job in comparison.failed:
        if job.reason:
            lines.append(f"- job {job.name} {job.status.lower()}: {' '.join(job.reason.split())}")
    titles = {CURVES: "Curves", SHEET: "The same test images, ground truth first"}
    lines += [f"\n## {titles[path]}\n\n![{titles[path]}]({path.as_posix()})" for path in pictures]
    commands = "\n".join(f"    python -m maskrcnn.run {' '.join(job.overrides)}" for job in comparison.jobs)
    lines.append(f"\n## Each job alone\n\n{commands}\n")
    return "\n".join(lines)


def _summary(comparison: Comparison, started_ms: int) -> str:
    plan = comparison.plan
    environment = _environment(comparison)
    finished = len(comparison.jobs) - len(comparison.failed)
    facts = [f"- jobs: {finished} of {len(comparison.jobs)} finished, {plan.threads} threads each"]
    if started_ms:
        moment = datetime.datetime.fromtimestamp(started_ms / 1000, tz=datetime.UTC)
        facts.append(f"- started: {moment:%Y-%m-%d %H:%M:%S} UTC")
    if "git/commit" in environment:
        facts.append(f"- commit: `{environment['git/commit']}`")
    if "cpu" in environment:
        facts.append(f"- machine: {environment['cpu']}, {environment.get('cores', '?')} cores")
    facts.append(f"- MLflow: tag `sweep = {plan.key}`")
    command = " ".join([*plan.swept, *plan.fixed])
    return "\n".join(facts) + f"\n\nThe same again:\n\n    python -m maskrcnn.run -m {command}\n"


def _environment(comparison: Comparison) -> Mapping[str, Any]:
    """Of the first job that has recorded one."""
    pages = (gather(RunFolder(job.folder, read_status(job.folder))) for job in comparison.jobs if job.folder.is_dir())
    return next((page.environment for page in pages if page.environment), {})


def report_sweep(where: str, out: Path | None) -> int:
    """Writes the comparison of a sweep anew, into its own folder or as a folder that needs nothing else; prints it.

    Raises:
        UserError: there is no such sweep, or `out` cannot be written.
    """
    sweep = resolve_sweep(where, Path.cwd())
    comparison = Comparison.read(sweep.path)
    try:
        written = write_comparison(comparison, out or sweep.path, OVERVIEW if out else PAGE)
        if out is not None:
            written.append(_write_results(comparison, out))
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", str(error.filename or out)) from error
    print(describe(comparison))
    for path in written:
        print(path)
    link = link_to_images(sweep, comparison.plan)
    if link:
        print(f"in MLflow: {link}")
    return 0


def _write_results(comparison: Comparison, out: Path) -> Path:
    runs = [RunFolder(job.folder, read_status(job.folder)) for job in comparison.jobs if job.folder.is_dir()]
    records = [result_record(gather(run)) for run in runs]
    path = out / RESULTS
    path.write_text(json.dumps(records, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    return path


def view_key(plan: SweepPlan) -> str:
    """Key of the prepared view that shows the jobs' images side by side."""
    return f"sweep-{plan.key}"


def link_to_images(sweep: RunFolder, plan: SweepPlan) -> str:
    """Address of that view; "" before the sweep's end, while the store has not got it, or where it has no pages."""
    if sweep.status.status not in (FINISHED, FAILED):
        return ""
    store = resolve_store(sweep.status.store or None, Path.cwd())
    return view_page(store, sweep.status.experiment_id, view_key(plan), charts=True)
