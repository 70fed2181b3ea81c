"""The tracker: what a user sees in MLflow afterwards, and that nothing of it stops or slows a training."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn.errors import UserError
from maskrcnn.tracking import Tracker, default_store, prepare_store, read_status
from maskrcnn.tracking.client import open_client
from maskrcnn.tracking.journal import JOURNAL, read_entries
from maskrcnn.tracking.store import Store


def start(root: Path, name: str = "run", **changes: Any) -> Tracker:
    settings: dict[str, Any] = {"uri": None, "experiment": "maskrcnn", "params": {}, "tags": {}, "enabled": True}
    return Tracker.start(run_folder=root / f"mlruns/runs/{name}", name=name, root=root, **{**settings, **changes})


def picture(height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def stored_run(local: Store, tracker: Tracker) -> Any:
    assert tracker.run_id is not None
    return open_client(local).get_run(tracker.run_id)


def artifacts(local: Store, tracker: Tracker, folder: str = "") -> list[str]:
    assert local.artifacts is not None
    base = local.artifacts / str(tracker.run_id) / "artifacts"
    return sorted(path.relative_to(base).as_posix() for path in (base / folder).rglob("*") if path.is_file())


def test_a_process_that_is_killed_while_the_library_is_imported_has_a_status(
    root: Path, local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        "maskrcnn.tracking.tracker.prepare_store", lambda *_: seen.append(read_status(root / "mlruns/runs/run").status)
    )
    with start(root):
        pass
    assert seen == ["RUNNING"]


def test_metrics_params_and_tags_arrive(root: Path, local: Store) -> None:
    with start(root, params={"head": "mask", "long": "x" * 9000}, tags={"sweep": "abc"}) as tracker:
        tracker.metrics({"loss/mask": 0.5, "box/AP": None}, step=1)
        tracker.metrics({"loss/mask": np.float32(0.25), "val/a=b[1]": 2}, step=2)
    run = stored_run(local, tracker)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params["head"] == "mask"
    assert len(run.data.params["long"]) == 6000
    assert run.data.tags["sweep"] == "abc"
    assert run.data.metrics == {"loss/mask": 0.25, "val/a_b_1_": 2.0}
    history = open_client(local).get_metric_history(tracker.run_id, "loss/mask")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.25)]


def test_not_a_number_arrives_as_such(root: Path, local: Store) -> None:
    with start(root) as tracker:
        tracker.metrics({"loss": math.nan, "other": math.inf}, step=3)
    assert math.isnan(stored_run(local, tracker).data.metrics["loss"])


def test_a_run_of_many_steps_arrives_whole_and_in_batches(root: Path, local: Store) -> None:
    with start(root) as tracker:
        for step in range(1100):
            tracker.metrics({"a": step, "b": -step}, step=step)
    client = open_client(local)
    for name in "ab":
        assert len(client.get_metric_history(tracker.run_id, name)) == 1100
    assert tracker.note == ""


def test_images_are_named_as_mlflow_names_its_own(root: Path, local: Store) -> None:
    with start(root) as tracker:
        tracker.image("val/masks", picture(), step=3)
    names = artifacts(local, tracker, "images")
    client = open_client(local)
    other = client.create_run(stored_run(local, tracker).info.experiment_id)
    client.log_image(other.info.run_id, picture(), key="val/masks", step=3)
    theirs = sorted(file.path for file in client.list_artifacts(other.info.run_id, "images"))

    def shape(name: str) -> str:
        return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UUID", re.sub(r"timestamp\+\d+", "timestamp+T", name))

    assert [shape(name) for name in names] == [shape(name) for name in theirs]
    tags = stored_run(local, tracker).data.tags
    assert tags["mlflow.loggedImages"] == client.get_run(other.info.run_id).data.tags["mlflow.loggedImages"]


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (300, 200)])
def test_thin_and_tiny_images_get_a_thumbnail(size: tuple[int, int], root: Path, local: Store) -> None:
    from PIL import Image

    with start(root) as tracker:
        tracker.image("val/masks", picture(*size), step=0)
    thumbnail, png = artifacts(local, tracker, "images")
    assert local.artifacts is not None
    base = local.artifacts / str(tracker.run_id) / "artifacts"
    assert max(Image.open(base / thumbnail).size) == 256
    assert np.array_equal(np.asarray(Image.open(base / png)), picture(*size))


@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2))],
)
def test_what_is_no_image_is_left_out_and_said_once(image: np.ndarray, root: Path, caplog: Any) -> None:
    with start(root, enabled=False) as tracker, caplog.at_level(logging.WARNING):
        tracker.image("val/masks", image, step=0)
        tracker.image("val/masks", image, step=1)
    assert len(caplog.records) == 1
    assert "uint8 [H, W, 3]" in caplog.text


def test_a_table_is_shown_by_mlflow_and_kept_as_markdown_and_csv(
    root: Path, local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start(root) as tracker:
        tracker.table("samples", ["category", "images"], [["person", 3], ["a|b", None]])
        tracker.table("ap", ["category", "AP"], [["person", np.float64(0.5)], ["cat", math.nan]])
    assert artifacts(local, tracker, "tables") == [
        f"tables/{name}.{kind}" for name in ("ap", "samples") for kind in ("csv", "json", "md")
    ]
    client = open_client(local)
    logged = json.loads(stored_run(local, tracker).data.tags["mlflow.loggedArtifacts"])
    assert logged == [{"path": f"tables/{name}.json", "type": "table"} for name in ("samples", "ap")]
    experiment = stored_run(local, tracker).info.experiment_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", local.uri)  # load_table searches in the global store
    frame = client.load_table(experiment, "tables/ap.json", run_ids=[str(tracker.run_id)])
    assert frame["AP"].tolist()[0] == 0.5
    text = (tracker.folder / "tables/samples.md").read_text(encoding="utf-8")
    assert text.splitlines() == ["| category | images |", "| --- | --: |", "| person | 3 |", "| a\\|b | – |"]
    assert (tracker.folder / "tables/ap.csv").read_text(encoding="utf-8") == "category,AP\nperson,0.5\ncat,\n"


def test_files_folders_texts_and_figures_become_artifacts(root: Path, local: Store, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    outside = tmp_path / "outside.bin"
    outside.write_bytes(b"12")
    with start(root) as tracker:
        (tracker.folder / "pictures/deep").mkdir(parents=True)
        (tracker.folder / "pictures/deep/x.txt").write_text("x", encoding="utf-8")
        tracker.text("report.md", "# Report")
        tracker.text("../../escape.txt", "no")
        tracker.artifact(tracker.folder / "pictures")
        tracker.artifact(outside, "models")
        tracker.artifact(tmp_path / "absent", "models")
        tracker.figure("curves/PR", Figure())
    assert artifacts(local, tracker) == [
        "escape.txt", "figures/PR.png", "models/outside.bin", "pictures/deep/x.txt", "report.md",
    ]  # fmt: skip
    assert (tracker.folder / "escape.txt").is_file()


def test_a_file_that_has_gone_does_not_hold_up_the_rest(root: Path, local: Store) -> None:
    tracker = start(root, enabled=False)
    tracker.text("a.txt", "a")
    tracker.metrics({"x": 1}, step=1)
    tracker.finish()
    (tracker.folder / "a.txt").unlink()
    with start(root) as tracker:
        pass
    run = stored_run(local, tracker)
    assert run.data.metrics == {"x": 1.0}
    assert artifacts(local, tracker) == []


def test_a_failure_is_told_in_the_status_with_one_line(root: Path, local: Store) -> None:
    with pytest.raises(ValueError, match="bad"), start(root) as tracker:
        raise ValueError("bad\nvalue")
    run = stored_run(local, tracker)
    assert (run.info.status, run.data.tags["reason"]) == ("FAILED", "ValueError: bad value")
    status = read_status(tracker.folder)
    assert (status.status, status.reason, status.unsent) == ("FAILED", "ValueError: bad value", 0)


def test_ctrl_c_gives_killed(root: Path, local: Store) -> None:
    with pytest.raises(KeyboardInterrupt), start(root) as tracker:
        raise KeyboardInterrupt
    assert stored_run(local, tracker).info.status == "KILLED"


def test_sigterm_gives_killed_and_the_old_handler_comes_back(root: Path, local: Store) -> None:
    def be_terminated() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    tracker = start(root)
    with pytest.raises(KeyboardInterrupt), tracker:
        be_terminated()
    run = stored_run(local, tracker)
    assert (run.info.status, run.data.tags["reason"]) == ("KILLED", "terminated (SIGTERM)")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_first_end_counts(root: Path, local: Store) -> None:
    with start(root) as tracker:
        tracker.finish("FAILED", "loss is not finite")
    assert stored_run(local, tracker).info.status == "FAILED"


def test_a_resumed_run_goes_on_under_its_id_and_repeats_nothing(root: Path, local: Store) -> None:
    first = start(root, tags={"k": "1"})
    first.metrics({"loss": 1.0}, step=1)
    first.metrics({"loss": 2.0}, step=2)
    first.image("val/masks", picture(), step=2)
    first.table("one", ["a"], [[1]])
    first.finish("FAILED", "x")
    with start(root) as second:
        second.metrics({"loss": 2.0, "new": 1.0}, step=2)
        second.metrics({"loss": 3.0}, step=3)
        second.image("val/masks", picture(), step=2)
        second.image("val/masks", picture(), step=3)
        second.table("two", ["a"], [[1]])
    assert second.run_id == first.run_id
    client = open_client(local)
    assert client.get_run(str(second.run_id)).info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(second.run_id, "loss")] == [1, 2, 3]
    assert client.get_run(str(second.run_id)).data.metrics["new"] == 1.0
    assert len(artifacts(local, second, "images")) == 4
    assert len(json.loads(client.get_run(str(second.run_id)).data.tags["mlflow.loggedArtifacts"])) == 2


def test_what_the_store_refuses_is_left_out_and_the_rest_arrives(root: Path, local: Store, caplog: Any) -> None:
    with start(root, params={"head": "mask"}) as tracker:
        tracker.params({"head": "box", "other": 1})
        tracker.metrics({"loss": 1.0}, step=1)
    run = stored_run(local, tracker)
    assert run.data.params == {"head": "mask", "other": "1"}
    assert run.data.metrics == {"loss": 1.0}
    assert sum("refuses" in record.message for record in caplog.records) == 1


def test_a_run_deleted_in_the_ui_does_not_come_back(root: Path, local: Store, wait_for: Callable[..., None]) -> None:
    with start(root) as tracker:
        assert tracker.wait_connected(20)
        open_client(local).delete_run(str(tracker.run_id))
        tracker.metrics({"loss": 1.0}, step=1)
    assert stored_run(local, tracker).info.lifecycle_stage == "deleted"
    assert "unsent" in tracker.note


def test_a_deleted_experiment_is_restored(root: Path, local: Store) -> None:
    client = open_client(local)
    client.delete_experiment(client.get_experiment_by_name("maskrcnn").experiment_id)
    with start(root) as tracker:
        pass
    assert stored_run(local, tracker).info.status == "FINISHED"


def test_switched_off_tracking_keeps_the_journal_and_makes_no_store(tmp_path: Path) -> None:
    with start(tmp_path, enabled=False) as tracker:
        tracker.metrics({"loss": 1.0}, step=1)
    assert not (tmp_path / "mlruns/mlflow.db").exists()
    assert [entry["kind"] for entry, _ in read_entries(tracker.folder)] == ["start", "view", "metrics", "end"]
    assert tracker.run_id is None
    assert tracker.url_hint == ""


def test_a_damaged_store_stops_nothing(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns/mlflow.db").write_bytes(b"this is a text, and long enough to be no header" * 50)
    begin = time.monotonic()
    with start(tmp_path) as tracker:
        tracker.metrics({"loss": 1.0}, step=1)
    assert time.monotonic() - begin < 30
    assert len(list(read_entries(tracker.folder))) == 4
    assert "not a database" in caplog.text


def test_a_malformed_address_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        start(tmp_path, uri="htp://host")
    assert not (tmp_path / "mlruns").exists()


def test_the_pages_of_the_run_are_named_and_its_views_published(root: Path, local: Store) -> None:
    with start(root, params={"head": "mask"}) as tracker:
        tracker.image("val/image 1", picture(), step=3)
        tracker.wait_connected(20)
    experiment = open_client(local).get_experiment(stored_run(local, tracker).info.experiment_id)
    base = f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs"
    mode = "workflowType=machine_learning"
    assert tracker.url_hint == f"{base}/{tracker.run_id}?{mode}"
    assert tracker.links() == {
        "run": f"{base}/{tracker.run_id}?{mode}",
        "runs": f"{base}?viewStateShareKey=maskrcnn&{mode}",
        "images": f"{base}?compareRunsMode=CHART&viewStateShareKey=images&{mode}",
    }
    table = json.loads(experiment.tags["mlflow.sharedViewState.maskrcnn"])
    assert {"metrics.`box/AP`", "params.`head`"} <= set(table["selectedColumns"])
    (chart,) = json.loads(experiment.tags["mlflow.sharedViewState.images"])["compareRunCharts"]
    assert (chart["imageKeys"], chart["step"]) == (["val/image 1"], 3)


def test_logging_does_not_wait_for_the_store(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that never comes back from its first call: the training's calls return all the same."""
    import threading

    from maskrcnn.tracking import sender as sender_module

    release = threading.Event()
    monkeypatch.setattr(sender_module.Sender, "send_pending", lambda self, stop: release.wait(60))
    monkeypatch.setattr(sender_module.SenderThread, "close", lambda self: 7)
    with start(root) as tracker:
        for step in range(1000):
            tracker.metrics({"loss": 1.0}, step=step)
    release.set()
    assert len(list(read_entries(tracker.folder))) == 1003
    assert tracker.note == "7 entries of the run unsent: python -m maskrcnn.report sync=true"


def test_a_killed_process_keeps_all_that_was_logged(root: Path) -> None:
    prepare_store(default_store(root), "maskrcnn")
    code = (
        "import os, signal, sys; from pathlib import Path; from maskrcnn.tracking import Tracker\n"
        "root = Path(sys.argv[1])\n"
        "tracker = Tracker.start(run_folder=root / 'mlruns/runs/a', uri=None, experiment='maskrcnn', name='a',"
        " params={}, tags={}, enabled=True, root=root)\n"
        "for step in range(500): tracker.metrics({'loss': step}, step=step)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, timeout=100)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = root / "mlruns/runs/a"
    entries = [entry for entry, _ in read_entries(folder)]
    assert [entry["step"] for entry in entries if entry["kind"] == "metrics"] == list(range(500))
    status = read_status(folder)
    assert status.status == "KILLED"
    assert (folder / JOURNAL).read_bytes().endswith(b"\n")
