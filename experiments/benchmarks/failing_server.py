"""What a run loses, and how much longer it takes, when its tracking server fails.

    python -m experiments.benchmarks.failing_server [out=FOLDER] > results.jsonl

Each case trains the same small run (`OVERRIDES`) against a real MLflow server of its own on
loopback, with the SQLite store of `mlflow server`, does the harm once half of the steps are logged, waits for the
run's end, sets the server right, sends what is missing with `python -m maskrcnn.report sync=true`, and compares the
server's values with the run's journal. One JSON line a case:

    seconds     from the start of the command to its end; `added` is what is above the case `alive`
    exit_code   of the training
    unsent      entries that the store lacked when the run ended
    values      metric values (key, step) in the journal, and `missing`: those that the server lacks after the sync
    wrong       those that it has with another value
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maskrcnn.config.arguments import split_pairs
from maskrcnn.tracking.client import open_client
from maskrcnn.tracking.journal import read_entries
from maskrcnn.tracking.store import URI_VARIABLE, resolve_store

STEPS = 120
OVERRIDES = (f"schedule.steps={STEPS}", "schedule.evaluations=2", "dataset.max_test_images=40")
PAUSE_S = 8.0
"""How long the server of the case `restarted` is away."""
PATIENCE_S = 180.0


class Server:
    """A real MLflow server on loopback, of one worker; its store lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_up(self) -> bool:
        """Whether it has been started and not killed since; it may hang."""
        return self._process is not None

    def start(self) -> None:
        """Start, or start again with the same store and port, and wait until it answers."""
        store = ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        store += ["--artifacts-destination", str(self.folder / "artifacts"), "--workers", "1"]
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), *store]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, env={**os.environ, **quiet}, stdout=nothing, stderr=nothing, start_new_session=True
        )
        wait_for(self._answers, "the server")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and its worker."""
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return True
        except OSError:
            return False


def alive(server: Server) -> None:
    """Nothing happens."""


def killed(server: Server) -> None:
    """The server dies and stays away."""
    server.kill()


def restarted(server: Server) -> None:
    """The server dies and comes back."""
    server.kill()
    time.sleep(PAUSE_S)
    server.start()


def hanging(server: Server) -> None:
    """The server still accepts connections and answers none."""
    server.signal(signal.SIGSTOP)


HARM: dict[str, tuple[Callable[[Server], None], bool]] = {
    "alive": (alive, False),
    "killed": (killed, False),
    "restarted": (restarted, False),
    "hanging": (hanging, False),
    "down from the start": (killed, True),
    "hanging from the start": (hanging, True),
}
"""What is done to the server, and whether before the run begins."""


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Ask until it holds.

    Raises:
        TimeoutError: it does not come about.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come in {PATIENCE_S:.0f} s")
        time.sleep(0.1)


def journal_values(root: Path) -> dict[tuple[str, int], float]:
    """All metric values of the one run under `root`, by key and step."""
    (folder,) = {path.parent for path in root.glob("mlruns/runs/*/journal.jsonl")} or {root}
    entries = [entry for entry, _ in read_entries(folder) if entry["kind"] == "metrics"]
    return {(key, entry["step"]): value for entry in entries for key, value in entry["values"].items()}


def server_values(uri: str, root: Path) -> dict[tuple[str, int], float]:
    """All metric values of the one run that the server has, by key and step."""
    client = open_client(resolve_store(uri, root))
    experiment = client.get_experiment_by_name("maskrcnn")
    (run,) = client.search_runs([experiment.experiment_id])
    histories = (client.get_metric_history(run.info.run_id, key) for key in run.data.metrics)
    return {(point.key, point.step): point.value for history in histories for point in history}


def measure(name: str, root: Path) -> dict[str, Any]:
    """One case from an empty folder and an empty store."""
    harm, early = HARM[name]
    server = Server(root / "server")
    work = root / "work"
    work.mkdir()
    environment = {**os.environ, URI_VARIABLE: server.uri}
    train = [sys.executable, "-m", "maskrcnn.run", *OVERRIDES]
    sync = [sys.executable, "-m", "maskrcnn.report", "sync=true"]
    try:
        if name != "down from the start":
            server.start()
        if early:
            harm(server)
        begin = time.monotonic()
        with (root / "run.log").open("w") as log:
            process = subprocess.Popen(train, cwd=work, env=environment, stdout=log, stderr=log)
            if not early:
                wait_for(lambda: _half_is_logged(work) or process.poll() is not None, "half of the run")
                harm(server)
            code = process.wait()
        seconds = time.monotonic() - begin
        unsent = re.findall(r"(\d+) entries of the run unsent", (root / "run.log").read_text())
        server.signal(signal.SIGCONT)
        if not server.is_up:
            server.start()
        synced = subprocess.run(sync, cwd=work, env=environment, capture_output=True, text=True, check=False)
        written, kept = journal_values(work), server_values(server.uri, work)
    finally:
        server.signal(signal.SIGCONT)
        server.kill()
    missing = [key for key in written if key not in kept]
    wrong = [key for key in written if key in kept and kept[key] != written[key]]
    facts = {"case": name, "seconds": round(seconds, 1), "exit_code": code, "unsent": int(unsent[-1]) if unsent else 0}
    facts |= {"sync_exit_code": synced.returncode, "values": len(written)}
    return {**facts, "missing": len(missing), "wrong": len(wrong)}


def _half_is_logged(root: Path) -> bool:
    return any(step >= STEPS // 2 for _, step in journal_values(root))


def main(arguments: list[str]) -> None:
    """Measure every case; the logs of the runs stay under `out`."""
    pairs, _ = split_pairs(arguments, ("out",))
    folder = Path(pairs.get("out") or tempfile.mkdtemp()).absolute()
    whole = None
    for name in HARM:
        facts = measure(name, folder / name.replace(" ", "-"))
        whole = facts["seconds"] if whole is None else whole
        print(json.dumps({**facts, "added": round(facts["seconds"] - whole, 1)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
