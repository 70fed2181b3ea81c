"""MLflow: where runs are kept, how they are written without ever stopping a training, and how they are found again."""

from maskrcnn.tracking.environment import environment_facts, git_facts
from maskrcnn.tracking.pages import run_page, view_page
from maskrcnn.tracking.process import peak_memory_mib, process_memory_mib
from maskrcnn.tracking.read import RunFolder, list_runs, list_sweeps, resolve_run, resolve_sweep, unfinished_runs
from maskrcnn.tracking.status import RunStatus, read_status
from maskrcnn.tracking.store import Store, default_store, prepare_store, resolve_store, runs_folder
from maskrcnn.tracking.sync import SyncResult, sync_all, sync_run
from maskrcnn.tracking.tracker import Terminated, Tracker
from maskrcnn.tracking.views import images_view, table_view

__all__ = [
    "RunFolder",
    "RunStatus",
    "Store",
    "SyncResult",
    "Terminated",
    "Tracker",
    "default_store",
    "environment_facts",
    "git_facts",
    "images_view",
    "list_runs",
    "list_sweeps",
    "peak_memory_mib",
    "prepare_store",
    "process_memory_mib",
    "read_status",
    "resolve_run",
    "resolve_store",
    "resolve_sweep",
    "run_page",
    "runs_folder",
    "sync_all",
    "sync_run",
    "table_view",
    "unfinished_runs",
    "view_page",
]
