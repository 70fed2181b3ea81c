"""One file out of a ZIP archive: written whole or not at all, nowhere but where it was asked for."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

from maskrcnn.downloads.cache import disk_full, is_there, one_at_a_time, writing_to
from maskrcnn.errors import UserError

LARGEST_MEMBER = 4 << 30
"""Bytes: nine times COCO's largest annotation file; more is declared by mistake or malice."""
LARGEST_RATIO = 200
"""Of unpacked to packed bytes: JSON of COCO has 4, what deflate can do at most is 1032."""


def extract_member(archive: Path, member: str, target: Path) -> Path:
    """Unpack the archive's file `member` (its full name inside) to `target`; `target`, also if it is there already.

    Names inside the archive never become paths: `target` is the caller's. The CRC is checked.

    Raises:
        UserError: no ZIP, no such file in it, sizes beyond `LARGEST_MEMBER` or `LARGEST_RATIO`, damage, a full disk.
    """
    with writing_to(target.parent), one_at_a_time(target):
        if is_there(target):
            return target
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            _unpack(archive, member, part)
            os.replace(part, target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
    return target


def _unpack(archive: Path, member: str, part: Path) -> None:
    again = f"delete {archive} and run again"
    try:
        with zipfile.ZipFile(archive) as opened:
            entry = _entry(opened, archive, member)
            if (free := shutil.disk_usage(part.parent).free) < entry.file_size:
                figures = f": {entry.file_size >> 20:,} MiB are needed, {free >> 20:,} MiB are free"
                raise disk_full(part.parent, figures)
            with opened.open(entry) as packed, part.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: an encrypted member; NotImplementedError: an unknown compression
        raise UserError(f"cannot be unpacked ({error})", where=str(archive), hint=again) from error


def _entry(opened: zipfile.ZipFile, archive: Path, member: str) -> zipfile.ZipInfo:
    found = [entry for entry in opened.infolist() if entry.filename == member]
    if len(found) != 1:
        known = ", ".join(entry.filename for entry in opened.infolist()[:8])
        what = f"holds {member} {len(found)} times" if found else f"has no {member} (it has {known or 'nothing'})"
        raise UserError(what, where=str(archive), hint="is it the archive of this year?")
    entry = found[0]
    if entry.is_dir() or stat.S_ISLNK(entry.external_attr >> 16):
        raise UserError(f"{member} is no file", where=str(archive))
    if entry.file_size > LARGEST_MEMBER or entry.file_size > LARGEST_RATIO * max(entry.compress_size, 1) + (1 << 20):
        sizes = f"{entry.file_size:,} bytes out of {entry.compress_size:,}"
        raise UserError(f"{member} declares {sizes}, which no annotation file has", where=str(archive))
    return entry
