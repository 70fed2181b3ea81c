"""The folder of the configuration files and the groups in it, without Hydra: `--help` answers at once."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

GROUPS = ("task", "head", "backbone", "dataset", "optimizer", "schedule", "experiment")

PACKAGE = "maskrcnn.conf"
"""Where a wheel keeps the files."""


def checkout_folder() -> Path | None:
    """`conf/` beside the package in a checkout (also an editable install), absolute; None in a wheel."""
    root = Path(__file__).resolve().parents[2]
    # The project file tells a checkout from a site-packages folder that holds somebody else's `conf`.
    found = (root / "conf" / "config.yaml").is_file() and (root / "pyproject.toml").is_file()
    return root / "conf" if found else None


def config_path() -> str:
    """The folder as Hydra wants it: an absolute path, or `pkg://` and the package's name."""
    folder = checkout_folder()
    return str(folder) if folder is not None else f"pkg://{PACKAGE}"


def options(group: str) -> list[str]:
    """The sorted names of a group's files."""
    folder: Traversable = checkout_folder() or resources.files(PACKAGE)
    files = folder.joinpath(group).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))
