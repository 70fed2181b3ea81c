"""Checks of the list of images and of the files it names: ids, sizes, paths; no pixel is decoded here."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from maskrcnn.data.faults.pictures import MAX_PIXELS, PictureError, PictureHeader, read_header
from maskrcnn.data.faults.report import Findings
from maskrcnn.data.faults.values import RepeatedKeys, UnfitError, name_file, show, whole

_THREADS = 4
"""Headers are read by threads: the time goes into waiting for the file system."""


@dataclass(slots=True)
class CheckedImage:
    """An image of the list; `size` (height, width) only where it is known without doubt."""

    id: int
    file_name: str = ""
    path: str = ""
    size: tuple[int, int] | None = None
    good: bool = True

    @property
    def where(self) -> str:
        """The image as messages name it."""
        return f"image {self.id} ({name_file(self.file_name)})" if self.file_name else f"image {self.id}"


@dataclass
class ImageFolder:
    """The folder that file names are relative to, and what was learned about it on the way."""

    path: str
    real: str
    _inside: dict[str, bool] = field(default_factory=dict)
    _names: dict[str, dict[str, str]] = field(default_factory=dict)

    def holds(self, path: str) -> bool:
        """Whether `path` lies in this folder after following links. Real parent folders are looked up once."""
        parent = os.path.dirname(path)
        if parent not in self._inside:
            self._inside[parent] = self._is_inside(os.path.realpath(parent))
        if os.path.islink(path):
            return self._is_inside(os.path.realpath(path))
        return self._inside[parent]

    def similar(self, path: str) -> str:
        """A file of the same folder whose name differs in upper and lower case alone, or nothing."""
        parent, name = os.path.split(path)
        if parent not in self._names:
            try:
                with os.scandir(parent) as entries:
                    self._names[parent] = {entry.name.lower(): entry.name for entry in islice(entries, 100_000)}
            except (OSError, ValueError):
                self._names[parent] = {}
        return self._names[parent].get(name.lower(), "")

    def _is_inside(self, real: str) -> bool:
        return real == self.real or real.startswith(self.real.rstrip(os.sep) + os.sep)


def open_folder(images: Path, findings: Findings) -> ImageFolder | None:
    """The image folder; None, with a fault, if there is none."""
    kind, where = "unreadable image folder", str(images)
    try:
        if stat.S_ISDIR(os.stat(images).st_mode) and os.access(images, os.R_OK | os.X_OK):
            return ImageFolder(where, os.path.realpath(images))
        findings.fault(kind, where, "is not a folder that can be read")
    except FileNotFoundError:
        findings.fault(kind, where, "there is no such image folder")
    except (OSError, ValueError) as error:
        findings.fault(kind, where, f"cannot be read ({getattr(error, 'strerror', None) or error})")
    return None


@dataclass
class CheckedImages:
    """The images of the list by id, bad ones included."""

    findings: Findings
    by_id: dict[int, CheckedImage] = field(default_factory=dict)

    def add(self, index: int, entry: Any) -> None:
        """Checks the entry at `index` of the file's list."""
        where = f"images[{index}]"
        if not isinstance(entry, dict):
            self.findings.fault("broken image entry", where, f"is {show(entry)}, expected an object")
            return
        file_name = entry.get("file_name")
        named = f" ({name_file(file_name)})" if isinstance(file_name, str) and file_name else ""
        image_id = whole(entry.get("id"))
        if image_id is None:
            what = f"has id {show(entry['id'])}, expected a whole number" if "id" in entry else "has no id"
            self.findings.fault("broken image id", where + named, what)
            return
        if image_id in self.by_id:
            what = f"has the id of {name_file(self.by_id[image_id].file_name)}"
            self.findings.fault("duplicate image id", f"image {image_id}{named}", what)
            return
        image = self.by_id[image_id] = CheckedImage(image_id)
        try:
            image.file_name = _read_file_name(entry)
            image.size = _read_size(entry)
            if isinstance(entry, RepeatedKeys):
                raise UnfitError(f"has {', '.join(map(show, entry.repeated))} twice")
        except UnfitError as error:
            image.good = False
            self.findings.fault("broken image entry", f"image {image_id}{named}", str(error))

    def finish(self, folders: Sequence[ImageFolder]) -> None:
        """Checks the files, each in the first folder that has it, and their headers; nothing of that without one."""
        _warn_of_shared_files(self.by_id.values(), self.findings)
        if folders:
            _check_files([image for image in self.by_id.values() if image.file_name], folders, self.findings)


