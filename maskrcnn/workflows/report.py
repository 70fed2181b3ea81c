"""`report`: a run's page from its folder, several runs side by side, and what a tracking store has not got yet."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskrcnn.config.stored import read_stored
from maskrcnn.errors import UserError
from maskrcnn.tracking.read import RunFolder, is_sweep_folder, resolve_run
from maskrcnn.tracking.status import FINISHED, read_status
from maskrcnn.tracking.sync import SyncResult, sync_all
from maskrcnn.visualization.tables import text_table
from maskrcnn.workflows.report_page import SUBTITLES, RunPage, render_comparison, render_run, result_record

PAGE = "report.md"
OVERVIEW = "README.md"
RESULTS = "results.json"
ENVIRONMENT = "environment.json"
LOSSES = "figures/losses.png"
VALIDATION = "figures/validation.png"


def report_runs(names: Sequence[str], out: Path | None) -> int:
    """Writes the reports of the named runs, prints where they are; the exit code.

    Without `out` each run's page goes into its own folder. With it, `out` becomes a folder that needs nothing else:
    pages, pictures, `results.json`, and a comparison when there are several runs.

    Raises:
        UserError: there is no such run, or `out` cannot be written.
    """
    runs = [resolve_run(name, Path.cwd()) for name in names]
    try:
        written = [write_run_report(run.path) for run in runs] if out is None else _write_folder(runs, out)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", str(error.filename or out)) from error
    for path in written:
        print(path)
    return 0


def sync_runs() -> int:
    """Sends what the stores have not got of the runs under the working directory; 1 if something stays unsent."""
    results = sync_all(Path.cwd())
    if not results:
        print("no runs in mlruns/runs")
        return 0
    print(text_table(["run", "sent", "unsent", "note"], [_sync_row(result) for result in results]), end="")
    return int(any(result.unsent for result in results))


def _sync_row(result: SyncResult) -> list[str | int | float | None]:
    folder = result.folder
    name = f"{folder.parent.name}/{folder.name}" if is_sweep_folder(folder.parent) else folder.name
    return [name, result.sent, result.unsent, result.note]


def write_run_report(folder: Path, *, ending: bool = False) -> Path:
    """Writes `report.md` into a run's folder from what lies there; its path.

    Args:
        ending: the run is about to finish, and the page is to say that it has.
    """
    run = RunFolder(folder, read_status(folder))
    if ending:
        run.status.status, run.status.reason = FINISHED, ""
    draw_curves(run)
    path = folder / PAGE
    path.write_text(render_run(gather(run)), encoding="utf-8")
    return path


def draw_curves(run: RunFolder) -> None:
    """Losses and validation figures of a run's journal, as pictures in its folder."""
    from maskrcnn.visualization.figures import curves_figure

    curves = run.curves()
    losses = {name: points for name, points in curves.items() if name == "loss" or name.startswith("loss/")}
    figures = {name: points for name, points in curves.items() if re.fullmatch(r"val/\w+/AP(50)?", name)}
    for file, part, title in ((LOSSES, losses, "Training losses"), (VALIDATION, figures, "Validation")):
        if part:
            path = run.path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = {name: _columns(points) for name, points in part.items()}
            curves_figure(lines, title, logarithmic=file == LOSSES).savefig(path)


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[float], list[float]]:
    return [step for step, _ in points], [value for _, value in points]


def gather(run: RunFolder) -> RunPage:
    """The contents of a run's page; paths are relative to the run's folder."""
    pictures = {key: path.relative_to(run.path).as_posix() for key, path in run.pictures().items()}
    return RunPage(
        name=run.name,
        status=run.status.status,
        reason=run.status.reason,
        run_id=run.run_id,
        started_ms=run.status.started_ms,
        overrides=run.status.tags.get("overrides", ""),
        metrics=run.metrics(),
        tables={path.stem: path.read_text(encoding="utf-8") for path in sorted(run.path.glob("tables/*.md"))},
        figures={title: file for file, title in SUBTITLES.items() if (run.path / file).is_file()},
        pictures=pictures,
        environment=_environment(run.path),
        config=_config(run.config),
    )


def _config(file: Path) -> Mapping[str, Any]:
    """A report is made of what there is: a run that ended early, or a damaged file, has no configuration to show."""
    try:
        return read_stored(file)
    except UserError:
        return {}


def _environment(folder: Path) -> Mapping[str, Any]:
    try:
        values = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _write_folder(runs: Sequence[RunFolder], out: Path) -> list[Path]:
    """Self-contained copies of the pages; a single run's page is the folder's README."""
    out.mkdir(parents=True, exist_ok=True)
    names = _folder_names(runs) if len(runs) > 1 else [""]
    pages = [_copy_run(run, out / name, OVERVIEW if not name else PAGE) for run, name in zip(runs, names, strict=True)]
    if len(runs) > 1:
        overview = render_comparison(pages, [f"{name}/{PAGE}" for name in names])
        (out / OVERVIEW).write_text(overview, encoding="utf-8")
    records = json.dumps([result_record(page) for page in pages], indent=1, ensure_ascii=False, default=str)
    (out / RESULTS).write_text(records + "\n", encoding="utf-8")
    return [out / OVERVIEW, out / RESULTS]


def _folder_names(runs: Sequence[RunFolder]) -> list[str]:
    """A folder's name for each run: numbered, since runs may share a name."""
    return [f"{number}-{_slug(run.name)}" for number, run in enumerate(runs, start=1)]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.=-]+", "_", name).strip("._")[:60] or "run"


def _copy_run(run: RunFolder, folder: Path, page_name: str) -> RunPage:
    draw_curves(run)
    page = gather(run)
    short = {key: f"pictures/{_slug(key)}.png" for key in page.pictures}
    for path in page.figures.values():
        _copy(run.path / path, folder / path)
    for key, path in page.pictures.items():
        _copy(run.path / path, folder / short[key])
    page = dataclasses.replace(page, pictures=short)
    for file in run.path.glob("tables/*.csv"):
        _copy(file, folder / "tables" / file.name)
    (folder / page_name).write_text(render_run(page), encoding="utf-8")
    return page


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.resolve() != target.resolve():
        shutil.copyfile(source, target)
