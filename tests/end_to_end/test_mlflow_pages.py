"""What a user sees: a real MLflow server on loopback, opened in a headless Chromium through the links that are printed.

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
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from maskrcnn.tracking import Tracker
from maskrcnn.tracking.pages import UI_ADDRESS

pytestmark = pytest.mark.slow


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


def _log_run(root: Path, name: str, ap: float) -> dict[str, str]:
    """A finished run with curves, pictures at two steps and a table; its links."""
    folder = root / f"mlruns/runs/{name}"
    settings: dict[str, Any] = {"params": {"head": name}, "tags": {}, "enabled": True, "root": root}
    with Tracker.start(run_folder=folder, uri=None, experiment="maskrcnn", name=name, **settings) as tracker:
        for step in range(0, 101, 5):
            tracker.metrics({"loss/mask": 2 / (1 + step / 20), "learning_rate": 0.01}, step=step)
        for step in (50, 100):
            tracker.metrics({"val/box/AP": ap * step / 100}, step=step)
            for number in (1, 2):
                image = np.full((96, 192, 3), 40 * number, np.uint8)
                image[20:60, 20 : 20 + step] = (230, 160, 0)
                tracker.image(f"val/image {number}", image, step=step)
        tracker.metrics({"box/AP": ap, "box/AP50": ap + 0.2}, step=100)
        tracker.table("samples", ["category", "train", "test"], [["person", 123, 45]])
    return tracker.links()


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, str]]]:
    """The links of two runs, on a server that a bare `mlflow ui` has started in their folder."""
    root = tmp_path_factory.mktemp("project")
    found = [_log_run(root, "mask", 0.43), _log_run(root, "keypoint", 0.57)]
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
    for word in ("box/AP", "box/AP50", "head", "0.43", "0.57", "keypoint"):
        assert word in text, text


@needs_chromium
def test_a_runs_page_shows_curves_and_pictures(links: Any, browser: Any, pictures: Path) -> None:
    page = links[0]["run"].replace("?", "/model-metrics?")
    browser.open(page, "document.querySelectorAll('.js-plotly-plot .scatterlayer path').length > 0")
    browser.screenshot(pictures / "curves.png")
    text = browser.text()
    assert "mask (loss/mask)" in text, text


@needs_chromium
def test_the_image_grid_has_a_column_for_each_run(links: Any, browser: Any, pictures: Path) -> None:
    loaded = "Array.from(document.images).filter(i => /artifact/.test(i.src) && i.naturalWidth > 0).length >= 4"
    browser.open(links[1]["images"], loaded)
    browser.screenshot(pictures / "images.png")
    text = browser.text()
    for word in ("val/image 1", "val/image 2", "mask", "keypoint"):
        assert word in text, text


@needs_chromium
def test_the_table_of_samples_is_shown_on_the_runs_artifact_page(links: Any, browser: Any, pictures: Path) -> None:
    page = links[0]["run"].replace("?", "/artifacts/tables/samples.json?")
    browser.open(page, "/person[\\s\\S]*123/.test(document.body.innerText)")
    browser.screenshot(pictures / "table.png")
