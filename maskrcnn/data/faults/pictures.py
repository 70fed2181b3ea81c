"""What the doctor asks of an image file: the size in its header, and whether every pixel can be decoded.

Pillow reads here, since it is strict where OpenCV (the decoder of training, `maskrcnn.data.images`) fills the missing
rest of a picture with grey. EXIF rotation: annotations refer to the stored pixels, as in COCO; a size that fits only
the rotated picture is recognised (`PictureHeader.rotated`). Formats that would start another program or that have no
signature are not in `FORMATS`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

FORMATS = tuple(
    kind.format
    for kind in (
        JpegImageFile,
        PngImageFile,
        BmpImageFile,
        GifImageFile,
        TiffImageFile,
        WebPImageFile,
        PpmImageFile,
        Jpeg2KImageFile,
    )
)

MAX_PIXELS = 89_478_485
"""Largest picture that is decoded: Pillow's own bound against decompression bombs (256 MiB of RGB)."""

_ORIENTATION = 0x0112
_SWAPPED = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""


class PictureError(ValueError):
    """A file that does not hold a readable picture; the message says why, without naming the file."""


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What a file's header says: size in pixels as stored, EXIF orientation (1: upright), number of frames."""

    height: int
    width: int
    orientation: int = 1
    frames: int = 1

    def shows(self, height: int, width: int) -> bool:
        """Whether the picture is of this size, as stored or rotated by EXIF."""
        return (self.height, self.width) == (height, width) or self.rotated(height, width)

    def rotated(self, height: int, width: int) -> bool:
        """Whether it is of this size only after the EXIF rotation."""
        stored = (self.height, self.width)
        return stored != (height, width) == stored[::-1] and self.orientation in _SWAPPED


def read_header(path: str | Path) -> PictureHeader:
    """The header of the picture at `path`, without decoding. Raises PictureError; OSError as `open` does."""
    with _opened(path) as picture:
        return _header(picture)


def check_pixels(path: str | Path) -> None:
    """Decodes the whole picture and forgets it. Raises PictureError if that fails; OSError as `open` does."""
    with _opened(path) as picture:
        _header(picture)
        _decode(picture)
        if picture.format == "PNG" and not _png_is_whole(path):
            raise PictureError("cannot be decoded (PNG without its end: the file is truncated)")


def _png_is_whole(path: str | Path) -> bool:
    """Whether the chunks of a PNG go on to IEND. Pillow is content with the pixels, other readers are not."""
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            if head[4:] == b"IEND":
                return len(file.read(4)) == 4
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return False


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    with open(path, "rb") as file:
        try:
            with warnings.catch_warnings():
                # our own bound is checked in _header; Pillow warns from the same size on
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                picture = Image.open(file, formats=FORMATS)
        except Exception as error:
            # a foreign parser on untrusted bytes raises nearly any class of error
            file.seek(0)
            raise PictureError(_why_unknown(file.read(256), error)) from error
        yield picture


def _header(picture: Image.Image) -> PictureHeader:
    width, height = picture.size
    if height < 1 or width < 1:
        raise PictureError(f"picture of {width} x {height} pixels")
    if height * width > MAX_PIXELS:
        raise PictureError(f"picture of {width} x {height} pixels, more than {MAX_PIXELS} are not decoded")
    try:
        orientation = _orientation(picture)
        frames = int(getattr(picture, "n_frames", 1)) if picture.format != "MPO" else 1
    except Exception:
        # broken metadata beside good pixels: ignored, as every viewer does
        orientation, frames = 1, 1
    return PictureHeader(height, width, orientation, frames)


def _orientation(picture: Image.Image) -> int:
    # Pillow decodes a whole PNG to look for EXIF behind the pixels; only what stands before them counts here
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1
    value = picture.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _decode(picture: Image.Image) -> None:
    try:
        picture.load()
    except Exception as error:
        # as above: any class of error
        raise PictureError(f"cannot be decoded ({_reason(error)})") from error


def _why_unknown(head: bytes, error: Exception) -> str:
    """What a file of this beginning, which no reader knows, most likely is."""
    if not head:
        return "is empty (0 bytes)"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the picture itself"
    if head.lstrip()[:1] == b"<":
        return "is an HTML or XML text, not a picture"
    if not head.strip(b"\x00"):
        return "holds zero bytes only"
    if isinstance(error, Image.DecompressionBombError):
        return f"is a picture of more than {MAX_PIXELS} pixels"
    return "is not a picture in a known format (or its header is broken)"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "…"
