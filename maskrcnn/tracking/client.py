"""The one door to the MLflow library: imported on first use, set so that a dead server costs no time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from maskrcnn.tracking.store import Store

REQUEST_TIMEOUT_S = 8
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(REQUEST_TIMEOUT_S),
}
"""Environment of the library, unless the user has set it: by default one call to a closed port hangs for 247 s
(FACTS 2.14), and a repeated creation makes a second run. The sender tries again by itself."""

_PERMANENT = {"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"}
"""A plain 400 or 404 is not among them: a proxy whose server is down answers so."""


def open_client(store: Store) -> MlflowClient:
    """A client of `store`. Takes seconds at the first call of a process (the import)."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import logging

    # The library tells its users about created tables and about each run's address.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store.uri)


def is_permanent(error: Exception) -> bool:
    """Whether the store has answered and refuses this very entry, so that sending it again cannot help."""
    return getattr(error, "error_code", "") in _PERMANENT


def run_is_missing(error: Exception) -> bool:
    """Whether the store does not know the run (a new or cleaned database)."""
    return getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"
