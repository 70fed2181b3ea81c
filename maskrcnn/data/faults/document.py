"""The annotation file as a whole: a readable JSON object with lists of images, annotations and categories."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn.data.faults.report import Findings
from maskrcnn.data.faults.values import RepeatedKeys, show

LONGEST_NUMBER = 300
"""Digits of the longest integer that is read as one; longer ones become infinite and are refused where they stand
(a float ends at 1.8e308, and Python refuses integers of more than 4300 digits)."""


_UNREADABLE = object()
"""In place of the content of a file that has none (null is a content, too)."""


@dataclass
class Document:
    """The three lists of a COCO file. Their items are not checked yet."""

    images: list[Any]
    annotations: list[Any]
    categories: list[Any]


def read_document(path: Path, findings: Findings) -> Document | None:
    """The lists of the file at `path`; None where there is a fault that leaves nothing to check."""
    where = str(path)
    text = _read_text(path, where, findings)
    content = _UNREADABLE if text is None else _parse(text, where, findings)
    del text
    if content is _UNREADABLE:
        return None
    if not isinstance(content, dict):
        findings.fault("not a COCO file", where, f"holds {show(content)}, expected an object with images, annotations, "
                       "categories", "give the instances or keypoints file, not a results file")  # fmt: skip
        return None
    return _lists(content, where, findings)


def _read_text(path: Path, where: str, findings: Findings) -> str | None:
    """The file's text; its kind is looked at first, since opening a pipe would wait for ever."""
    kind = "unreadable annotation file"
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            findings.fault(kind, where, "is a folder, expected a JSON file")
            return None
        if not stat.S_ISREG(mode):
            findings.fault(kind, where, "is not a regular file")
            return None
        with open(path, "rb") as file:
            head = file.read(4096)
            if not _looks_like_json(head, where, findings):
                return None
            data = head + file.read()
    except FileNotFoundError:
        findings.fault(kind, where, "there is no such file")
        return None
    except (OSError, ValueError) as error:
        findings.fault(kind, where, f"cannot be read ({_reason(error)})")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        findings.fault(kind, where, f"is not UTF-8 (byte {error.start})", "save it as UTF-8")
        return None


def _looks_like_json(head: bytes, where: str, findings: Findings) -> bool:
    """Whether the first bytes can begin a JSON text in UTF-8; noted before a file of gigabytes is read for nothing."""
    kind = "unreadable annotation file"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        findings.fault(kind, where, "is empty (0 bytes)")
    elif head.startswith((b"\xff\xfe", b"\xfe\xff")):
        findings.fault(kind, where, "is UTF-16, expected UTF-8", "save it as UTF-8")
    elif head.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        findings.fault(kind, where, "is a compressed file, expected JSON", "unpack it first")
    elif b"\x00" in head:
        findings.fault(kind, where, "is not a JSON text (it holds zero bytes)")
    elif len(head) < 4096 and not start:
        findings.fault(kind, where, "holds nothing but white space")
    elif start.startswith(b"version https://git-lfs"):
        findings.fault(kind, where, "is a Git LFS pointer, not the file itself", "run `git lfs pull`")
    else:
        return True
    return False


def _parse(text: str, where: str, findings: Findings) -> Any:
    kind = "not JSON"
    try:
        return _load(text, where, findings, parse_int=None)
    except RecursionError:
        findings.fault(kind, where, "is nested too deeply for a COCO file")
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        hint = "the file is truncated" if at_end else ""
        findings.fault(kind, where, f"{error.msg} in line {error.lineno}, column {error.colno}", hint)
    except ValueError:
        # an integer beyond Python's 4300 digits: read again, slowly, so that its owner can be named
        try:
            return _load(text, where, findings, parse_int=_bounded_int)
        except (ValueError, RecursionError) as error:
            findings.fault(kind, where, _reason(error))
    return _UNREADABLE


def _load(text: str, where: str, findings: Findings, parse_int: Any) -> Any:
    constants: list[str] = []

    def note_constant(name: str) -> float:
        constants.append(name)
        return float(name.replace("Infinity", "inf"))

    content = json.loads(text, object_pairs_hook=_object, parse_constant=note_constant, parse_int=parse_int)
    if constants:
        findings.warn(
            "not strict JSON", where, f"holds {len(constants)} × {constants[0]}, which other JSON readers refuse"
        )
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    keys = [key for key, _ in pairs]
    repeated = RepeatedKeys(plain)
    repeated.repeated = tuple(sorted({key for key in keys if keys.count(key) > 1}))
    return repeated


def _bounded_int(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_NUMBER else float("-inf" if digits.startswith("-") else "inf")


def _lists(content: dict[str, Any], where: str, findings: Findings) -> Document | None:
    if isinstance(content, RepeatedKeys):
        hidden = ", ".join(map(show, content.repeated))
        findings.fault("repeated key", where, f"the top level has {hidden} twice; only the last one would be read")
    lists: dict[str, list[Any]] = {}
    for name in ("images", "annotations", "categories"):
        value = content.get(name)
        if name not in content:
            findings.fault("not a COCO file", where, f"has no list {name!r}", _hint_for_missing(name, content))
        elif not isinstance(value, list):
            findings.fault("not a COCO file", where, f"{name!r} is {show(value)}, expected a list")
        else:
            lists[name] = value
    if "images" not in lists:
        return None
    return Document(lists["images"], lists.get("annotations", []), lists.get("categories", []))


def _hint_for_missing(name: str, content: dict[str, Any]) -> str:
    close = [key for key in content if key.lower().rstrip("s") == name.rstrip("s")]
    return f"it has {show(close[0])}" if close else ""


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
