"""Reports of runs: what a page says, what a folder for `experiments/` holds, and `sync=true`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.tracking.tracker import Tracker
from maskrcnn.workflows.report import report_runs, sync_runs, write_run_report
from maskrcnn.workflows.report_page import RunPage, render_comparison, render_run

METRICS = {"box/AP": 0.61, "box/AP50": 0.8, "mask/AP": None, "seconds/total": 412.3, "model/parameters": 1000000}


def make_run(root: Path, folder: str, name: str, **changes: Any) -> Path:
    path = root / "mlruns/runs" / folder
    tracker = Tracker.start(
        run_folder=path, uri=None, experiment="maskrcnn", name=name, params={}, enabled=False, root=root,
        tags={"overrides": "head=box seed=3"},
    )  # fmt: skip
    tracker.text("metrics.json", json.dumps({**METRICS, "headline": "box/AP", **changes}))
    tracker.text("environment.json", json.dumps({"cpu": "a|b", "git/commit": "abc", "git/dirty": True}))
    tracker.text("config.yaml", "backbone: {name: small}\ndataset: {name: embedded}\nseed: 3\n")
    tracker.table("samples", ["category", "train"], [["person", 12]])
    for step in range(1, 20):
        tracker.metrics({"loss": 2 / step, "loss/mask": 1 / step, "val/box/AP": step / 40}, step)
    tracker.image("test/01", np.zeros((8, 8, 3), np.uint8), 5)
    tracker.image("test/01", np.full((8, 8, 3), 255, np.uint8), 9)
    tracker.finish()
    return path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def linked_files(page: Path) -> list[Path]:
    from urllib.parse import unquote

    targets = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    return [page.parent / unquote(target) for target in targets]


def test_a_page_says_over_how_many_joints_its_figures_are(root: Path) -> None:
    figures = {"keypoint/AP": 0.4, "joints": "2 of 17 joints (nose, left_eye)"}
    text = render_run(RunPage("poses", "FINISHED", metrics=figures))
    assert "Keypoint figures are over 2 of 17 joints (nose, left_eye)." in text
    assert "Keypoint figures" not in render_run(RunPage("boxes", "FINISHED", metrics={"box/AP": 0.4}))


def test_a_runs_page_lies_in_its_folder_and_its_links_lead_to_files(root: Path, capsys: Any) -> None:
    folder = make_run(root, "one", "head=box")
    assert report_runs(["last"], None) == 0
    page = folder / "report.md"
    assert capsys.readouterr().out.strip() == str(page)
    text = page.read_text(encoding="utf-8")
    for words in (
        "# head=box", "- status: FINISHED", "python -m maskrcnn.run head=box seed=3", "| box | 0.610 | 0.800 | – | – |",
        "| mask | – | – | – | – |", "| person | 12 |", "- duration: 6 min 52 s", "`abc` and uncommitted changes",
        "| seconds/total | 412.3 |", "| model/parameters | 1000000 |", "| cpu | a\\|b |",
    ):  # fmt: skip
        assert words in text, words
    files = linked_files(page)
    assert len(files) == 3
    assert all(file.is_file() for file in files), files


def test_the_last_picture_of_each_image_is_shown(root: Path) -> None:
    from PIL import Image

    page = write_run_report(make_run(root, "one", "run"))
    (picture,) = [file for file in linked_files(page) if "images" in file.parts]
    assert np.asarray(Image.open(picture)).min() == 255


def test_a_folder_for_several_runs_needs_nothing_else(root: Path, tmp_path: Path, capsys: Any) -> None:
    make_run(root, "one", "head=box, seed=1")
    make_run(root, "two", "head=box, seed=1", **{"box/AP": 0.5, "mask/AP": 0.4})
    out = tmp_path / "experiments/007 question"
    report_runs(["one", "two"], out)
    (tmp_path / "mlruns").rename(tmp_path / "gone")
    overview = out / "README.md"
    pages = linked_files(overview)
    assert [page.parent.name for page in pages] == ["1-head=box_seed=1", "2-head=box_seed=1"]
    for page in pages:
        assert all(file.is_file() for file in linked_files(page))
        assert (page.parent / "pictures/test_01.png").is_file()
        assert (page.parent / "tables/samples.csv").is_file()
    text = overview.read_text(encoding="utf-8")
    assert "| FINISHED | 0.610 | 0.800 | – | 412.300 | 1000000 |" in text
    assert "| FINISHED | 0.500 | 0.800 | 0.400 | 412.300 | 1000000 |" in text
    first, second = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert first["metrics"]["box/AP"] == 0.61
    assert second["config"]["seed"] == 3
    assert second["command"] == "python -m maskrcnn.run head=box seed=3"


def test_a_folder_for_one_run_opens_with_its_page(root: Path, tmp_path: Path) -> None:
    make_run(root, "one", "run")
    report_runs(["one"], tmp_path / "out")
    assert (tmp_path / "out/README.md").read_text(encoding="utf-8").startswith("# run\n")
    assert all(file.is_file() for file in linked_files(tmp_path / "out/README.md"))


def test_a_page_written_at_the_end_of_a_run_says_that_it_has_finished(root: Path) -> None:
    folder = root / "mlruns/runs/one"
    tracker = Tracker.start(
        run_folder=folder, uri=None, experiment="e", name="n", params={}, tags={}, enabled=False, root=root
    )
    page = write_run_report(folder, ending=True)
    tracker.finish()
    assert "- status: FINISHED" in page.read_text(encoding="utf-8")


def test_a_run_that_failed_early_has_a_page_with_its_reason(root: Path) -> None:
    folder = root / "mlruns/runs/one"
    tracker = Tracker.start(
        run_folder=folder, uri=None, experiment="e", name="n", params={}, tags={}, enabled=False, root=root
    )
    tracker.finish("FAILED", "loss is not finite")
    (folder / "config.yaml").write_text("{", encoding="utf-8")
    text = write_run_report(folder).read_text(encoding="utf-8")
    assert "- status: FAILED: loss is not finite" in text
    assert "## Result" not in text


def test_an_unknown_run_is_refused_with_the_nearest_name(root: Path) -> None:
    make_run(root, "one", "run")
    with pytest.raises(UserError, match="did you mean 'last'"):
        report_runs(["lsat"], None)


def test_an_out_folder_that_cannot_be_made_is_named(root: Path, tmp_path: Path) -> None:
    make_run(root, "one", "run")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be written"):
        report_runs(["one"], tmp_path / "file")


def test_sync_tells_of_each_run_and_its_code_says_whether_all_is_sent(root: Path, capsys: Any) -> None:
    assert sync_runs() == 0
    assert capsys.readouterr().out == "no runs in mlruns/runs\n"
    make_run(root, "one", "run")
    assert sync_runs() == 0
    assert "tracking was switched off" in capsys.readouterr().out


def test_sync_with_an_absent_server_gives_code_one(root: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr("maskrcnn.tracking.sender.CLOSING_PAUSE_S", 0.01)
    Tracker.start(
        run_folder=root / "mlruns/runs/one", uri=address, experiment="e", name="n", params={}, tags={}, enabled=True
    ).finish()
    assert sync_runs() == 1
    assert address in capsys.readouterr().out


def test_odd_names_do_not_break_the_pages_markdown() -> None:
    page = RunPage(name="a[1] (x) | b", status="FINISHED", pictures={"test/01": "images/a b+(1)%.png"})
    assert "](images/a%20b+%281%29%25.png)" in render_run(page)
    assert "[a\\[1\\] (x) \\| b](1%20x/report.md)" in render_comparison([page], ["1 x/report.md"])
