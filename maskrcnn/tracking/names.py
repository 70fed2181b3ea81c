"""Names, values and file names in the form that MLflow accepts: what it would refuse is cleaned, not raised."""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_KEY = 250
MAX_PARAM = 6000
MAX_TAG = 5000
"""MLflow's limits on characters; longer values would be refused or cut with a warning (FACTS 2.18)."""


def clean_name(name: str) -> str:
    """A metric's, parameter's or tag's name: word characters and `_ - . space /`, no empty, `.` or `..` parts."""
    parts = re.sub(r"[^\w\-. /]", "_", str(name)).split("/")
    kept = [part for part in parts if part not in ("", ".", "..")]
    return "/".join(kept)[:MAX_KEY].rstrip("/") or "_"


def clean_image_key(name: str) -> str:
    """An image's key: as `clean_name`, in ASCII (it becomes part of a file's name and of an address)."""
    return re.sub(r"[^A-Za-z0-9_\-./ ]", "_", clean_name(name))


def clean_path(path: str) -> str:
    """A relative path with forward slashes that cannot leave its folder; letters of any language stay."""
    parts = re.sub(r'[\x00-\x1f<>:"|?*#%+~]', "_", str(path).replace("\\", "/")).split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "_"


def params_text(params: Mapping[str, object]) -> dict[str, str]:
    """Names cleaned, values as text cut to what a store keeps."""
    return {clean_name(name): _cut(str(value), MAX_PARAM) for name, value in params.items()}


def tags_text(tags: Mapping[str, object]) -> dict[str, str]:
    """Names cleaned, values as text cut to what a store keeps."""
    return {clean_name(name): _cut(str(value), MAX_TAG) for name, value in tags.items()}


def one_line(text: str, limit: int = 300) -> str:
    """`text` on one line of at most `limit` characters."""
    return _cut(" ".join(text.split()), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
