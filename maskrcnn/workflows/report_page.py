"""A run's one-page report and the comparison of several, as Markdown: pure functions of plain values."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maskrcnn.visualization.tables import Cell, cell_text, markdown_table

HEADLINES = ("box/AP", "box/AP50", "box/AP75", "mask/AP", "mask/AP50", "mask/AP75")
HEADLINES_KEYPOINTS = ("keypoint/AP", "keypoint/AP50", "keypoint/AP75")
COMPARED = (*HEADLINES, *HEADLINES_KEYPOINTS, "seconds/total", "model/parameters", "memory/peak_mib")
TABLES = (
    ("samples", "Samples"),
    ("per_category", "Average precision per category"),
    ("per_joint", "Keypoints per joint"),
    ("operating_point", "At score 0.5 and IoU 0.5"),
)
"""Tables that a report shows, by their name in the run, in order."""
SUBTITLES = {
    "figures/losses.png": "Losses",
    "figures/validation.png": "Figures on the validation part",
    "figures/precision_recall.png": "Precision and recall on the test part",
    "figures/per_category.png": "Average precision per category",
    "figures/per_joint.png": "How well each joint lies, over the persons that were found",
    "figures/worst_images.png": "The images that went worst (ground truth beside prediction)",
    "figures/worst_poses.png": "The persons found whose joints lie worst (ground truth beside prediction)",
}


@dataclass(frozen=True)
class RunPage:
    """What a report tells of one run; pictures and tables are empty where there are none."""

    name: str
    status: str
    reason: str = ""
    run_id: str | None = None
    started_ms: int = 0
    overrides: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    """Markdown tables by name."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """Subtitle → path relative to the report."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Image key → path relative to the report."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


def render_run(page: RunPage) -> str:
    """The report of one run; sections without content are left out."""
    sections = [
        f"# {page.name}\n",
        _summary(page),
        _figures_of_merit(page.metrics),
        *(f"## {title}\n\n{page.tables[name]}" for name, title in TABLES if name in page.tables),
        *(f"## {title}\n\n![{title}]({_link(path)})\n" for title, path in page.figures.items()),
        _pictures(page.pictures),
        _costs(page.metrics),
        _environment(page.environment),
    ]
    return "\n".join(section for section in sections if section)


def render_comparison(pages: Sequence[RunPage], links: Sequence[str]) -> str:
    """Several runs in one table, each with a link to its report; `links` go with `pages`."""
    shown = [name for name in COMPARED if any(_is_number(page.metrics.get(name)) for page in pages)]
    rows: list[list[Cell]] = [
        [f"[{_plain(page.name)}]({_link(link)})", page.status, *(_cell(page.metrics.get(name)) for name in shown)]
        for page, link in zip(pages, links, strict=True)
    ]
    commands = "".join(f"    {_command(page)}\n" for page in pages)
    table = markdown_table(["run", "status", *shown], rows)
    return f"# {len(pages)} runs\n\n{table}\n## Commands\n\n{commands}"


def result_record(page: RunPage) -> dict[str, Any]:
    """What `results.json` keeps of a run: enough to make its tables anew, and to find and repeat it."""
    return {
        "name": page.name,
        "run_id": page.run_id,
        "status": page.status,
        "reason": page.reason,
        "started": _time(page.started_ms),
        "command": _command(page),
        "metrics": dict(page.metrics),
        "environment": dict(page.environment),
        "config": dict(page.config),
    }


def _summary(page: RunPage) -> str:
    state = page.status + (f": {page.reason}" if page.reason else "")
    lines = [f"- status: {state}", f"- started: {_time(page.started_ms)}"]
    if _is_number(page.metrics.get("seconds/total")):
        lines.append(f"- duration: {_duration(float(page.metrics['seconds/total']))}")
    if "git/commit" in page.environment:
        changed = " and uncommitted changes" if page.environment.get("git/dirty") else ""
        lines.append(f"- commit: `{page.environment['git/commit']}`{changed}")
    if page.metrics.get("weights_sha256"):
        lines.append(f"- weights (SHA-256): `{page.metrics['weights_sha256']}`")
    if page.run_id:
        lines.append(f"- MLflow: `runs:/{page.run_id}`")
    return "\n".join(lines) + f"\n\nThe same again:\n\n    {_command(page)}\n"


def _figures_of_merit(metrics: Mapping[str, Any]) -> str:
    """One row for each kind of output; a figure that is not defined is an en dash."""
    rows: list[list[Cell]] = []
    for kind in ("box", "mask", "keypoint"):
        if f"{kind}/AP" in metrics:
            rows.append([kind, *(_cell(metrics.get(f"{kind}/{name}")) for name in ("AP", "AP50", "AP75", "AR100"))])
    if not rows:
        return ""
    table = markdown_table(["test part", "AP", "AP50", "AP75", "AR100"], rows)
    joints = metrics.get("joints")
    over = f" Keypoint figures are over {joints}." if joints else ""
    return f"## Result\n\n{table}\nAP is COCO's average precision, the mean over IoU (or OKS) 0.50 to 0.95.{over}\n"


def _costs(metrics: Mapping[str, Any]) -> str:
    names = [name for name in metrics if name.startswith(("seconds/", "memory/", "model/"))]
    rows: list[list[Cell]] = [[name, _rounded(metrics[name])] for name in names if _is_number(metrics[name])]
    return f"## Time and memory\n\n{markdown_table(['', 'value'], rows)}" if rows else ""


def _environment(environment: Mapping[str, Any]) -> str:
    rows: list[list[Cell]] = [[name, _plain(str(value))] for name, value in environment.items()]
    return f"## Environment\n\n{markdown_table(['', 'value'], rows)}" if rows else ""


def _pictures(pictures: Mapping[str, str]) -> str:
    if not pictures:
        return ""
    shown = "".join(f"![{key}]({_link(path)})\n" for key, path in pictures.items())
    return f"## Test images, ground truth beside prediction\n\n{shown}"


def _command(page: RunPage) -> str:
    return f"python -m maskrcnn.run {page.overrides}".strip()


def _link(path: str) -> str:
    """A path as a Markdown link's target."""
    return path.replace("%", "%25").replace(" ", "%20").replace("(", "%28").replace(")", "%29")


def _plain(text: str) -> str:
    return " ".join(text.replace("[", "\\[").replace("]", "\\]").split())


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> Cell:
    return value if _is_number(value) else None


def _rounded(value: float) -> Cell:
    return value if isinstance(value, int) else cell_text(value, 1)


def _time(time_ms: int) -> str:
    if not time_ms:
        return "–"
    moment = datetime.datetime.fromtimestamp(time_ms / 1000, tz=datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
