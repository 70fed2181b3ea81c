"""Addresses of MLflow's pages: what is printed at the end of a run."""

from __future__ import annotations

from maskrcnn.tracking.store import Store

UI_ADDRESS = "http://127.0.0.1:5000"
"""Where `make ui` serves the local store."""
MODE = "workflowType=machine_learning"
"""Without it the side bar of a fresh browser shows what is meant for chat models (FACTS 2.30)."""


def run_page(store: Store, experiment_id: str | None, run_id: str | None, tab: str = "") -> str:
    """Address of a run's page; "" while the run has no id, or for a store that has no pages.

    `tab` may be `model-metrics` (curves and images) or `artifacts`.
    """
    base = pages_of(store)
    if not base or experiment_id is None or run_id is None:
        return ""
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}{'/' + tab if tab else ''}?{MODE}"


def view_page(store: Store, experiment_id: str | None, view: str, *, charts: bool) -> str:
    """Address of a prepared view (`views`) of an experiment's runs, as charts or as a table; "" as in `run_page`."""
    base = pages_of(store)
    if not base or experiment_id is None:
        return ""
    mode = "compareRunsMode=CHART&" if charts else ""
    return f"{base}/#/experiments/{experiment_id}/runs?{mode}viewStateShareKey={view}&{MODE}"


def pages_of(store: Store) -> str:
    """Address of the store's pages: the server's own, `make ui` for the local store, "" for others (databases)."""
    if store.is_default:
        return UI_ADDRESS
    return store.public_uri if store.uri.startswith(("http://", "https://")) else ""
