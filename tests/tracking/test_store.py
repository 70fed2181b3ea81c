"""The local store: made once by any number of processes, healed after a move; addresses of servers."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from maskrcnn.errors import UserError
from maskrcnn.tracking.client import open_client
from maskrcnn.tracking.store import (
    Store,
    artifact_location,
    default_store,
    heal_locations,
    prepare_store,
    resolve_store,
    sqlite_uri,
)


def _run_with_artifact(store: Store, text: str = "hello") -> str:
    client = open_client(store)
    experiment = client.get_experiment_by_name("maskrcnn")
    run_id = client.create_run(experiment.experiment_id).info.run_id
    client.log_text(run_id, text, "notes/a.txt")
    return run_id


def _read(store: Store, run_id: str, tmp_path: Path) -> str:
    path = open_client(store).download_artifacts(run_id, "notes/a.txt", str(tmp_path))
    return Path(path).read_text(encoding="utf-8")


def _rows(database: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def test_the_default_store_lies_in_mlruns_of_the_directory_of_launch(tmp_path: Path) -> None:
    store = resolve_store(None, tmp_path)
    assert store.database == tmp_path / "mlruns/mlflow.db"
    assert store.artifacts == tmp_path / "mlruns/artifacts"
    assert store.uri == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    assert not (tmp_path / "mlruns").exists(), "resolving an address makes nothing"


def test_the_environment_names_a_server_and_the_argument_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://one:5000/")
    assert resolve_store(None, tmp_path).uri == "http://one:5000"
    assert resolve_store("https://two/mlflow", tmp_path).uri == "https://two/mlflow"


@pytest.mark.parametrize(
    "address",
    [
        "http://", "http:/host", "htp://host", "http://host:port", "http://host:99999", "localhost:5000", "./mlruns",
        "file:./mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///", "http://a b:5000", "nonsense", "://x",
        "http://[::1", "https://:5000", "postgresql://", "sqlite:mlflow.db",
    ],
)  # fmt: skip
def test_a_malformed_address_is_refused_at_once_in_one_line(address: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        resolve_store(address, tmp_path)
    text = str(caught.value)
    assert text.startswith("tracking.uri: ")
    assert "\n" not in text


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:5000", "https://user:secret@host/path", "http://[::1]:5000", "databricks",
        "databricks://profile", "postgresql://u:p@host/db", "mysql+pymysql://host/db",
    ],
)  # fmt: skip
def test_addresses_of_servers_are_taken_as_they_are(address: str, tmp_path: Path) -> None:
    assert resolve_store(address, tmp_path).uri == address


def test_credentials_do_not_show_in_messages_or_journals(tmp_path: Path) -> None:
    assert resolve_store("https://user:secret@host/path", tmp_path).public_uri == "https://host/path"
    with pytest.raises(UserError) as caught:
        resolve_store("https://user:secret@host:port", tmp_path)
    assert "secret" not in str(caught.value)


def test_the_address_of_the_default_database_is_the_default_store(tmp_path: Path) -> None:
    assert resolve_store("sqlite:///mlruns/mlflow.db", tmp_path) == default_store(tmp_path)
    assert resolve_store(f"sqlite:///{tmp_path}/mlruns/mlflow.db", tmp_path).is_default
    other = resolve_store("sqlite:///elsewhere/my.db", tmp_path)
    assert other.artifacts == tmp_path / "elsewhere/artifacts"


def test_a_bare_mlflow_ui_finds_the_store_through_a_link(root: Path) -> None:
    prepare_store(default_store(root), "maskrcnn")
    link = root / "mlflow.db"
    assert os.readlink(link) == "mlruns/mlflow.db"
    assert link.resolve() == (root / "mlruns/mlflow.db").resolve()


def test_a_real_database_of_the_user_is_not_replaced_by_a_link(root: Path) -> None:
    (root / "mlflow.db").write_bytes(b"mine")
    prepare_store(default_store(root), "maskrcnn")
    assert (root / "mlflow.db").read_bytes() == b"mine"


def test_artifacts_go_into_mlruns_artifacts(local: Store) -> None:
    prepare_store(local, "maskrcnn")
    run_id = _run_with_artifact(local)
    assert local.artifacts is not None
    assert (local.artifacts / run_id / "artifacts/notes/a.txt").read_text(encoding="utf-8") == "hello"


def test_a_moved_folder_still_shows_its_artifacts(root: Path, tmp_path: Path) -> None:
    prepare_store(default_store(root), "maskrcnn")
    run_id = _run_with_artifact(default_store(root))
    moved = root.rename(tmp_path / "elsewhere")
    store = default_store(moved)
    assert open_client(store).list_artifacts(run_id) == [], "MLflow alone loses them (FACTS 2.8)"
    prepare_store(store, "maskrcnn")
    assert _read(store, run_id, tmp_path) == "hello"
    assert _read(store, _run_with_artifact(store, "new"), tmp_path) == "new"
    assert not root.exists(), "nothing is written to the old place"


def test_a_copied_folder_uses_its_own_artifacts_and_the_original_keeps_its(root: Path, tmp_path: Path) -> None:
    prepare_store(default_store(root), "maskrcnn")
    run_id = _run_with_artifact(default_store(root))
    shutil.copytree(root, tmp_path / "copy")
    copy = default_store(tmp_path / "copy")
    prepare_store(copy, "maskrcnn")
    shutil.rmtree(root / "mlruns/artifacts")
    assert _read(copy, run_id, tmp_path) == "hello"
    assert heal_locations(default_store(root)) == 0


def test_an_empty_store_is_healed_too_when_its_old_place_is_gone(root: Path, tmp_path: Path) -> None:
    prepare_store(default_store(root), "maskrcnn")
    store = default_store(root.rename(tmp_path / "elsewhere"))
    assert heal_locations(store) > 0
    assert heal_locations(store) == 0
    experiment = open_client(store).get_experiment_by_name("maskrcnn")
    assert experiment.artifact_location == str(store.artifacts)


def test_places_that_are_not_ours_stay(local: Store) -> None:
    prepare_store(local, "maskrcnn")
    client = open_client(local)
    client.create_experiment("bucket", artifact_location="s3://bucket/artifacts")
    client.create_experiment("mine", artifact_location="/somewhere/else")
    prepare_store(local, "maskrcnn")
    assert client.get_experiment_by_name("bucket").artifact_location == "s3://bucket/artifacts"
    assert client.get_experiment_by_name("mine").artifact_location == "/somewhere/else"


def test_models_logged_with_mlflow_move_along(root: Path, tmp_path: Path) -> None:
    store = default_store(root)
    prepare_store(store, "maskrcnn")
    assert store.database is not None
    folder = f"{store.artifacts}/models/m-{'a' * 32}/artifacts"
    Path(folder).mkdir(parents=True)
    columns = (
        "model_id, experiment_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms, status"
    )
    with closing(sqlite3.connect(store.database)) as connection:
        values = ("m-" + "a" * 32, 0, "m", folder, 1, 1, 1)
        connection.execute(f"INSERT INTO logged_models ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        connection.commit()
    moved = default_store(root.rename(tmp_path / "elsewhere"))
    prepare_store(moved, "maskrcnn")
    assert moved.database is not None
    (location,) = _rows(moved.database, "SELECT artifact_location FROM logged_models")[0]
    assert location == f"{moved.artifacts}/models/m-{'a' * 32}/artifacts"


@pytest.mark.parametrize("name", ["a b#cü", "half%20way"])
def test_odd_letters_in_the_folder_do_no_harm(name: str, root: Path, tmp_path: Path) -> None:
    store = default_store(root.rename(tmp_path / name))
    prepare_store(store, "maskrcnn")
    run_id = _run_with_artifact(store)
    assert store.artifacts is not None
    assert (store.artifacts / run_id / "artifacts/notes/a.txt").is_file()
    assert _read(store, run_id, tmp_path) == "hello"


def test_addresses_escape_what_the_libraries_would_decode() -> None:
    assert sqlite_uri(Path("/a b/c%20?.db")) == "sqlite:////a b/c%2520%3F.db"
    assert artifact_location(Path("/a b/50%")) == "/a b/50%25"


def test_a_file_that_is_no_database_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns/mlflow.db").write_bytes(b"this is a text, and long enough to be no header" * 50)
    with pytest.raises(sqlite3.DatabaseError):
        prepare_store(default_store(tmp_path), "maskrcnn")


@pytest.mark.slow
def test_four_processes_at_a_cold_store_all_succeed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from maskrcnn.tracking import default_store, prepare_store\n"
        "from maskrcnn.tracking.client import open_client\n"
        "store = default_store(Path(sys.argv[1])); prepare_store(store, 'maskrcnn')\n"
        "client = open_client(store); print(client.create_run('1').info.run_id)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], outputs
    assert len({out for out, _ in outputs}) == 4
    assert _rows(tmp_path / "mlruns/mlflow.db", "SELECT count(*) FROM experiments WHERE name = 'maskrcnn'") == [(1,)]
