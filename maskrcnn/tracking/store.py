"""Where runs are kept: the local store in `mlruns/`, or the server that the user names.

The local store is one SQLite file and a folder of artifacts. It is made by one process at a time (several processes
that meet an empty database destroy each other: FACTS 2.11), and healed when its folder was moved or copied, since
MLflow keeps absolute paths (FACTS 2.8). Nothing here imports MLflow at module level.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from maskrcnn.errors import UserError
from maskrcnn.tracking.locks import file_lock

STORE_FOLDER = "mlruns"
DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"
RUNS = "runs"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
LOCK_TIMEOUT_S = 120.0
"""Making a store takes 1 to 8 s; several processes may queue."""

_SERVER_SCHEMES = ("http", "https")
_DATABASE_SCHEMES = ("postgresql", "mysql", "mssql")
_OPAQUE_SCHEMES = ("databricks", "databricks-uc", "uc")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """A place that keeps runs: `uri` as MLflow takes it; `database` and `artifacts` where it is a local SQLite file."""

    uri: str
    root: Path
    """The directory of launch, absolute."""
    database: Path | None = None
    artifacts: Path | None = None

    @property
    def is_local(self) -> bool:
        return self.database is not None

    @property
    def is_default(self) -> bool:
        return self.database == self.root / STORE_FOLDER / DATABASE

    @property
    def public_uri(self) -> str:
        """The address without user name and password, for messages and journals; "" for the default store."""
        return "" if self.is_default else without_credentials(self.uri)


def runs_folder(root: Path) -> Path:
    """The folder that holds one folder for each run."""
    return root / STORE_FOLDER / RUNS


def default_store(root: Path) -> Store:
    """The store in `mlruns/` under the directory of launch."""
    root = root.absolute()
    return _sqlite_store(root / STORE_FOLDER / DATABASE, root)


def resolve_store(uri: str | None, root: Path) -> Store:
    """The store of `uri`, else of MLFLOW_TRACKING_URI, else the default one under `root`; nothing is opened or made.

    Raises:
        UserError: the address is malformed, or of a kind that MLflow no longer writes to.
    """
    given, where = (uri, "tracking.uri") if uri else (os.environ.get(URI_VARIABLE, ""), URI_VARIABLE)
    given = given.strip()
    root = root.absolute()
    if not given:
        return default_store(root)
    if given in _OPAQUE_SCHEMES:
        return Store(uri=given, root=root)
    if "://" not in given and not given.startswith(("sqlite:", "file:")):
        raise _bad_address(given, where, "it is not an address")
    return _store_of_address(given, where, root)


def _store_of_address(given: str, where: str, root: Path) -> Store:
    parts = _split(given, where)
    scheme = parts.scheme.partition("+")[0]
    if scheme == "sqlite":
        return _sqlite_store(_sqlite_path(given, where, root), root)
    if scheme in _SERVER_SCHEMES and re.search(r"\s", given):
        raise _bad_address(given, where, "it holds white space")
    if scheme in (*_SERVER_SCHEMES, *_DATABASE_SCHEMES) and not parts.hostname:
        raise _bad_address(given, where, "it names no host")
    if scheme == "file":
        raise _bad_address(given, where, "MLflow no longer writes to plain folders")
    if scheme not in (*_SERVER_SCHEMES, *_DATABASE_SCHEMES, *_OPAQUE_SCHEMES):
        raise _bad_address(given, where, f"unknown scheme {scheme!r}")
    return Store(uri=given.rstrip("/"), root=root)


def _split(given: str, where: str) -> SplitResult:
    try:
        parts = urlsplit(given)
        _ = parts.port  # parsed on access: raises on a port that is no number or too large
    except ValueError as error:
        raise _bad_address(given, where, str(error)) from error
    return parts


def _sqlite_path(given: str, where: str, root: Path) -> Path:
    """SQLAlchemy's rule: three slashes and a relative path, four for an absolute one."""
    match = re.fullmatch(r"sqlite(?:\+\w+)?:///(?P<path>[^?]+)(?:\?.*)?", given)
    if match is None:
        raise _bad_address(given, where, "it names no database file")
    path = root / unquote(match["path"])
    if path.is_dir():
        raise _bad_address(given, where, "the database is a folder")
    return Path(os.path.normpath(path))


def _bad_address(given: str, where: str, what: str) -> UserError:
    return UserError(
        f"tracking address {without_credentials(given)!r} cannot be used: {what}",
        where,
        f"give http://host:port or sqlite:///path/to/{DATABASE}, or nothing for the store in {STORE_FOLDER}/",
    )


def without_credentials(uri: str) -> str:
    """The address without `user:password@`."""
    return re.sub(r"(?<=//)[^/@\s]*@", "", uri)


def _sqlite_store(database: Path, root: Path) -> Store:
    return Store(uri=sqlite_uri(database), root=root, database=database, artifacts=database.parent / ARTIFACTS)


def sqlite_uri(database: Path) -> str:
    """SQLAlchemy's address of an absolute file; it decodes %-escapes and ends the path at a question mark."""
    return "sqlite:///" + database.as_posix().replace("%", "%25").replace("?", "%3F")


def artifact_location(folder: Path) -> str:
    """MLflow's address of an absolute folder: the plain path, in which MLflow decodes %-escapes."""
    return folder.as_uri() if os.name == "nt" else str(folder).replace("%", "%25")


