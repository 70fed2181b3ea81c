"""Reading image files: the one decoder of training, evaluation, prediction and the data doctor.

Pixels come as they lie in the file: the EXIF orientation is not applied, since COCO's annotations refer to the
stored pixels. Where the annotated size is that of the rotated picture alone, `read_record` rotates (the doctor warns).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from maskrcnn.data.records import ImageRecord
from maskrcnn.errors import UserError

_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG", b"IEND\xaeB`\x82"


def read_image(path: str | Path) -> np.ndarray:
    """The pixels of an image file as uint8 RGB `[H, W, 3]`.

    Grey and palette images get three channels, an alpha channel is dropped, 16-bit values are scaled to 8 bits.

    Raises:
        UserError: the file is missing, unreadable, cut off or no image; the message names it.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError("image file is missing", str(path), "check the image folder and file_name") from None
    except OSError as error:
        raise UserError(f"image file cannot be read ({error.strerror})", str(path)) from None
    return decode_image(data, str(path))


def read_record(record: ImageRecord) -> np.ndarray:
    """The pixels that a record's annotations refer to, uint8 RGB `[record.height, record.width, 3]`.

    Raises:
        UserError: as `read_image`, and for a picture of another size.
    """
    image = read_image(record.path)
    size = (record.height, record.width)
    if image.shape[:2] == size[::-1] != size:
        # written down by a tool that applies the EXIF rotation
        data = np.fromfile(record.path, np.uint8)
        turned = cv2.imdecode(data, _FLAGS & ~cv2.IMREAD_IGNORE_ORIENTATION)
        image = image if turned is None else turned
    if image.shape[:2] != size:
        found = f"{image.shape[1]}x{image.shape[0]}"
        raise UserError(f"image is {found} pixels, annotated as {record.width}x{record.height}", record.path)
    return image


def decode_image(data: bytes, where: str) -> np.ndarray:
    """The pixels of an encoded image as uint8 RGB `[H, W, 3]`; `where` names it in errors.

    Raises:
        UserError: the bytes are cut off or no image.
    """
    if not data:
        raise UserError("image file is empty", where)
    if is_cut_off(data):
        raise UserError("image file is cut off", where, "copy or download it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    except cv2.error as error:
        raise UserError(f"image cannot be decoded ({error.err})", where) from None
    if image is None:
        raise UserError("not an image that can be decoded", where, "use PNG or JPEG")
    return image


def is_cut_off(data: bytes) -> bool:
    """True for a JPEG or PNG whose end is missing: OpenCV would fill the rest with grey and say nothing.

    In a JPEG the end marker must follow the last scan; compressed scans cannot contain it (bytes 0xFF are stuffed).
    """
    if data.startswith(_JPEG_START):
        return data.find(_JPEG_END, max(data.rfind(_JPEG_SCAN), 0)) < 0
    return data.startswith(_PNG_START) and _PNG_END not in data
