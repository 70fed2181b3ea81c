"""A tracking server that is down, hangs, dies in mid-run or comes back; and `sync_all` afterwards."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn.tracking import Tracker, default_store, prepare_store, read_status, sync_all
from maskrcnn.tracking.client import open_client
from maskrcnn.tracking.journal import JOURNAL, read_entries
from maskrcnn.tracking.store import Store

CLOSED_PORT = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules with shorter times, so that a test takes a second."""
    from maskrcnn.tracking import client, sender

    open_client(default_store(Path("/nowhere")))  # the library reads some settings at its import
    for name, value in client.SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(sender, "FLUSH_S", 0.05)
    monkeypatch.setattr(sender, "CLOSING_PAUSE_S", 0.05)
    monkeypatch.setattr(sender, "GIVING_UP_S", 10.0)
    monkeypatch.setattr(sender.SenderThread.close, "__defaults__", (3.0,))


def start(root: Path, uri: str | None, name: str = "run") -> Tracker:
    folder = root / f"mlruns/runs/{name}"
    settings: dict[str, Any] = {"params": {"head": "mask"}, "tags": {}, "enabled": True, "root": root}
    return Tracker.start(run_folder=folder, uri=uri, experiment="maskrcnn", name=name, **settings)


def train(tracker: Tracker, steps: range) -> None:
    for step in steps:
        tracker.metrics({"loss": step / 10}, step=step)


def picture() -> np.ndarray:
    return np.full((8, 8, 3), 200, np.uint8)


def expected(steps: range) -> dict[int, float]:
    return {step: step / 10 for step in steps}


def test_a_server_gets_everything(tmp_path: Path, server: Any) -> None:
    with start(tmp_path, server.uri) as tracker:
        train(tracker, range(20))
        tracker.image("val/masks", picture(), step=1)
    assert server.values("loss") == expected(range(20))
    (run,) = server.runs.values()
    assert run["info"]["status"] == "FINISHED"
    assert len([name for name in server.artifacts if "val~masks+step+1+" in name]) == 2
    assert tracker.url_hint == f"{server.uri}/#/experiments/7/runs/{tracker.run_id}?workflowType=machine_learning"
    assert not (tmp_path / "mlruns/mlflow.db").exists(), "no local store beside a server"


def test_a_server_that_is_down_costs_little_and_sync_sends_all_later(tmp_path: Path, server: Any, caplog: Any) -> None:
    server.stop()
    begin = time.monotonic()
    with start(tmp_path, server.uri) as tracker:
        train(tracker, range(20))
        tracker.image("val/masks", picture(), step=1)
    assert time.monotonic() - begin < 15
    assert tracker.run_id is None
    assert tracker.note == "25 entries of the run unsent: python -m maskrcnn.report sync=true"
    assert sum(record.levelno == logging.WARNING for record in caplog.records) == 2, caplog.text
    assert read_status(tracker.folder).unsent == 25

    server.start()
    started = next(read_entries(tracker.folder))[0]["time"]
    (result,) = sync_all(tmp_path)
    assert (result.sent, result.unsent, result.note) == (25, 0, "")
    assert server.values("loss") == expected(range(20))
    (run,) = server.runs.values()
    assert int(run["info"]["start_time"]) == started
    assert run["info"]["status"] == "FINISHED"
    assert read_status(tracker.folder).run_id == run["info"]["run_id"]


def test_sync_sends_nothing_twice(tmp_path: Path, server: Any) -> None:
    with start(tmp_path, server.uri) as tracker:
        train(tracker, range(5))
        tracker.image("val/masks", picture(), step=1)
    files, count = dict(server.artifacts), len(server.requests)
    (result,) = sync_all(tmp_path)
    assert (result.sent, result.unsent) == (0, 0)
    assert server.requests[count:] == ["runs/get"]
    assert server.artifacts == files
    # Even if the record of what was sent is lost, nothing doubles.
    (tracker.folder / "journal.position.json").unlink()
    sync_all(tmp_path)
    assert set(server.artifacts) == set(files)
    assert len(server.runs) == 1
    assert server.values("loss") == expected(range(5))


def test_a_server_that_hangs_does_not_hold_the_end_of_a_run(tmp_path: Path, server: Any) -> None:
    server.mode = "hang"
    begin = time.monotonic()
    with start(tmp_path, server.uri) as tracker:
        train(tracker, range(5))
    assert time.monotonic() - begin < 12
    assert "8 entries" in tracker.note
    server.mode = "ok"
    (result,) = sync_all(tmp_path)
    assert result.unsent == 0
    assert server.values("loss") == expected(range(5))


