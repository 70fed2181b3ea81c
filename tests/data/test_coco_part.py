"""A subset chosen by the index is the subset that is chosen from the whole file, and only its entries are judged."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from maskrcnn.data.coco import load_coco
from maskrcnn.data.coco_index import open_index
from maskrcnn.data.coco_part import Reading, Wish, choose, file_names, inspect_choice, load_choice
from maskrcnn.data.records import Dataset
from maskrcnn.data.subset import Exclusions, select
from maskrcnn.errors import ProblemsError, UserError

NAMES = {1: "person", 3: "car", 7: "traïn", 90: "toothbrush"}
SIDE = 24


def document(num_images: int = 30, seed: int = 0) -> dict:
    """Images with none to five objects of four categories, some of them crowds; categories last, as COCO has them."""
    rng = np.random.default_rng(seed)
    images = [
        {"id": 100 + row, "file_name": f"{row:012d}.jpg", "height": SIDE, "width": SIDE} for row in range(num_images)
    ]
    annotations = []
    for image in images:
        for _ in range(rng.integers(0, 6)):
            x, y, size = rng.integers(1, 10), rng.integers(1, 10), rng.integers(3, 12)
            corners = [x, y, x + size, y, x + size, y + size, x, y + size]
            annotations.append(
                {
                    "id": 1000 + len(annotations),
                    "image_id": image["id"],
                    "category_id": int(rng.choice(list(NAMES), p=[0.6, 0.25, 0.1, 0.05])),
                    "segmentation": [[float(value) for value in corners]],
                    "bbox": [float(value) for value in (x, y, size, size)],
                    "area": float(size * size),
                    "iscrowd": 0,
                    "keypoints": [float(value) for value in (x + 1, y + 1, 2)],
                    "num_keypoints": 1,
                }
            )
            if rng.random() < 0.1:
                rle = {"size": [SIDE, SIDE], "counts": [30, 5, SIDE * SIDE - 35]}
                annotations[-1] |= {"iscrowd": 1, "segmentation": rle, "area": 5.0, "bbox": [1.0, 6.0, 1.0, 5.0]}
    rng.shuffle(annotations)
    categories = [{"id": number, "name": name, "keypoints": ["nose"]} for number, name in NAMES.items()]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def write(folder: Path, content: dict, **options: object) -> tuple[Path, Path]:
    """(annotation file, image folder) with a picture for each image."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for image in content["images"]:
        Image.new("RGB", (SIDE, SIDE), (90, 90, 90)).save(images / image["file_name"])
    path = folder / "instances.json"
    path.write_text(json.dumps(content, **options), encoding="utf-8")  # type: ignore[arg-type]
    return path, images


def by_index(folder: Path, path: Path, images: Path, wish: Wish, reading: Reading) -> tuple[Dataset, Exclusions]:
    index = open_index(path, folder / "cache")
    choice = choose(index, wish, reading, "part")
    return load_choice(index, choice, [images], wish, reading, "part")[0], choice.exclusions


WISHES = [
    Wish(),
    Wish(categories=["car"]),
    Wish(categories=["traïn", "90"], max_images=9, seed=3),
    Wish(max_images=11),
    Wish(max_images=7, min_area=40.0, seed=1),
    Wish(categories=["person", "toothbrush"], min_area=30.0, background=False),
    Wish(categories=["car", "traïn"], max_images=4, background=False, seed=5),
    Wish(max_images=300),
]


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("head", ["mask", "keypoint"])
@pytest.mark.parametrize("options", [{}, {"ensure_ascii": False, "indent": 2}], ids=["compact", "utf-8"])
def test_the_index_chooses_what_the_whole_file_would_give(tmp_path, wish, head, options):
    path, images = write(tmp_path, document(), **options)
    whole = load_coco(path, images, head=head, name="part")[0]
    expected, left_out = select(whole, **asdict(wish))
    found, exclusions = by_index(tmp_path, path, images, wish, Reading(head))
    assert found.digest == expected.digest
    assert [image.path for image in found.images] == [image.path for image in expected.images]
    assert [a.id for image in found.images for a in image.annotations] == [
        a.id for image in expected.images for a in image.annotations
    ]
    assert exclusions == left_out


WISH = st.builds(
    Wish,
    categories=st.none() | st.lists(st.sampled_from([*NAMES.values(), "3"]), min_size=1, unique=True),
    max_images=st.none() | st.integers(1, 40),
    min_area=st.sampled_from([0.0, 20.0, 60.0]),
    background=st.booleans(),
    seed=st.integers(0, 1000),
)


@settings(max_examples=25, deadline=None)
@given(wish=WISH, seed=st.integers(0, 50), head=st.sampled_from(["box", "mask", "mask_keypoint"]))
def test_any_wish_of_any_file_is_the_same_by_either_way(wish, seed, head):
    content = document(seed % 17 + 3, seed)
    assume(content["annotations"])
    with TemporaryDirectory() as folder:
        path, images = write(Path(folder), content)
        whole = load_coco(path, images, head=head, name="part")[0]
        expected, left_out = select(whole, **asdict(wish))
        index = open_index(path, Path(folder))
        choice = choose(index, wish, Reading(head), "part")
        assert choice.exclusions == left_out
        chosen = [int(index.image_ids[row]) for row in choice.images]
        assert chosen == [image.id for image in expected.images]
        assert by_index(Path(folder), path, images, wish, Reading(head))[0].digest == expected.digest


