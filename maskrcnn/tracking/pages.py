"""Addresses of MLflow's pages: what is printed at the end of a run."""

from __future__ import annotations

from maskrcnn.tracking.store import Store

UI_ADDRESS = "http://127.0.0.1:5000"
"""Where `make ui` serves the local store."""


def run_page(store: Store, experiment_id: str | None, run_id: str | None) -> str:
    """Address of a run's page; "" while the run has no id, or for a store that has no pages."""
    base = pages_of(store)
    if not base or experiment_id is None or run_id is None:
        return ""
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}"


def experiment_page(store: Store, experiment_id: str | None) -> str:
    """Address of the table of all runs, in the UI's mode for model training (FACTS 2.30); "" as in `run_page`."""
    base = pages_of(store)
    if not base or experiment_id is None:
        return ""
    return f"{base}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"


def pages_of(store: Store) -> str:
    """Address of the store's pages: the server's own, `make ui` for the local store, "" for others (databases)."""
    if store.is_default:
        return UI_ADDRESS
    return store.public_uri if store.uri.startswith(("http://", "https://")) else ""
