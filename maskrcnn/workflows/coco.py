"""COCO itself: which files a subset needs, those of an existing folder as they are, the others fetched.

First the annotation file is found or fetched and indexed, then images are chosen, and only those that were chosen and
are not there yet are fetched.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskrcnn.config.schema import Config
from maskrcnn.data.coco_index import CocoIndex, open_index
from maskrcnn.data.coco_part import (
    Choice,
    Reading,
    Wish,
    choose,
    file_names,
    inspect_choice,
    load_choice,
)
from maskrcnn.data.doctor import HEADS, Inspection
from maskrcnn.data.faults.pictures import PictureError, check_pixels, read_header
from maskrcnn.data.keypoint_schemas import own_joints
from maskrcnn.data.records import Category, Dataset
from maskrcnn.data.subset import Exclusions, find_categories
from maskrcnn.downloads import CATEGORIES, CocoServer, annotation_name, cache_folder, safe_names

logger = logging.getLogger(__name__)

SPLITS = {"train": "train", "test": "val"}
"""Part of a run → COCO's own name; its test images have no public annotations."""

_IMAGE_FOLDERS = ("{split}", "images/{split}", "coco/{split}", "coco/images/{split}")
_ANNOTATION_FOLDERS = ("annotations", "coco/annotations")
"""Where COCO lies below `dataset.root`, by custom."""


@dataclass(frozen=True)
class CocoPart:
    """One part of COCO, chosen; `folders` hold its images."""

    name: str
    index: CocoIndex
    choice: Choice
    folders: tuple[Path, ...]
    wish: Wish
    reading: Reading

    def load(self) -> tuple[Dataset, tuple[Exclusions, ...]]:
        """The part as a data set, and what was left out. Raises ProblemsError for faults."""
        dataset, faulty = load_choice(self.index, self.choice, self.folders, self.wish, self.reading, self.name)
        return dataset, (faulty, self.choice.exclusions)

    def inspect(self) -> Inspection:
        """Everything that is wrong with what was chosen, every pixel decoded."""
        return inspect_choice(self.index, self.choice, self.folders, self.reading, decode_images=True, keep=False)


def coco_part(config: Config, part: str) -> CocoPart:
    """The part `part` (train | test) of the configuration's COCO, with all its files in place.

    Raises:
        UserError: unknown categories, files that are not there and cannot be fetched, an annotation file that is none.
    """
    dataset = config.dataset
    split = f"{SPLITS[part]}{dataset.year}"
    server = CocoServer(dataset.url, cache_folder())
    index = open_index(_annotations(config, split, server), cache_folder())
    # The head's own name is what the user typed; what it learns decides.
    head = next(name for name, learned in HEADS.items() if learned == (config.head.masks, config.head.keypoints))
    joints = None if dataset.keypoints is None or not config.head.keypoints else own_joints(dataset.keypoints)
    reading = Reading(head, dataset.faults, joints)
    wish = Wish(
        categories=dataset.categories,
        max_images=dataset.max_train_images if part == "train" else dataset.max_test_images,
        min_area=dataset.min_area,
        background=bool(dataset.background) or part == "test",
        seed=dataset.subset_seed,
    )
    choice = choose(index, wish, reading, part)
    return CocoPart(part, index, choice, _images(config, split, server, index, choice), wish, reading)


def _annotations(config: Config, split: str, server: CocoServer) -> Path:
    name = annotation_name(split, keypoints=config.head.keypoints)
    found = _first_existing(config.dataset.root, [f"{folder}/{name}" for folder in _ANNOTATION_FOLDERS])
    if found is not None:
        return found
    if not (server.folder / "annotations" / name).is_file():
        _find_known_categories(config)
        where = "There is no %s below dataset.root=%s: it is fetched from %s"
        logger.info(where, name, config.dataset.root, server.url)
    return server.annotations(name, config.dataset.year)


def _find_known_categories(config: Config) -> None:
    """A misspelt name is told before a quarter of a gigabyte is fetched. Raises UserError."""
    keypoints = config.head.keypoints
    known = [Category(number, name) for number, name in CATEGORIES.items() if name == "person" or not keypoints]
    find_categories(known, config.dataset.categories)


def _images(config: Config, split: str, server: CocoServer, index: CocoIndex, choice: Choice) -> tuple[Path, ...]:
    """Folders that together hold the chosen images; those that no folder of the user's has are fetched."""
    own = [path for text in _IMAGE_FOLDERS if (path := Path(config.dataset.root, text.format(split=split))).is_dir()]
    sizes = {name: size for name, *size in file_names(index, choice)}
    wanted = [name for name in safe_names(sizes) if not any(os.path.lexists(folder / name) for folder in own)]
    if not wanted:
        return tuple(own)
    cached = server.folder / split
    missing = sum(not (cached / name).is_file() for name in wanted)
    if missing:
        logger.info("%d of %d chosen images of %s are fetched from %s", missing, len(sizes), split, server.url)
    folder = server.images(split, {name: _picture_check(*sizes[name]) for name in wanted}, f"{split} (images)")
    return (*own, folder)


def _picture_check(height: int, width: int) -> Callable[[Path], str]:
    """What tells that a file is not the picture of this size: no image of COCO has a published checksum."""

    def fault(path: Path) -> str:
        try:
            header = read_header(path)
            check_pixels(path)
        except PictureError as error:
            return str(error)
        if not header.shows(height, width):
            return f"is a picture of {header.width} x {header.height}, expected {width} x {height}"
        return ""

    return fault


def _first_existing(root: str, names: Sequence[str]) -> Path | None:
    return next((path for name in names if (path := Path(root, name)).is_file()), None)