def test_only_the_files_of_the_chosen_images_are_needed(tmp_path):
    path, images = write(tmp_path, document())
    index = open_index(path, tmp_path / "cache")
    wish, reading = Wish(categories=["car"], max_images=5, background=False), Reading("mask")
    choice = choose(index, wish, reading, "part")
    needed = {name for name, _, _ in file_names(index, choice)}
    assert len(needed) == 5
    for picture in images.iterdir():
        if picture.name not in needed:
            picture.unlink()
    assert {
        image.file_name for image in load_choice(index, choice, [images], wish, reading, "part")[0].images
    } == needed


def test_images_may_lie_in_several_folders(tmp_path):
    path, images = write(tmp_path, document(6))
    other = tmp_path / "other"
    other.mkdir()
    for picture in sorted(images.iterdir())[::2]:
        picture.rename(other / picture.name)
    index = open_index(path, tmp_path / "cache")
    choice = choose(index, Wish(), Reading("mask"), "part")
    found = load_choice(index, choice, [images, other], Wish(), Reading("mask"), "part")[0]
    assert [Path(image.path).parent.name for image in found.images] == ["other", "images"] * 3


def test_a_few_images_without_labelled_joints_are_no_fault(tmp_path):
    content = document()
    for annotation in content["annotations"][1:]:
        annotation |= {"keypoints": [0, 0, 0], "num_keypoints": 0}
    path, images = write(tmp_path, content)
    assert len(by_index(tmp_path, path, images, Wish(max_images=2), Reading("keypoint"))[0]) == 2


def test_an_unknown_category_names_the_nearest(tmp_path):
    path, _ = write(tmp_path, document(3))
    with pytest.raises(UserError, match=r"unknown category 'tothbrush'; did you mean 'toothbrush'"):
        choose(open_index(path, tmp_path / "cache"), Wish(categories=["tothbrush"]), Reading("mask"), "part")


def spoil(content: dict, **changes: object) -> dict:
    content["annotations"][3] |= changes
    return content


FAULTS = {
    "unknown image": spoil(document(), image_id=5),
    "unknown category": spoil(document(), category_id=5),
    "duplicate annotation id": spoil(document(), id=document()["annotations"][10]["id"]),
    "broken annotation id": spoil(document(), id="x"),
    "broken box": spoil(document(), bbox=[1, 2, 3]),
    "broken area": spoil(document(), area=-1),
    "broken segmentation": spoil(document(), segmentation=[[1, 2]]),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_are_found_in_the_doctors_words(tmp_path, kind):
    path, images = write(tmp_path, FAULTS[kind])
    with pytest.raises(ProblemsError) as expected:
        load_coco(path, images, head="mask")
    with pytest.raises(ProblemsError) as found:
        by_index(tmp_path, path, images, Wish(), Reading("mask"))
    assert [str(problem) for problem in found.value.problems] == [str(p) for p in expected.value.problems]


@pytest.mark.parametrize("kind", FAULTS)
def test_dropping_leaves_out_exactly_the_faulty(tmp_path, kind):
    path, images = write(tmp_path, FAULTS[kind])
    expected = load_coco(path, images, head="mask", faults="drop")[0]
    assert by_index(tmp_path, path, images, Wish(), Reading("mask", "drop"))[0].digest == expected.digest


def test_a_fault_of_an_entry_that_is_not_chosen_does_not_matter(tmp_path):
    content = document()
    content["annotations"][3] |= {"category_id": 3, "segmentation": [[1, 2]]}
    path, images = write(tmp_path, content)
    wish = Wish(categories=["person"], max_images=10)
    assert len(by_index(tmp_path, path, images, wish, Reading("mask"))[0]) == 10


def test_a_faulty_image_entry_is_left_out_and_named(tmp_path):
    content = document()
    path, images = write(tmp_path, content)
    content["images"][4]["id"] = content["images"][3]["id"]
    del content["images"][5]["file_name"]
    path.write_text(json.dumps(content))
    with pytest.raises(ProblemsError, match=r"image 103 .*has the id of(.|\n)*image 105: has no file_name"):
        by_index(tmp_path, path, images, Wish(), Reading("mask"))
    expected = load_coco(path, images, head="mask", faults="drop")[0]
    assert by_index(tmp_path, path, images, Wish(), Reading("mask", "drop"))[0].digest == expected.digest


def test_a_picture_of_another_size_is_a_fault(tmp_path):
    path, images = write(tmp_path, document(4))
    Image.new("RGB", (9, 9)).save(images / f"{1:012d}.jpg")
    with pytest.raises(ProblemsError, match="the file is 9 x 9"):
        by_index(tmp_path, path, images, Wish(), Reading("mask"))


def test_the_doctor_decodes_what_was_chosen(tmp_path):
    path, images = write(tmp_path, document(4))
    picture = images / f"{2:012d}.jpg"
    picture.write_bytes(picture.read_bytes()[:-80])
    index = open_index(path, tmp_path / "cache")
    choice = choose(index, Wish(), Reading("mask"), "part")
    report = inspect_choice(index, choice, [images], Reading("mask"), decode_images=True, keep=False).report
    assert [fault.kind for fault in report.faults] == ["broken image"]


def test_an_area_that_the_file_does_not_tell_is_judged_when_it_is_known(tmp_path):
    content = document()
    for annotation in content["annotations"]:
        del annotation["area"]
    path, images = write(tmp_path, content)
    whole = load_coco(path, images, head="mask", name="part")[0]
    expected = select(whole, categories=None, max_images=None, min_area=40.0, seed=0)[0]
    assert by_index(tmp_path, path, images, Wish(min_area=40.0), Reading("mask"))[0].digest == expected.digest
