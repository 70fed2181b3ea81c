"""What a user sees: a real MLflow server on loopback, opened in a headless Chromium through the links that are printed.

Logged are two runs by themselves and a sweep of two jobs, with real overlays of embedded scenes.

The screenshots lie in the test's temporary folder, or in the folder that SCREENSHOTS names.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from maskrcnn.data.embedded import load_embedded
from maskrcnn.data.images import read_record
from maskrcnn.data.joints import choose_joints
from maskrcnn.data.records import Dataset
from maskrcnn.tracking import Tracker
from maskrcnn.tracking.pages import UI_ADDRESS
from maskrcnn.tracking.read import SWEEP_TAG
from maskrcnn.tracking.views import images_view
from maskrcnn.visualization.overlays import draw

pytestmark = pytest.mark.slow
JOINTS = (7, 17)
PICTURES = "Array.from(document.images).filter(i => /artifact/.test(i.src) && i.naturalWidth > 0).length"
"""How many logged pictures the page shows, in JavaScript."""


def _scrolled_to(heading: str) -> str:
    """JavaScript, true once the section of charts is there: it scrolls there, since charts are drawn when seen."""
    found = f"Array.from(document.querySelectorAll('*')).find(e => !e.children.length && e.innerText === '{heading}')"
    return f"(e => e && (e.scrollIntoView(), true))({found})"


def _load_browser_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


browser_module = _load_browser_module()
needs_chromium = pytest.mark.skipif(
    browser_module.find_chromium() is None, reason="no Chromium here (Debian: apt-get install chromium)"
)


def _log_figures(tracker: Tracker, scenes: Dataset, ap: float, joints: int = 17) -> None:
    """Curves, overlays at three steps, final figures and the table of samples, as a run logs them."""
    schema = choose_joints(scenes, joints).schema
    for step in range(0, 101, 5):
        tracker.metrics({"loss/keypoint": 2 / (1 + step / 20), "learning_rate": 0.01}, step=step)
    for step in (0, 50, 100):
        tracker.metrics({"val/box/AP": ap * step / 100}, step=step)
        for number, record in enumerate(scenes.images, start=1):
            overlay = draw(read_record(record), record.annotations, scenes.category_names, schema=schema)
            tracker.image(f"test/{number:02d}", overlay, step=step)
    lower = {"box/AP50": -0.2, "mask/AP": 0.1, "keypoint/AP": 0.2}
    tracker.metrics({"box/AP": ap, **{name: round(ap - by, 2) for name, by in lower.items()}}, step=100)
    tracker.table("samples", ["category", "train", "test"], [["person", 123, 45]])


def _log_run(root: Path, scenes: Dataset, name: str, ap: float) -> dict[str, str]:
    """A finished run; its links."""
    folder = root / f"mlruns/runs/{name}"
    settings: dict[str, Any] = {"params": {"head": name}, "tags": {}, "enabled": True, "root": root}
    with Tracker.start(run_folder=folder, uri=None, experiment="maskrcnn", name=name, **settings) as tracker:
        _log_figures(tracker, scenes, ap)
    return tracker.links()


def _log_sweep(root: Path, scenes: Dataset) -> dict[str, str]:
    """A finished sweep over the number of joints; the link of its images."""
    folder = root / "mlruns/runs/sweep"
    common: dict[str, Any] = {"uri": None, "experiment": "maskrcnn", "enabled": True, "root": root}
    tags = {SWEEP_TAG: "abc", "sweep_role": "parent"}
    with Tracker.start(
        run_folder=folder, name="head=keypoint", params={"head": "keypoint"}, tags=tags, **common
    ) as parent:
        for number, joints in enumerate(JOINTS):
            params = {"head": "keypoint", "num_keypoints": joints}
            job: dict[str, Any] = {"name": f"num_keypoints={joints}", "params": params}
            tags = {SWEEP_TAG: "abc", "sweep_role": "job"}
            with Tracker.start(run_folder=folder / str(number), tags=tags, parent=folder, **job, **common) as tracker:
                _log_figures(tracker, scenes, 0.5 - joints / 100, joints)
        view = images_view(
            ["test/01", "test/02"],
            100,
            curves=["val/box/AP"],
            search_filter=f"tags.`{SWEEP_TAG}` = 'abc' and tags.`sweep_role` = 'job'",
            order_by="metrics.`box/AP`",
        )
        parent.view("sweep-abc", view)
    return {"images": parent.view_link("sweep-abc", charts=True), "run": parent.links()["run"]}


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, str]]]:
    """The links of two runs and of a sweep, on a server that a bare `mlflow ui` has started in their folder."""
    root, cache = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("cache")
    whole, _ = load_embedded(train_images=24, test_images=1, image_size=128, seed=0, cache=cache, processes=1)
    persons = [r for r in whole.images if any(a.keypoints is not None and not a.is_crowd for a in r.annotations)]
    scenes = replace(whole, images=tuple(persons[:2]))
    found = [_log_run(root, scenes, "mask", 0.43), _log_run(root, scenes, "keypoint", 0.57), _log_sweep(root, scenes)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--port", str(port)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    nothing = subprocess.DEVNULL
    server = subprocess.Popen(
        command, cwd=root, env=environment, stdout=nothing, stderr=nothing, start_new_session=True
    )
    try:
        _wait_for_server(f"http://127.0.0.1:{port}/health")
        yield [
            {name: link.replace(UI_ADDRESS, f"http://127.0.0.1:{port}") for name, link in of_run.items()}
            for of_run in found
        ]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _wait_for_server(address: str, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the MLflow server does not answer at {address}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browser_module.Browser() as opened:
        opened.run_first(browser_module.NO_ASSISTANT)
        yield opened


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return Path(os.environ.get("SCREENSHOTS", tmp_path))


@needs_chromium
def test_the_table_of_runs_shows_the_columns_that_matter(links: Any, browser: Any, pictures: Path) -> None:
    browser.open(links[0]["runs"], "/0\\.43[\\s\\S]*mask|mask[\\s\\S]*0\\.43/.test(document.body.innerText)")
    text = browser.text()
    browser.screenshot(pictures / "runs.png")
    for word in ("box/AP", "box/AP50", "mask/AP", "keypoint/AP", "head", "0.43", "0.57", "0.33", "0.37"):
        assert word in text, text


@needs_chromium
def test_a_runs_page_shows_curves(links: Any, browser: Any, pictures: Path) -> None:
    page = links[0]["run"].replace("?", "/model-metrics?")
    browser.open(page, "document.querySelectorAll('.js-plotly-plot .scatterlayer path').length > 0")
    browser.wait(f"{_scrolled_to('loss')} && document.body.innerText.includes('mask (loss/keypoint)')")
    browser.screenshot(pictures / "curves.png")


@needs_chromium
def test_a_runs_page_shows_overlays(links: Any, browser: Any, pictures: Path) -> None:
    page = links[0]["run"].replace("?", "/model-metrics?")
    browser.open(page, _scrolled_to("test"))
    browser.wait(f"{_scrolled_to('test')} && {PICTURES} >= 2")
    browser.screenshot(pictures / "overlays.png")


@needs_chromium
def test_the_image_grid_has_a_column_for_each_run(links: Any, browser: Any, pictures: Path) -> None:
    browser.open(links[1]["images"], f"{PICTURES} >= 4")
    browser.screenshot(pictures / "images.png")
    text = browser.text()
    for word in ("test/01", "test/02", "mask", "keypoint"):
        assert word in text, text


@needs_chromium
def test_the_link_of_a_sweep_opens_on_the_images_of_its_jobs_alone(links: Any, browser: Any, pictures: Path) -> None:
    """One column a job: as many pictures as keys times jobs, although other runs have pictures of the same keys."""
    browser.open(links[2]["images"], f"{PICTURES} >= {2 * len(JOINTS)}")
    browser.screenshot(pictures / "sweep.png")
    text = browser.text()
    assert browser.evaluate(PICTURES) == 2 * len(JOINTS), text
    for word in ("test/01", "test/02", *(f"num_keypoints={joints}" for joints in JOINTS)):
        assert word in text, text


@needs_chromium
def test_the_table_of_samples_is_shown_on_the_runs_artifact_page(links: Any, browser: Any, pictures: Path) -> None:
    page = links[0]["run"].replace("?", "/artifacts/tables/samples.json?")
    browser.open(page, "/person[\\s\\S]*123/.test(document.body.innerText)")
    browser.screenshot(pictures / "table.png")
