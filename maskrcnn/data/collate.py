"""Samples → one batch (DESIGN §3): images padded right and below, instances padded with label 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskrcnn.data.transforms import Sample, mask_targets

INSTANCE_MULTIPLE = 8
"""The number of instances is padded to a multiple of this: few shapes, little padding (PERFORMANCE §3 C)."""


@dataclass(frozen=True)
class BatchForm:
    """What a batch holds besides images, boxes and labels, and how it is padded.

    `fixed_shape` (H, W, M) makes every batch the same shape (JAX compiles one program per shape); else each batch has
    its own, sides rounded up to `pad_multiple` (0: not rounded).
    """

    mask_size: int
    pad_multiple: int
    with_masks: bool
    with_keypoints: bool
    keypoint_rows: tuple[int, ...] | None = None
    fixed_shape: tuple[int, int, int] | None = None


def pad_images(images: Sequence[np.ndarray], pad_multiple: int, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Images of different sizes in one array `[B, H, W, 3]`, each in the upper left corner, zeros elsewhere.

    H and W are the largest height and width rounded up to `pad_multiple`, or `shape`. uint8, or float32 where an
    image is.
    """
    sizes = np.array([image.shape[:2] for image in images])
    height, width = shape or (round_up(int(side), pad_multiple) for side in sizes.max(0))
    if (sizes > (height, width)).any():
        raise ValueError(f"images of up to {sizes.max(0).tolist()} pixels do not fit into {height} x {width}")
    padded = np.zeros((len(images), height, width, 3), np.result_type(*[image.dtype for image in images]))
    for row, image in zip(padded, images):
        row[: image.shape[0], : image.shape[1]] = image
    return padded


def collate(
    samples: Sequence[Sample], seeds: Sequence[int], rows: np.ndarray, form: BatchForm
) -> dict[str, np.ndarray]:
    """The batch of DESIGN §3 with the keys that `form` asks for; `rows` are the images' rows in the reader's table.

    More instances than a fixed shape holds: the largest are kept, in their order.
    """
    shape = None if form.fixed_shape is None else form.fixed_shape[:2]
    if form.fixed_shape is not None:
        samples = [_largest(sample, form.fixed_shape[2]) for sample in samples]
        slots = form.fixed_shape[2]
    else:
        slots = round_up(max(1, *(len(s.boxes) for s in samples)), INSTANCE_MULTIPLE)
    batch = {
        "images": pad_images([s.image for s in samples], form.pad_multiple, shape),
        "sizes": np.array([s.size for s in samples], np.int32),
        "boxes": _pad_rows([s.boxes for s in samples], slots, np.float32),
        "labels": _pad_rows([s.labels for s in samples], slots, np.int32),
        "seeds": np.array(seeds, np.int32),
        "image_rows": np.asarray(rows, np.int32),
    }
    if form.with_masks:
        masks, has_mask = zip(*[mask_targets(s, form.mask_size) for s in samples])
        batch["masks"] = _pad_rows(masks, slots, np.uint8)
        batch["has_mask"] = _pad_rows(has_mask, slots, np.bool_)
    if form.with_keypoints:
        batch["keypoints"] = _pad_rows([_joints(s, form.keypoint_rows) for s in samples], slots, np.float32)
    return batch


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `value`; `value` itself for a multiple of 0."""
    return -(-value // multiple) * multiple if multiple > 0 else value


def _joints(sample: Sample, rows: tuple[int, ...] | None) -> np.ndarray:
    """The chosen joints, taken after all flips; crowds and ignore regions have none."""
    if sample.keypoints is None:
        raise ValueError("the samples were loaded without keypoints")
    chosen = sample.keypoints if rows is None else sample.keypoints[:, list(rows)]
    return chosen * (sample.labels > 0)[:, None, None]


def _largest(sample: Sample, count: int) -> Sample:
    if len(sample.boxes) <= count:
        return sample
    sides = sample.boxes[:, 2:] - sample.boxes[:, :2]
    return sample.select(np.sort(np.argsort(-sides.prod(1), kind="stable")[:count]))


def _pad_rows(arrays: Sequence[np.ndarray], slots: int, dtype: type) -> np.ndarray:
    padded = np.zeros((len(arrays), slots, *arrays[0].shape[1:]), dtype)
    for row, array in zip(padded, arrays):
        row[: len(array)] = array
    return padded
