"""A headless Chromium for tests: opens a page, waits until it shows what is asked for, takes a picture.

Speaks the DevTools protocol over two pipes (`--remote-debugging-pipe`: JSON messages that end with a zero byte), so
that no further library is needed and no port is open. Chromium's own `--screenshot` with virtual time ends before
MLflow's charts are drawn.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import selectors
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
NO_ASSISTANT = "try { localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true'); } catch (error) {}"
"""For `run_first`: MLflow opens a chat panel over a fifth of the first page that a browser shows (FACTS 2.30)."""


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


class Browser:
    """One Chromium with one page, in an empty profile that is removed afterwards. A context manager."""

    def __init__(self, *, width: int = 1600, height: int = 1200) -> None:
        program = find_chromium()
        assert program is not None, "no Chromium on this machine"
        self._profile = tempfile.mkdtemp(prefix="browser-")
        read_commands, self._commands = os.pipe()
        self._answers, write_answers = os.pipe()
        command = [
            program,
            *FLAGS,
            f"--user-data-dir={self._profile}",
            f"--window-size={width},{height}",
            "about:blank",
        ]
        self._process = _start(command, read_commands, write_answers)
        os.close(read_commands)
        os.close(write_answers)
        self._buffer = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        self._number = 0
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        os.close(self._commands)
        os.close(self._answers)
        shutil.rmtree(self._profile, ignore_errors=True)

    def run_first(self, script: str) -> None:
        """JavaScript that runs at the beginning of every page from now on."""
        self._call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def open(self, url: str, until: str, timeout_s: float = 60.0) -> None:
        """Opens `url` and waits until the JavaScript expression `until` is true.

        Raises:
            AssertionError: it does not become true in time; the page's text is told.
        """
        self._call("Page.navigate", url="about:blank")  # a change of the part after # alone would not load anew
        self._call("Page.navigate", url=url)
        self.wait(until, timeout_s)

    def wait(self, until: str, timeout_s: float = 60.0) -> None:
        """Waits until the expression `until` is true on the page at hand."""
        deadline = time.monotonic() + timeout_s
        while not self.evaluate(f"Boolean({until})"):
            text = "" if time.monotonic() < deadline else str(self.text())
            assert time.monotonic() < deadline, f"not seen in {timeout_s} s: {until}\nthe page says: {text[:2000]}"
            time.sleep(0.2)

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression on the page (JSON-able); None when it throws."""
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        """What one can read on the page."""
        return self.evaluate("document.body ? document.body.innerText : ''") or ""

    def screenshot(self, path: Path) -> Path:
        """Writes a PNG of the window."""
        data = self._call("Page.captureScreenshot", format="png")["data"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))
        return path

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive(timeout_s=60.0)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert self._selector.select(timeout_s), "Chromium does not answer"
            data = os.read(self._answers, 1 << 20)
            assert data, "Chromium has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


def _start(command: list[str], read_commands: int, write_answers: int) -> subprocess.Popen[bytes]:
    """Chromium reads commands from descriptor 3 and writes answers to 4."""
    # Out of the way first, since one of the pipe's own ends may be 3 or 4.
    commands = fcntl.fcntl(read_commands, fcntl.F_DUPFD, 20)
    answers = fcntl.fcntl(write_answers, fcntl.F_DUPFD, 20)

    def put_in_place() -> None:
        os.dup2(commands, 3)
        os.dup2(answers, 4)

    nothing = subprocess.DEVNULL
    process = subprocess.Popen(
        command, stdin=nothing, stdout=nothing, stderr=nothing, pass_fds=(3, 4), preexec_fn=put_in_place
    )
    os.close(commands)
    os.close(answers)
    return process
