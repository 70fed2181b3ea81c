"""COCO's files: where they lie on the server, under which names, and what the archives' checksums are.

Only what is asked for is fetched: one archive of annotations for a year, out of it the one file that is read, and
single images. Images have no published checksums; each is decoded as it arrives.
"""

from __future__ import annotations

import hashlib
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from maskrcnn.downloads.archives import extract_member
from maskrcnn.downloads.cache import is_there
from maskrcnn.downloads.files import Wanted, fetch, fetch_all

OFFICIAL = "http://images.cocodataset.org"
"""Without https: the server's certificate is of another name."""

ARCHIVE_MD5: Mapping[int, str] = MappingProxyType(
    {2014: "0a379cfc70b0e71301e0f377548639bd", 2017: "f4bbac642086de4f52a3fdda2de5fa2c"}
)
"""Of `annotations_trainval{year}.zip` (PAPER §3.6)."""
ARCHIVE_BYTES: Mapping[int, int | None] = MappingProxyType({2014: None, 2017: 252_907_541})
"""Where it is published: a file of another length is not read to the end for its checksum."""

YEARS = tuple(ARCHIVE_MD5)

_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
_GAPS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
CATEGORIES: Mapping[int, str] = MappingProxyType(
    dict(zip((number for number in range(1, 91) if number not in _GAPS), _NAMES, strict=True))
)
"""COCO's 80 categories by id (PAPER §3.2): a misspelt name is told before anything is fetched."""


@dataclass(frozen=True)
class CocoServer:
    """A server with COCO's folders: `annotations/annotations_trainval2017.zip`, `train2017/000000000009.jpg` and so on.

    Attributes:
        url: address above those folders. The checksums hold for the official one; another one is trusted.
        cache: folder of all that is fetched.
    """

    url: str
    cache: Path

    @property
    def folder(self) -> Path:
        """Gets the same tree as the server has. Of each address its own: a mirror may hold something else."""
        if self.is_official:
            return self.cache / "coco"
        return self.cache / f"coco-{hashlib.sha256(self.url.rstrip('/').encode()).hexdigest()[:12]}"

    @property
    def is_official(self) -> bool:
        return self.url.rstrip("/").partition("://")[2] == OFFICIAL.partition("://")[2]

    def annotations(self, name: str, year: int) -> Path:
        """The annotation file `name` (such as instances_val2017.json), fetched and unpacked where it is not there yet.

        Raises:
            UserError: as `fetch` and `extract_member` do.
        """
        folder = self.folder / "annotations"
        target = folder / name
        if is_there(target):
            return target
        archive = fetch(
            f"{self.url.rstrip('/')}/annotations/annotations_trainval{year}.zip",
            md5=ARCHIVE_MD5[year] if self.is_official else "",
            size=ARCHIVE_BYTES[year] if self.is_official else None,
            cache=folder,
        )
        return extract_member(archive, f"annotations/{name}", target)

    def images(self, split: str, faults: Mapping[str, Callable[[Path], str]], label: str) -> Path:
        """The folder of a split such as val2017 with at least these images in it.

        Args:
            split: folder on the server and in the cache.
            faults: by file name, what tells that a file which arrived is wrong ("": it is right).
            label: of the progress line.

        Raises:
            UserError: as `fetch_all` does.
        """
        folder = self.folder / split
        base = f"{self.url.rstrip('/')}/{split}/"
        fetch_all(
            [Wanted(base + urllib.parse.quote(name), folder / name, fault) for name, fault in faults.items()],
            folder,
            label=label,
        )
        return folder


def annotation_name(split: str, *, keypoints: bool) -> str:
    """`person_keypoints_val2017.json` or `instances_val2017.json`."""
    return f"{'person_keypoints' if keypoints else 'instances'}_{split}.json"


def safe_names(names: Iterable[str]) -> list[str]:
    """Those of the file names that are plain names: nothing else may become a path or a part of an address."""
    return [name for name in names if name == Path(name).name and name not in ("", ".", "..") and "\\" not in name]
