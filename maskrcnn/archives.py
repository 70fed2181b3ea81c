"""Zip archives and HDF5 files from strangers: their structure is judged before anything in them is read.

Nothing is ever extracted to disk. What is refused: members that would leave the archive, names given twice,
encryption, unknown compression, sizes that no honest file of this length declares, links to other files, data kept
in other files, and filters that would load a plug-in (PAPER §5.7).
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import h5py

FREE_BYTES = 768 * 2**20
"""What a file may declare whatever its length: with TensorFlow beside it, a refusal stays under 2 GiB."""
MOST_EXPANSION = 4
"""Larger files may declare this multiple of their length: trained weights hardly compress."""
DIRECTORY_LIMIT_BYTES = 16 * 2**20
"""Of a zip's list of members (a detector's has 50 KB), which is read whole before it can be judged."""
MOST_OBJECTS = 200_000
"""Groups and datasets of an HDF5 file."""
_KNOWN_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
"""HDF5 filters that are compiled into the library; others would be searched for as plug-ins."""


class RefusedFileError(Exception):
    """A file that is damaged, hostile or of another kind: what is wrong, and what to do."""

    def __init__(self, what: str, hint: str = "") -> None:
        self.what, self.hint = what, hint
        super().__init__(what)


def allowed_bytes(file_bytes: int) -> int:
    """How many bytes of arrays a file of this length may declare."""
    return max(FREE_BYTES, MOST_EXPANSION * file_bytes)


def check_declared(total: int, file_bytes: int) -> None:
    """Refuses a sum of declared sizes that is absurd for the file.

    Raises:
        RefusedFileError: more than `allowed_bytes`.
    """
    if total > allowed_bytes(file_bytes):
        # Python refuses to print integers of thousands of digits, so large ones are cut.
        shown = f"{total / 2**30:.1f} GiB" if total < 2**60 else "over 2^60 bytes"
        raise RefusedFileError(f"declares {shown} of data in a file of {file_bytes} bytes")


def open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    """The archive of a seekable file, after its list of members was judged.

    Raises:
        RefusedFileError: see the module.
        zipfile.BadZipFile: no archive, or cut off.
    """
    length = file.seek(0, os.SEEK_END)
    _check_directory_size(file, length)
    archive = zipfile.ZipFile(file)
    try:
        _check_members(archive.infolist(), length)
    except RefusedFileError:
        archive.close()
        raise
    return archive


def _check_directory_size(file: IO[bytes], length: int) -> None:
    tail = min(length, 65_557)  # the end record and its longest comment
    file.seek(length - tail)
    data = file.read(tail)
    at = data.rfind(b"PK\5\6")
    if at >= 0 and int.from_bytes(data[at + 12 : at + 16], "little") > DIRECTORY_LIMIT_BYTES:
        raise RefusedFileError("a zip archive with an absurdly long list of members")
    file.seek(0)


def _check_members(members: list[zipfile.ZipInfo], length: int) -> None:
    seen: set[str] = set()
    stored = 0
    for member in members:
        _check_name(member)
        if member.filename in seen:
            raise RefusedFileError(f"the archive holds {_shown(member.filename)} twice")
        seen.add(member.filename)
        if member.flag_bits & 0x1:
            raise RefusedFileError("the archive is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RefusedFileError(f"{_shown(member.filename)} is compressed in an unusual way")
        if member.compress_type == zipfile.ZIP_STORED and member.file_size != member.compress_size:
            raise RefusedFileError(f"{_shown(member.filename)} has two different sizes")
        stored += member.compress_size
    if stored > length:
        # Also what members that share the same bytes add up to.
        raise RefusedFileError("the members of the archive are larger than the file (cut off, or overlapping)")
    check_declared(sum(member.file_size for member in members), length)


def _check_name(member: zipfile.ZipInfo) -> None:
    name = member.orig_filename
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or any(c in name for c in "\\\0:"):
        raise RefusedFileError(f"the archive's member {_shown(name)} would leave its folder")


def _shown(name: str) -> str:
    return repr(name[:80])


def open_h5(source: Path | io.BufferedIOBase) -> h5py.File:
    """An HDF5 file, opened for reading after its objects were judged.

    Raises:
        RefusedFileError: see the module.
        OSError: no HDF5 file, or cut off.
    """
    length = source.stat().st_size if isinstance(source, Path) else source.seek(0, os.SEEK_END)
    file = h5py.File(source, "r")
    try:
        check_declared(sum(_checked_bytes(data, name) for name, data in datasets(file)), length)
    except BaseException:
        file.close()
        raise
    return file


def datasets(group: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """All datasets below `group` with their paths, in the file's order; each object once.

    Raises:
        RefusedFileError: a link that is not a plain one, an object linked twice, or too many objects.
    """
    waiting: list[tuple[str, h5py.Group]] = [("", group)]
    seen: set[Any] = {_identity(group)}
    while waiting:
        prefix, parent = waiting.pop()
        for name in _link_names(parent):
            path = f"{prefix}{name}"
            if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
                raise RefusedFileError(f"{_shown(path)} is a link, maybe into another file")
            child = parent[name]
            if _identity(child) in seen:
                raise RefusedFileError(f"{_shown(path)} stands in the file a second time")
            seen.add(_identity(child))
            if len(seen) > MOST_OBJECTS:
                raise RefusedFileError("holds absurdly many objects")
            if isinstance(child, h5py.Group):
                waiting.append((f"{path}/", child))
            elif isinstance(child, h5py.Dataset):
                yield path, child


def _link_names(group: h5py.Group) -> Iterable[str]:
    return list(group.keys())


def _identity(thing: Any) -> tuple[int, int]:
    info = h5py.h5o.get_info(thing.id)
    return info.fileno, info.addr


def _checked_bytes(data: h5py.Dataset, name: str) -> int:
    """Declared bytes of a dataset that holds its own numbers."""
    if data.is_virtual or data.external:
        raise RefusedFileError(f"{_shown(name)} keeps its data in another file")
    if data.dtype.kind not in "fiubS" or data.dtype.hasobject:
        return 0  # never read: texts and references are no weights
    plan = data.id.get_create_plist()
    for position in range(plan.get_nfilters()):
        if plan.get_filter(position)[0] not in _KNOWN_FILTERS:
            raise RefusedFileError(f"{_shown(name)} is packed in a way that needs a plug-in")
    size = 1
    for side in data.shape or ():
        size *= int(side)
    return size * int(data.dtype.itemsize)