def test_a_server_that_dies_in_mid_run_and_comes_back(
    tmp_path: Path, server: Any, wait_for: Callable[..., None]
) -> None:
    with start(tmp_path, server.uri) as tracker:
        train(tracker, range(5))
        wait_for(lambda: server.runs and server.values("loss") == expected(range(5)))
        server.stop()
        train(tracker, range(5, 10))
        server.start()
        train(tracker, range(10, 15))
    sync_all(tmp_path)
    assert server.values("loss") == expected(range(15))
    assert len(server.runs) == 1


def test_a_server_that_answers_nonsense_is_tried_again(
    tmp_path: Path, server: Any, wait_for: Callable[..., None]
) -> None:
    server.mode = "broken"
    with start(tmp_path, server.uri) as tracker:
        train(tracker, range(5))
    server.mode = "ok"
    assert sync_all(tmp_path)[0].unsent == 0
    assert server.values("loss") == expected(range(5))


def test_a_lost_answer_to_the_creation_makes_no_second_run(tmp_path: Path, server: Any) -> None:
    server.fail_once_after_creating_run = True
    with start(tmp_path, server.uri) as tracker:
        train(tracker, range(5))
    sync_all(tmp_path)
    assert len(server.runs) == 1
    assert server.values("loss") == expected(range(5))


def test_a_server_that_lost_its_runs_gets_them_again(tmp_path: Path, server: Any) -> None:
    with start(tmp_path, server.uri) as tracker:
        train(tracker, range(5))
        tracker.image("val/masks", picture(), step=1)
    server.runs.clear()
    server.metrics.clear()
    (result,) = sync_all(tmp_path)
    assert result.unsent == 0
    assert server.values("loss") == expected(range(5))
    assert read_status(tracker.folder).run_id in server.runs


def test_a_local_store_that_was_deleted_is_made_again(root: Path, local: Store) -> None:
    with start(root, None) as tracker:
        train(tracker, range(5))
    shutil.rmtree(root / "mlruns/artifacts")
    assert local.database is not None
    local.database.unlink()
    (result,) = sync_all(root)
    assert (result.unsent, result.note) == (0, "")
    run = open_client(local).get_run(str(read_status(tracker.folder).run_id))
    assert run.data.metrics == {"loss": 0.4}


def test_a_run_can_be_sent_to_another_store(root: Path, local: Store, server: Any) -> None:
    with start(root, None) as tracker:
        train(tracker, range(5))
    (result,) = sync_all(root, server.uri)
    assert result.note == ""
    assert server.values("loss") == expected(range(5))
    assert tracker.run_id not in server.runs


