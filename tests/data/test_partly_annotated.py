"""From records to batches where instances lack a mask, joints or both: zeros and flags, never another's values."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskrcnn.data.reader import Reader
from maskrcnn.data.records import Annotation, Category, Dataset, ImageRecord
from maskrcnn.data.transforms import Augmentation
from maskrcnn.structures import KeypointSchema, ResizeSettings

SIDE = 64
FACE = KeypointSchema(("nose", "left_eye", "right_eye"), flip_pairs=((1, 2),), sigmas=(0.1, 0.1, 0.1))
PERSON, CUP = 1, 2
JOINTS = np.array([[20, 20, 2], [24, 16, 2], [16, 16, 1]], np.float32)


def square(x: float, y: float) -> tuple[np.ndarray, ...]:
    return (np.array([x, y, x + 20, y, x + 20, y + 20, x, y + 20], np.float64),)


def one(label: int, *, mask: bool, joints: bool, crowd: bool = False, x: float = 10.0) -> Annotation:
    box = (x, 10.0, x + 20, 30.0)
    keypoints = np.add(JOINTS, [x - 10, 0, 0]) if joints else None
    return Annotation(1, label, box, 400.0, crowd, square(x, 10.0) if mask else None, keypoints)


def reader(folder: Path, annotations: list[Annotation], *, flip: float = 0.0) -> Reader:
    path = folder / "image.png"
    cv2.imwrite(str(path), np.full((SIDE, SIDE, 3), 90, np.uint8))
    record = ImageRecord(7, path.name, str(path), SIDE, SIDE, tuple(annotations))
    categories = (Category(1, "person", keypoints=FACE.names), Category(5, "cup"))
    return Reader(
        Dataset("part", categories, (record,), FACE),
        batch_size=1,
        image=ResizeSettings(0, 0),
        augmentation=Augmentation(flip=flip),
        seed=3,
        mask_size=14,
        training=True,
        workers=0,
        prefetch=1,
        buckets=1,
        pad_multiple=0,
        with_masks=True,
        with_keypoints=True,
    )


def batch_of(folder: Path, annotations: list[Annotation], **options: float) -> dict[str, np.ndarray]:
    (batch,) = reader(folder, annotations, **options).batches(0)
    return batch


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_each_instance_brings_what_it_has(tmp_path: Path, flip: float) -> None:
    annotations = [
        one(PERSON, mask=True, joints=True),
        one(PERSON, mask=False, joints=True),
        one(PERSON, mask=True, joints=False),
        one(CUP, mask=True, joints=False),
        one(CUP, mask=False, joints=False),
    ]
    batch = batch_of(tmp_path, annotations, flip=flip)
    assert batch["labels"][0, :5].tolist() == [PERSON, PERSON, PERSON, CUP, CUP]
    assert batch["has_mask"][0, :5].tolist() == [True, False, True, True, False]
    assert batch["masks"][0, :5].any(axis=(1, 2)).tolist() == [True, False, True, True, False]
    assert (batch["keypoints"][0, :5, :, 2] > 0).any(axis=1).tolist() == [True, True, False, False, False]
    # a flip moves no joint that is not there: W - 0 would be the image's right border
    assert not batch["keypoints"][0, 2:].any()


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_crowd_of_persons_brings_neither_mask_nor_joints(tmp_path: Path, flip: float) -> None:
    batch = batch_of(tmp_path, [one(PERSON, mask=True, joints=True, crowd=True)], flip=flip)
    assert batch["labels"][0, 0] == -1
    assert batch["boxes"][0, 0, 2] > batch["boxes"][0, 0, 0]
    assert not batch["has_mask"].any()
    assert not batch["keypoints"].any()


def test_an_image_of_cups_alone_is_a_batch_with_joints_of_zeros(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, [one(CUP, mask=True, joints=False)])
    assert batch["keypoints"].shape[2:] == (3, 3)
    assert not batch["keypoints"].any()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from([PERSON, CUP]), st.booleans(), st.booleans(), st.booleans()), max_size=9),
    st.sampled_from([0.0, 1.0]),
)
def test_neighbours_change_nothing_of_an_instance(
    tmp_path: Path, others: list[tuple[int, bool, bool, bool]], flip: float
) -> None:
    """Whatever stands beside a fully annotated person, it brings the same box, mask and joints."""
    person = one(PERSON, mask=True, joints=True)
    beside = [
        one(label, mask=mask, joints=joints and label == PERSON, crowd=crowd, x=5.0 + 3 * k)
        for k, (label, mask, joints, crowd) in enumerate(others)
    ]
    alone = batch_of(tmp_path, [person], flip=flip)
    together = batch_of(tmp_path, [*beside, person], flip=flip)
    for key in ("boxes", "labels", "masks", "has_mask", "keypoints"):
        np.testing.assert_array_equal(together[key][0, len(beside)], alone[key][0, 0], err_msg=key)
