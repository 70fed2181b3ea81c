"""A store that is made once, and a small server that speaks enough of MLflow's protocol and can fail on demand."""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from maskrcnn.tracking import store as store_module
from maskrcnn.tracking.store import Store, default_store, prepare_store


@pytest.fixture(autouse=True)
def _no_tracking_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def template_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a folder with a warm store: making one takes seconds."""
    root = tmp_path_factory.mktemp("template")
    prepare_store(default_store(root), "maskrcnn")
    return root


@pytest.fixture
def root(tmp_path: Path, template_store: Path) -> Path:
    """A directory of launch with a warm, empty store of its own."""
    folder = tmp_path / "project"
    (folder / "mlruns").mkdir(parents=True)
    shutil.copyfile(template_store / "mlruns/mlflow.db", folder / "mlruns/mlflow.db")
    store = default_store(folder)
    with store_module.closing(store_module.sqlite3.connect(store.database or "")) as connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (str(store.artifacts),))
        connection.commit()
    return folder


@pytest.fixture
def local(root: Path) -> Store:
    return default_store(root)


class FakeServer:
    """An MLflow server in memory. `mode`: ok | hang (accepts, never answers) | broken (500)."""

    def __init__(self) -> None:
        self.mode = "ok"
        self.runs: dict[str, dict[str, Any]] = {}
        self.metrics: dict[str, set[tuple[str, float, int, int]]] = {}
        self.artifacts: dict[str, bytes] = {}
        self.views: dict[str, str] = {}
        self.requests: list[str] = []
        self.released = threading.Event()
        self._http: ThreadingHTTPServer | None = None
        self.port = 0
        self.fail_once_after_creating_run = False

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), _handler_of(self))
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def values(self, name: str) -> dict[int, float]:
        """Step and value of a metric of the only run."""
        (points,) = self.metrics.values()
        return {step: value for key, value, _, step in points if key == name}

    def answer(self, path: str, body: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        call = path.rpartition("/mlflow/")[2]
        self.requests.append(call)
        return getattr(self, "_" + call.replace("/", "_").replace("-", "_"))(body | query)

    def _experiments_get_by_name(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"experiment": {"experiment_id": "7", "name": values["experiment_name"], "lifecycle_stage": "active"}}

    def _experiments_set_experiment_tag(self, values: dict[str, Any]) -> dict[str, Any]:
        self.views[values["key"]] = values["value"]
        return {}

    def _runs_search(self, values: dict[str, Any]) -> dict[str, Any]:
        wanted = values["filter"].rpartition("= ")[2].strip("'")
        return {"runs": [run for run in self.runs.values() if wanted in run["keys"]]}

    def _runs_create(self, values: dict[str, Any]) -> dict[str, Any]:
        run_id = uuid.uuid4().hex
        info = {"run_id": run_id, "run_uuid": run_id, "experiment_id": "7", "lifecycle_stage": "active"}
        info |= {"status": "RUNNING", "start_time": values["start_time"], "run_name": values.get("run_name", "")}
        info["artifact_uri"] = f"{self.uri}/api/2.0/mlflow-artifacts/artifacts/{run_id}"
        keys = [tag["value"] for tag in values["tags"]]
        self.runs[run_id] = {"info": info, "data": {"tags": values["tags"]}, "keys": keys}
        self.metrics[run_id] = set()
        if self.fail_once_after_creating_run:
            self.fail_once_after_creating_run = False
            raise ConnectionError("the answer is lost")
        return {"run": self.runs[run_id]}

    def _runs_get(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"run": self.runs[values["run_id"]]}

    def _runs_update(self, values: dict[str, Any]) -> dict[str, Any]:
        self.runs[values["run_id"]]["info"] |= {k: values[k] for k in ("status", "end_time") if k in values}
        return {"run_info": self.runs[values["run_id"]]["info"]}

    def _runs_log_batch(self, values: dict[str, Any]) -> dict[str, Any]:
        points = self.metrics[values["run_id"]]
        for metric in values.get("metrics", []):
            points.add((metric["key"], float(metric["value"]), int(metric["timestamp"]), int(metric.get("step", 0))))
        self.runs[values["run_id"]]["data"]["tags"].extend(values.get("tags", []))
        return {}


def _handler_of(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if server.mode == "hang":
                server.released.wait(60)
                return
            parts = urlsplit(self.path)
            if "mlflow-artifacts" in parts.path:
                server.artifacts[unquote(parts.path).rpartition("/artifacts/")[2]] = content
                self._reply(200, {})
                return
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            body = json.loads(content) if content else {}
            self._answer(parts.path, body, query)

        def _answer(self, path: str, body: dict[str, Any], query: dict[str, str]) -> None:
            if server.mode == "broken":
                self._reply(500, {"error_code": "INTERNAL_ERROR", "message": "broken"})
                return
            try:
                self._reply(200, server.answer(path, body, query))
            except KeyError as error:
                self._reply(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": str(error)})
            except ConnectionError:
                self.close_connection = True

        def _reply(self, code: int, values: dict[str, Any]) -> None:
            text = json.dumps(values).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = _serve  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    fake.start()
    yield fake
    fake.released.set()
    fake.stop()


def wait_for(condition: Any, timeout_s: float = 20.0) -> None:
    """Returns as soon as `condition()` holds; fails after a time that only a broken build needs."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "this did not come true"
        time.sleep(0.02)


@pytest.fixture(name="wait_for")
def _wait_for_fixture() -> Any:
    return wait_for
