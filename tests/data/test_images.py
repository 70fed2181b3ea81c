"""Tests of image reading: kinds of files, orientation, and errors that name the file."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn.data.images import is_cut_off, read_image, read_record
from maskrcnn.data.records import ImageRecord
from maskrcnn.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read_back(folder: Path, data: bytes) -> np.ndarray:
    path = folder / "bild-ä.png"
    path.write_bytes(data)
    return read_image(path)


def test_a_colour_png_comes_back_as_rgb(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_back(tmp_path, encoded(Image.fromarray(PIXELS))), PIXELS)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    image = read_back(tmp_path, encoded(Image.fromarray(PIXELS[..., 0])))
    np.testing.assert_array_equal(image, np.repeat(PIXELS[..., :1], 3, axis=2))


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    palette = Image.fromarray(PIXELS).quantize(16)
    np.testing.assert_array_equal(read_back(tmp_path, encoded(palette)), np.asarray(palette.convert("RGB")))


def test_alpha_is_dropped(tmp_path: Path) -> None:
    rgba = Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]]))
    np.testing.assert_array_equal(read_back(tmp_path, encoded(rgba)), PIXELS)


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (40, 60)).astype(np.uint16)
    image = read_back(tmp_path, encoded(Image.fromarray(values)))
    assert image.dtype == np.uint8
    # libpng scales by 257 or cuts the low byte, by version: within one step either way.
    assert np.abs(image[..., 0] - values / 257.0).max() <= 1


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    assert read_back(tmp_path, encoded(Image.fromarray(PIXELS), "JPEG", exif=exif)).shape == (40, 60, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.98])
def test_a_file_that_is_cut_off_is_refused_by_name(tmp_path: Path, kind: str, share: float) -> None:
    data = encoded(Image.fromarray(PIXELS), kind)
    with pytest.raises(UserError, match=r"bild-ä\.png: image file is cut off"):
        read_back(tmp_path, data[: int(len(data) * share)])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 20}])
def test_whole_files_do_not_count_as_cut_off(options: dict[str, object]) -> None:
    data = encoded(Image.fromarray(PIXELS), "JPEG", **options)
    assert not is_cut_off(data)
    assert not is_cut_off(data + b"trailing bytes")


@pytest.mark.parametrize(("data", "words"), [(b"", "empty"), (b"<html>not found</html>", "not an image")])
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(UserError, match=rf"bild-ä\.png.*{words}"):
        read_back(tmp_path, data)


def test_damaged_pixels_are_refused(tmp_path: Path) -> None:
    data = bytearray(encoded(Image.fromarray(PIXELS)))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(UserError, match="not an image that can be decoded"):
        read_back(tmp_path, bytes(data))


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.png: image file is missing"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UserError, match=re.escape(str(tmp_path))):
        read_image(tmp_path)


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
def test_a_record_is_rotated_only_where_its_size_says_so(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "turned.png"
    path.write_bytes(encoded(Image.fromarray(PIXELS), "PNG", exif=exif))
    stored = read_record(ImageRecord(1, path.name, str(path), 40, 60))
    np.testing.assert_array_equal(stored, PIXELS)
    if orientation >= 5:
        shown = read_record(ImageRecord(1, path.name, str(path), 60, 40))
        turned = {5: np.swapaxes(PIXELS, 0, 1), 6: np.rot90(PIXELS, -1), 8: np.rot90(PIXELS)}
        turned[7] = np.rot90(turned[5], 2)
        np.testing.assert_array_equal(shown, turned[orientation])


def test_a_record_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(PIXELS)))
    for size in [(60, 40), (40, 61)]:
        with pytest.raises(UserError, match="annotated as"):
            read_record(ImageRecord(1, "a.png", str(path), *size))