def prepare_store(store: Store, experiment: str) -> None:
    """Makes a local store ready: folders, database, experiment, healed paths, the link for a bare `mlflow ui`.

    Under a lock, so that any number of processes may start at once. A server is left alone (nothing is sent before
    the run itself). Repeating it is cheap.

    Raises:
        OSError, sqlite3.Error, MlflowException: the store cannot be made or is damaged.
    """
    if store.database is None or store.artifacts is None:
        return
    store.artifacts.mkdir(parents=True, exist_ok=True)
    with file_lock(store.database.parent / ".store.lock", LOCK_TIMEOUT_S) as held:
        if not held:
            logger.warning("the lock of %s is held by another process; going on without it", store.database.parent)
        _check_database(store.database)
        _create_experiment(store, experiment)
        heal_locations(store)
    if store.is_default:
        _link_for_bare_ui(store.root)


def _check_database(database: Path) -> None:
    """Fails at once on a file that is no database or cannot be written: MLflow would retry that for minutes."""
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT count(*) FROM sqlite_master")
        connection.rollback()


def _create_experiment(store: Store, experiment: str) -> None:
    if _has_experiment(store, experiment):
        return
    from mlflow.exceptions import MlflowException

    from maskrcnn.tracking.client import open_client

    client = open_client(store)
    if client.get_experiment_by_name(experiment) is None:
        assert store.artifacts is not None
        try:
            client.create_experiment(experiment, artifact_location=artifact_location(store.artifacts))
        except MlflowException:
            if client.get_experiment_by_name(experiment) is None:  # not another process that was faster
                raise


def _has_experiment(store: Store, experiment: str) -> bool:
    """Asks SQLite itself, since importing MLflow takes seconds."""
    with _open_for_reading(store) as connection:
        if not _has_table(connection, "experiments"):
            return False
        rows = connection.execute("SELECT 1 FROM experiments WHERE name = ?", (experiment,)).fetchall()
    return bool(rows)


@contextmanager
def _open_for_reading(store: Store) -> Iterator[sqlite3.Connection]:
    assert store.database is not None
    with closing(sqlite3.connect(store.database, timeout=20)) as connection:
        yield connection


def _has_table(connection: sqlite3.Connection, table: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(query, (table,)).fetchone() is not None


def _link_for_bare_ui(root: Path) -> None:
    """`mlflow ui` without arguments opens `mlflow.db` of its folder: a link to the real one, unless there is a file."""
    link = root / DATABASE
    if os.path.lexists(link):
        return
    try:
        link.symlink_to(Path(STORE_FOLDER) / DATABASE)
    except OSError:  # no links on this file system, no right to make one, or another process was faster
        logger.debug("no link %s was made", link)


_LOCATIONS = (
    ("experiments", "artifact_location", ""),
    ("runs", "artifact_uri", r"/[0-9a-f]{32}/artifacts"),
    ("logged_models", "artifact_location", r"/models/m-[0-9a-f]+/artifacts"),
)
"""Table, column and what stands behind the folder of all artifacts in a store that this package made."""


def heal_locations(store: Store) -> int:
    """Points a moved or copied store at its own artifacts; the number of rows that were changed.

    A foreign folder is replaced where its files are found under this store's `artifacts/`, or where it is gone and
    had the same name; other locations (an artifact server, a folder of the user's) stay.
    """
    if store.database is None or store.artifacts is None:
        return 0
    with closing(sqlite3.connect(store.database, timeout=20)) as connection:
        here = artifact_location(store.artifacts)
        changed = 0
        for folder in sorted(_foreign_folders(connection, here)):
            if _is_ours(connection, folder, store.artifacts):
                changed += _replace_folder(connection, folder, here)
        connection.commit()
    if changed:
        logger.info("%s was moved: %d artifact locations now point here", store.database, changed)
    return changed


def _foreign_folders(connection: sqlite3.Connection, here: str) -> set[str]:
    folders = set()
    for table, column, tail in _LOCATIONS:
        if not _has_table(connection, table):
            continue
        for (location,) in connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} NOT NULL"):
            match = re.fullmatch(rf"(.*/{ARTIFACTS}){tail}", location)
            if match and match[1] != here:
                folders.add(match[1])
    return folders


def _is_ours(connection: sqlite3.Connection, folder: str, artifacts: Path) -> bool:
    local = _local_path(folder)
    if local is None:
        return False
    tails = [location[len(folder) + 1 :] for location in _locations_below(connection, folder)]
    if any((artifacts / tail).exists() for tail in tails):
        return True
    return not local.exists() and local.parts[-2:] == artifacts.parts[-2:]


def _local_path(location: str) -> Path | None:
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(unquote(location)) if location.startswith("/") else None


def _locations_below(connection: sqlite3.Connection, folder: str) -> Iterator[str]:
    for table, column, tail in _LOCATIONS:
        if tail and _has_table(connection, table):
            query = f"SELECT {column} FROM {table} WHERE substr({column}, 1, ?) = ?"
            for (location,) in connection.execute(query, (len(folder) + 1, folder + "/")):
                yield location


def _replace_folder(connection: sqlite3.Connection, folder: str, here: str) -> int:
    changed = 0
    for table, column, _ in _LOCATIONS:
        if _has_table(connection, table):
            query = (
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?"
            )
            values = (here, len(folder) + 1, folder, len(folder) + 1, folder + "/")
            changed += connection.execute(query, values).rowcount
    return changed
