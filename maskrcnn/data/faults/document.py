"""The annotation file as a whole: a readable JSON object with lists of images, annotations and categories.

It is read twice, item by item: annotations can only be judged when all images and categories are known, and COCO's
own files name the categories last. So memory stays bounded by what is kept, whatever the file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from maskrcnn.data.faults.json_stream import VALUE, JsonError, JsonReader
from maskrcnn.data.faults.report import Findings
from maskrcnn.data.faults.values import show

LISTS = ("images", "annotations", "categories")

_HEAD = 4096


@dataclass
class Document:
    """A file of which every item has been parsed once; `sizes` holds the lengths of its three lists."""

    path: Path
    findings: Findings
    sizes: dict[str, int] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def annotations(self) -> Iterator[tuple[int, Any]]:
        """(index, item) of the list of annotations; of the last one, as other readers do, if there are several."""
        before = self.keys.count("annotations") - 1
        with open(self.path, "rb") as file:
            reader = JsonReader(file)
            try:
                for key, index, item in reader.items():
                    if key == "annotations" and index != VALUE and reader.keys.count(key) > before:
                        yield index, item
            except (JsonError, UnicodeDecodeError, RecursionError):
                self.findings.fault("unreadable annotation file", str(self.path), "has changed while it was read")


def read_document(
    path: Path,
    visitors: Mapping[str, Callable[[int, Any], None]],
    findings: Findings,
    open_reader: Callable[[BinaryIO], JsonReader] = JsonReader,
) -> Document | None:
    """Reads the file once and gives each item of a list to the visitor of its key (index, item).

    None where there is a fault that leaves nothing more to check. `open_reader` lets a visitor hold the reader, which
    knows where the item stands.
    """
    file = _open(path, findings)
    if file is None:
        return None
    document = Document(path, findings)
    with file:
        reader = open_reader(file)
        complaint = _visit(reader, visitors, document)
    where = str(path)
    if complaint:
        kind, what = complaint
        findings.fault(kind, where, what)
        return None
    if reader.constants:
        shown = f"{len(reader.constants)} × {reader.constants[0]}"
        findings.warn("not strict JSON", where, f"holds {shown}, which other JSON readers refuse")
    document.keys = reader.keys
    _check_keys(document, where, findings)
    return document if "images" in document.sizes else None


def _visit(
    reader: JsonReader, visitors: Mapping[str, Callable[[int, Any], None]], document: Document
) -> tuple[str, str] | None:
    """Passes every item on and counts; the kind and text of what ended the reading, if something did."""
    try:
        for key, index, item in reader.items():
            if key not in LISTS:
                continue
            if index == VALUE:
                if item != []:
                    what = f"{key!r} is {show(item)}, expected a list"
                    document.findings.fault("not a COCO file", str(document.path), what)
                document.sizes[key] = 0
            else:
                document.sizes[key] += 1
                if key in visitors:
                    visitors[key](index, item)
    except RecursionError:
        return "not JSON", "is nested too deeply for a COCO file"
    except UnicodeDecodeError:
        return "unreadable annotation file", "is not UTF-8; save it as UTF-8"
    except JsonError as error:
        return "not JSON" if " in line " in str(error) else "not a COCO file", str(error)
    except OSError as error:
        return "unreadable annotation file", f"cannot be read ({_reason(error)})"
    return None


def _check_keys(document: Document, where: str, findings: Findings) -> None:
    for name in LISTS:
        if name not in document.keys:
            close = [key for key in document.keys if key.lower().rstrip("s") == name.rstrip("s")]
            hint = f"it has {show(close[0])}" if close else ""
            findings.fault("not a COCO file", where, f"has no list {name!r}", hint)
        elif document.keys.count(name) > 1:
            what = f"the top level has {name!r} {document.keys.count(name)} times; only the last one would be read"
            findings.fault("repeated key", where, what)


def _open(path: Path, findings: Findings) -> BinaryIO | None:
    """The opened file; its kind is looked at first, since opening a pipe would wait for ever."""
    kind, where = "unreadable annotation file", str(path)
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            what = "is a folder, expected a JSON file" if stat.S_ISDIR(mode) else "is not a regular file"
            findings.fault(kind, where, what)
            return None
        file = open(path, "rb")  # noqa: SIM115 (closed by the caller)
        complaint = _complaint(file.read(_HEAD))
        file.seek(0)
    except FileNotFoundError:
        findings.fault(kind, where, "there is no such file")
        return None
    except (OSError, ValueError) as error:
        findings.fault(kind, where, f"cannot be read ({_reason(error)})")
        return None
    if complaint:
        file.close()
        findings.fault(kind, where, *complaint)
        return None
    return file


def _complaint(head: bytes) -> tuple[str, str] | None:
    """What a file of this beginning is instead of JSON in UTF-8, and what to do."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        return "is empty (0 bytes)", ""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is UTF-16, expected UTF-8", "save it as UTF-8"
    if head.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        return "is a compressed file, expected JSON", "unpack it first"
    if b"\x00" in head:
        return "is not a JSON text (it holds zero bytes)", ""
    if len(head) < _HEAD and not start:
        return "holds nothing but white space", ""
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself", "run `git lfs pull`"
    return None


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
