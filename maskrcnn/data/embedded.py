"""The embedded data set: generated scenes of persons and shapes, drawn once into a cache and read from there.

The cache holds PNG files and COCO JSON, in a folder whose name is made from the parameters and the version of the
code that draws. It is complete or absent (written aside, then renamed), and drawn again when files of it are broken.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.data import rle
from maskrcnn.data.embedded_files import DrawingError, EmbeddedParameters, write_embedded
from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.data.scenes import SPLITS
from maskrcnn.errors import UserError
from maskrcnn.structures import COCO_PERSON

try:
    import fcntl
except ImportError:  # Windows: two starts at once then both draw, and the first rename wins
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_PNG_HEAD, _PNG_TAIL = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_LIMITS = {"train_images": (1, 1_000_000), "test_images": (1, 1_000_000), "image_size": (32, 2048), "seed": (0, 2**63)}


def load_embedded(
    *, train_images: int, test_images: int, image_size: int, seed: int, cache: Path, processes: int | None = None
) -> tuple[Dataset, Dataset]:
    """Training and test part of the embedded data set, from the cache or drawn into it first.

    Args:
        train_images: Number of training images.
        test_images: Number of test images; they do not depend on the number of training images.
        image_size: Side of the square images in pixels; the objects grow with it.
        seed: Another seed gives other scenes of the same kind.
        cache: Folder for generated and downloaded files; the data set gets a folder of its own in it.
        processes: Processes that draw; None: one for each core that this process may use.

    Raises:
        UserError: a number out of range, or a cache folder that cannot be written.
    """
    parameters = EmbeddedParameters(train_images, test_images, image_size, seed)
    _check_limits(parameters)
    folder = cache / "embedded" / f"{image_size}px-{train_images}-{test_images}-{parameters.digest[:16]}"
    if not is_complete(folder):
        _fill_cache(parameters, folder, processes or _free_cores())
    train, test = (_read_part(folder, split) for split in SPLITS)
    return train, test


def is_complete(folder: Path) -> bool:
    """Whether every file of a cached data set is there, has its size, and an image file its beginning and end."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="ascii"))
        hashes = all(_file_hash(folder / name) == value for name, value in manifest["hashes"].items())
        return hashes and all(_is_whole_png(folder / name, size) for name, size in manifest["sizes"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _check_limits(parameters: EmbeddedParameters) -> None:
    for name, (low, high) in _LIMITS.items():
        value = getattr(parameters, name)
        if not low <= value <= high:
            raise UserError(f"{value} is out of range", f"dataset.embedded.{name}", f"choose {low} to {high}")


def _free_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _fill_cache(parameters: EmbeddedParameters, folder: Path, processes: int) -> None:
    """Draw the data set aside and put it in its place; only one process at a time does so."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f"{folder.name}.lock")):
            if is_complete(folder):  # another process drew it while this one waited
                return
            if folder.exists():
                _log.warning("%s is incomplete or damaged: drawing it again", folder)
            _draw_aside(parameters, folder, processes)
    except OSError as error:
        hint = "give another folder by the environment variable MASKRCNN_CACHE"
        raise UserError(f"the cache cannot be written ({error})", str(folder.parent), hint) from error
    except DrawingError as error:
        raise UserError(f"drawing the embedded images failed: {error}", str(folder.parent)) from error


def _draw_aside(parameters: EmbeddedParameters, folder: Path, processes: int) -> None:
    prefix = f".new-{folder.name}-"
    for stale in folder.parent.glob(f"{prefix}*"):  # left by a process that was killed; the lock is ours now
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        write_embedded(parameters, fresh, processes)
        _write_manifest(fresh)
        if folder.exists():
            folder.rename(Path(scratch) / "broken")
        fresh.rename(folder)


def _write_manifest(folder: Path) -> None:
    images = sorted(folder.glob("*/*.png"))
    content = {
        "hashes": {path.name: _file_hash(path) for path in sorted(folder.glob("*.json"))},
        "sizes": {path.relative_to(folder).as_posix(): path.stat().st_size for path in images},
    }
    (folder / _MANIFEST).write_text(json.dumps(content), encoding="ascii")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file; a process that dies loses it. Without locks on this system or disk, go on without."""
    with path.open("w") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.info("waiting for another process that draws the embedded data set")
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                _log.info("no file lock on %s (%s)", path, error)
        yield


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_whole_png(path: Path, size: int) -> bool:
    with path.open("rb") as file:
        head = file.read(len(_PNG_HEAD))
        end = file.seek(-len(_PNG_TAIL), os.SEEK_END) + len(_PNG_TAIL)
        return head == _PNG_HEAD and file.read() == _PNG_TAIL and end == size


def _read_part(folder: Path, split: str) -> Dataset:
    """One part from its COCO JSON; the file is our own, so nothing in it needs the doctor."""
    content = json.loads((folder / f"{split}.json").read_text(encoding="ascii"))
    annotations: dict[int, list[Annotation]] = {image["id"]: [] for image in content["images"]}
    for entry in content["annotations"]:
        annotations[entry["image_id"]].append(_read_annotation(entry))
    images = tuple(
        ImageRecord(
            id=image["id"],
            file_name=image["file_name"],
            path=str(folder / image["file_name"]),
            height=image["height"],
            width=image["width"],
            annotations=tuple(annotations[image["id"]]),
        )
        for image in content["images"]
    )
    categories = tuple(_read_category(entry) for entry in content["categories"])
    return Dataset(f"embedded {split}", categories, images, COCO_PERSON)


def _read_annotation(entry: dict[str, Any]) -> Annotation:
    x, y, width, height = map(float, entry["bbox"])
    keypoints = entry.get("keypoints")
    return Annotation(
        id=entry["id"],
        label=entry["category_id"],  # ids are 1…C without gaps
        box=(x, y, x + width, y + height),
        area=float(entry["area"]),
        is_crowd=bool(entry["iscrowd"]),
        segmentation=rle.compress(entry["segmentation"]),
        keypoints=None if keypoints is None else np.array(keypoints, np.float32).reshape(-1, 3),
    )


def _read_category(entry: dict[str, Any]) -> Category:
    skeleton = tuple((a - 1, b - 1) for a, b in entry.get("skeleton", ()))
    return Category(entry["id"], entry["name"], entry["supercategory"], tuple(entry.get("keypoints", ())), skeleton)