def _read_file_name(entry: dict[str, Any]) -> str:
    value = entry.get("file_name")
    if "file_name" not in entry:
        raise UnfitError("has no file_name")
    if not isinstance(value, str) or not value.strip():
        raise UnfitError(f"has file_name {show(value)}, expected a file's name")
    try:
        if b"\x00" in os.fsencode(value):
            raise UnfitError(f"has file_name {show(value)} with a zero byte")
    except UnicodeEncodeError as error:
        raise UnfitError(f"has file_name {show(value)}, which is not valid Unicode") from error
    return value


def _read_size(entry: dict[str, Any]) -> tuple[int, int]:
    sides = []
    for key in ("height", "width"):
        if key not in entry:
            raise UnfitError(f"has no {key}")
        side = whole(entry[key])
        if side is None or side < 1:
            raise UnfitError(f"has {key} {show(entry[key])}, expected a positive whole number")
        sides.append(side)
    if sides[0] * sides[1] > MAX_PIXELS:
        raise UnfitError(f"has {sides[1]} x {sides[0]} pixels, more than {MAX_PIXELS} are not decoded")
    return sides[0], sides[1]


def _warn_of_shared_files(images: Iterable[CheckedImage], findings: Findings) -> None:
    owners: dict[str, CheckedImage] = {}
    for image in images:
        if not image.file_name:
            continue
        other = owners.setdefault(os.path.normpath(image.file_name), image)
        if other is not image:
            findings.warn("file listed twice", image.where, f"is the same file as image {other.id}")


def _check_files(images: list[CheckedImage], folders: Sequence[ImageFolder], findings: Findings) -> None:
    found = []
    for image in images:
        try:
            image.path = _locate(image.file_name, _holder(image.file_name, folders))
            found.append(image)
        except UnfitError as error:
            image.good = False
            findings.fault("missing or foreign image file", image.where, str(error))
    with ThreadPoolExecutor(_THREADS) as pool:
        for image, header in zip(found, pool.map(_try_header, [image.path for image in found])):
            _check_header(image, header, findings)


def _holder(file_name: str, folders: Sequence[ImageFolder]) -> ImageFolder:
    """The first folder with something of this name, else the last one, which then says what is wrong."""
    held = (folder for folder in folders[:-1] if os.path.lexists(os.path.join(folder.path, file_name)))
    return next(held, folders[-1])


def _locate(file_name: str, folder: ImageFolder) -> str:
    """Path of a regular file inside the folder. Raises UnfitError."""
    path = os.path.join(folder.path, file_name)
    try:
        mode = os.stat(path).st_mode
        inside = folder.holds(path)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise UnfitError("is a broken link") from None
        raise UnfitError(f"the file is missing in {folder.path}{_hint_for_missing(path, file_name, folder)}") from None
    except (OSError, ValueError) as error:
        raise UnfitError(f"the file cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not inside:
        raise UnfitError(f"lies outside the image folder {folder.path}")
    if not stat.S_ISREG(mode):
        raise UnfitError("is a folder, not a file" if stat.S_ISDIR(mode) else "is not a regular file")
    return path


def _hint_for_missing(path: str, file_name: str, folder: ImageFolder) -> str:
    similar = folder.similar(path)
    if similar:
        return f"; there is {name_file(similar)} (upper and lower case matter)"
    if "://" in file_name:
        return "; file_name is an address, expected a file"
    if os.path.isabs(file_name):
        return "; file_name is an absolute path, expected one inside the image folder"
    if "\\" in file_name:
        return "; file_name has backslashes, expected /"
    return ""


def _try_header(path: str) -> PictureHeader | str:
    """The header, or why there is none."""
    try:
        return read_header(path)
    except PictureError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _check_header(image: CheckedImage, header: PictureHeader | str, findings: Findings) -> None:
    if isinstance(header, str):
        image.good = False
        findings.fault("broken image", image.where, header)
        return
    if image.size is None:
        return
    height, width = image.size
    if header.rotated(height, width):
        what = f"has the size of the picture after its EXIF rotation ({header.orientation}); it is read rotated"
        findings.warn("EXIF rotation", image.where, what)
    elif not header.shows(height, width):
        findings.fault(
            "image of another size",
            image.where,
            f"the file is {header.width} x {header.height}, the annotation file says {width} x {height}",
            "the annotations belong to another version of the picture",
        )
        image.good, image.size = False, None
    elif header.orientation != 1:
        what = f"has an EXIF rotation ({header.orientation}), which COCO's tools ignore; it is read as stored"
        findings.warn("EXIF rotation", image.where, what)
    if header.frames > 1:
        findings.warn("several frames", image.where, f"has {header.frames} frames; the first is used")
