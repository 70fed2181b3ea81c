"""Image files named as MLflow's image charts expect them: a PNG and a thumbnail, with key, step and time in the name.

MLflow's own `log_image` draws a new random name at each call, so that sending again after a lost answer would show
an image twice; and it fails on thin images (FACTS 2.22-2.25). Here the name is fixed when the image is logged.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np

IMAGES = "images"
THUMBNAIL_PX = 256
"""Longer side of a thumbnail, MLflow's figure."""


def image_name(key: str, step: int, time_ms: int) -> str:
    """File name of an image of `key` (cleaned, `names.clean_image_key`) at `step`."""
    return f"{key.replace('/', '~')}+step+{step}+timestamp+{time_ms}+{uuid.uuid4()}.png"


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] as PNG, with little compression: the training waits.

    Raises:
        ValueError: another type or shape, or no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"an image must be uint8 [H, W, 3] with pixels, this is {image.dtype} {list(image.shape)}")
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, compress_level=1)


def thumbnail_of(picture: Path) -> Path:
    """The picture's thumbnail beside it, made if it is not there."""
    path = picture.with_name(f"{picture.stem}+compressed.webp")
    if not path.exists():
        from PIL import Image

        with Image.open(picture) as image:
            scale = THUMBNAIL_PX / max(image.size)
            # A very thin picture would round to a side of 0.
            size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
            image.convert("RGB").resize(size).save(path)
    return path