def test_credentials_are_taken_from_the_environment_at_sync(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    with_password = server.uri.replace("//", "//user:secret@")
    with start(tmp_path, with_password) as tracker:
        train(tracker, range(2))
    written = "".join(path.read_text(encoding="utf-8") for path in tracker.folder.glob("*.json*"))
    assert "secret" not in written
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", with_password)
    assert sync_all(tmp_path)[0].unsent == 0


def test_an_absent_server_is_asked_once_for_all_runs(tmp_path: Path, server: Any) -> None:
    server.stop()
    for name in "abc":
        with start(tmp_path, server.uri, name):
            pass
    results = sync_all(tmp_path)
    assert [result.unsent for result in results] == [3, 3, 3]
    assert len({result.note for result in results}) == 1


def test_a_living_run_is_left_alone(tmp_path: Path, server: Any) -> None:
    with start(tmp_path, server.uri) as tracker:
        train(tracker, range(2))
        (result,) = sync_all(tmp_path)
    assert result.note == "still running"
    assert [run["info"]["status"] for run in server.runs.values()] == ["FINISHED"]


def test_a_killed_run_is_sent_and_marked_killed(root: Path, local: Store) -> None:
    prepare_store(default_store(root), "maskrcnn")
    code = (
        "import os, signal, sys; from pathlib import Path; from maskrcnn.tracking import Tracker\n"
        "root = Path(sys.argv[1])\n"
        "tracker = Tracker.start(run_folder=root / 'mlruns/runs/a', uri=sys.argv[2], experiment='maskrcnn', name='a',"
        " params={}, tags={}, enabled=True, root=root)\n"
        "for step in range(500): tracker.metrics({'loss': step}, step=step)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(root), "sqlite:///mlruns/mlflow.db"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = root / "mlruns/runs/a"
    with (folder / JOURNAL).open("ab") as file:
        file.write(b'{"kind":"metrics","time":17')
    (result,) = sync_all(root)
    assert (result.unsent, result.note) == (0, "")
    status = read_status(folder)
    run = open_client(local).get_run(str(status.run_id))
    assert (run.info.status, status.status) == ("KILLED", "KILLED")
    assert len(open_client(local).get_metric_history(str(status.run_id), "loss")) == 500
    last = [entry for entry, _ in read_entries(folder) if entry["kind"] == "metrics"][-1]
    assert run.info.end_time == last["time"], "it ended when it last spoke, not when it was found"
    assert sync_all(root)[0].sent == 0


def test_a_run_killed_with_the_machine_counts_as_gone(root: Path) -> None:
    with start(root, None) as tracker:
        train(tracker, range(2))
    lines = (tracker.folder / JOURNAL).read_bytes().splitlines(keepends=True)
    begin = json.loads(lines[0])
    begin["process"]["boot_id"] = "another boot"
    (tracker.folder / JOURNAL).write_bytes(json.dumps(begin).encode() + b"\n" + b"".join(lines[1:-1]))
    sync_all(root)
    assert [entry["status"] for entry, _ in read_entries(tracker.folder) if entry["kind"] == "end"] == ["KILLED"]


def test_runs_of_other_hosts_count_as_gone_after_long_silence(root: Path) -> None:
    from maskrcnn.tracking.process import SILENCE_S, is_gone, process_identity

    heartbeat = root / "beat"
    heartbeat.touch()
    identity = process_identity()
    assert not is_gone(identity, heartbeat)
    assert not is_gone({**identity, "host": "elsewhere"}, heartbeat)
    old = time.time() - 2 * SILENCE_S
    os.utime(heartbeat, (old, old))
    assert is_gone({**identity, "host": "elsewhere"}, heartbeat)
    assert is_gone({**identity, "started": 1}, heartbeat), "the number belongs to another process now"


def test_switched_off_and_damaged_journals_are_named_and_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "mlruns/runs/damaged"
    folder.mkdir(parents=True)
    (folder / JOURNAL).write_bytes(b"\x00\xff garbage\n")
    Tracker.start(
        run_folder=tmp_path / "mlruns/runs/off", uri=None, experiment="e", name="off", params={}, tags={},
        enabled=False, root=tmp_path,
    ).finish()  # fmt: skip
    notes = {result.folder.name: result.note for result in sync_all(tmp_path)}
    assert "has no start" in notes["damaged"]
    assert notes["off"] == "tracking was switched off"


def start_child(root: Path, uri: str | None, parent: Tracker, name: str) -> Tracker:
    folder = parent.folder / name
    settings: dict[str, Any] = {"params": {}, "tags": {}, "enabled": True, "root": root, "parent": parent.folder}
    return Tracker.start(run_folder=folder, uri=uri, experiment="maskrcnn", name=name, **settings)


def tags_of(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}


def test_a_child_is_tied_to_its_parents_run(tmp_path: Path, server: Any) -> None:
    with start(tmp_path, server.uri) as parent, start_child(tmp_path, server.uri, parent, "0") as child:
        train(child, range(3))
    assert tags_of(server.runs[str(child.run_id)])["mlflow.parentRunId"] == parent.run_id
    assert len(server.runs) == 2


def test_the_parent_is_made_by_the_first_child_that_reaches_the_store(tmp_path: Path, server: Any) -> None:
    server.stop()
    with start(tmp_path, server.uri) as parent:
        for name in ("0", "1"):
            with start_child(tmp_path, server.uri, parent, name):
                pass
        server.start()
        sync_all(tmp_path)  # the parent is alive and left alone: the children make its run
        assert len(server.runs) == 3
    sync_all(tmp_path)
    assert len(server.runs) == 3
    owners = [tags_of(run).get("mlflow.parentRunId") for run in server.runs.values()]
    assert sorted(owners, key=str) == sorted([None, *[read_status(parent.folder).run_id] * 2], key=str)


def test_the_end_of_a_run_waits_shortly_for_a_server_that_has_failed_before(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch, wait_for: Callable[..., None]
) -> None:
    from maskrcnn.tracking import sender

    monkeypatch.setattr(sender, "GIVING_UP_S", 0.3)
    monkeypatch.setattr(sender.SenderThread.close, "__defaults__", (60.0,))
    monkeypatch.setattr(sender, "CLOSING_TRIES", 60)
    server.stop()
    tracker = start(tmp_path, server.uri)
    wait_for(lambda: tracker.is_failing)
    begin = time.monotonic()
    tracker.finish()
    assert time.monotonic() - begin < 30
    assert "3 entries" in tracker.note
