"""Reading and writing COCO files, on data sets of the shapes that exporters write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from maskrcnn.data import rle
from maskrcnn.data.coco import load_coco, to_coco, write_coco
from maskrcnn.errors import ProblemsError, UserError

SQUARE = [[4, 5, 16, 5, 16, 21, 4, 21]]


def _write(folder: Path, annotations: list[dict], categories: list[dict], num_images: int = 2) -> Path:
    images = []
    for number in range(num_images):
        Image.new("RGB", (40, 30)).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 30, "width": 40})
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def _annotation(number: int, image: int, category: int, **values: object) -> dict:
    box = {"bbox": [4, 5, 12, 16], "area": 192, "iscrowd": 0, "segmentation": SQUARE}
    return {"id": number, "image_id": image, "category_id": category, **box, **values}


PERSON = {"id": 90, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"], "skeleton": [[1, 2], [1, 3]]}
CAT = {"id": 17, "name": "cat", "supercategory": "animal"}
JOINTS = {"keypoints": [8, 6, 2, 6, 7, 1, 0, 0, 0], "num_keypoints": 2}


@pytest.fixture
def source(tmp_path):
    annotations = [
        _annotation(0, 0, 90, **JOINTS),
        _annotation(5, 1, 17),
        _annotation(7, 1, 90, iscrowd=True, **JOINTS),
    ]
    return _write(tmp_path, annotations, [PERSON, CAT])


def test_labels_follow_the_order_of_category_ids(source):
    dataset, _ = load_coco(source, source.parent, head="mask")
    assert dataset.category_names == ("cat", "person")
    assert [a.label for image in dataset.images for a in image.annotations] == [2, 1, 2]


def test_records_hold_corners_masks_and_joints(source):
    dataset, report = load_coco(source, source.parent, head="mask_keypoint", name="tiny")
    first = dataset.images[0].annotations[0]
    assert dataset.name == "tiny"
    assert first.box == (4.0, 5.0, 16.0, 21.0)
    assert first.segmentation[0].dtype == np.float64
    assert np.array_equal(first.keypoints, np.array([[8, 6, 2], [6, 7, 1], [0, 0, 0]], np.float32))
    assert [a.is_crowd for a in dataset.images[1].annotations] == [False, True]
    assert Path(dataset.images[1].path) == source.parent / "1.png"
    assert report.counts["annotations"] == 3


def test_keypoint_head_keeps_only_categories_with_joints(source):
    dataset, _ = load_coco(source, source.parent, head="keypoint")
    assert dataset.category_names == ("person",)
    assert len(dataset) == 2
    assert dataset.schema.flip_pairs == ((1, 2),)
    assert dataset.schema.skeleton == ((0, 1), (0, 2))


@pytest.mark.parametrize("head", ["mask", "box"])
def test_heads_without_keypoints_have_no_schema(source, head):
    assert load_coco(source, source.parent, head=head)[0].schema is None


def test_faults_are_refused_with_their_names_and_a_hint(tmp_path):
    annotations = [_annotation(number, 0, 17, bbox=[1, 1, -1, 1]) for number in range(60)]
    path = _write(tmp_path, annotations, [CAT])
    with pytest.raises(ProblemsError) as caught:
        load_coco(path, tmp_path, head="mask")
    lines = str(caught.value).splitlines()
    assert len(lines) == 51
    assert "annotation 49 " in lines[49]
    assert "60 faults" in lines[-1]
    assert "dataset.faults=drop" in lines[-1]


def test_dropping_leaves_out_exactly_the_faulty_items(tmp_path):
    annotations = [
        _annotation(1, 0, 17),
        _annotation(2, 0, 17, bbox=[1, 1, -1, 1]),
        _annotation(3, 1, 17),
        _annotation(4, 2, 17),
    ]
    path = _write(tmp_path, annotations, [CAT], num_images=3)
    (tmp_path / "1.png").write_bytes(b"broken")
    dataset, report = load_coco(path, tmp_path, head="mask", faults="drop")
    assert [[a.id for a in image.annotations] for image in dataset.images] == [[1], [4]]
    assert report.counts["images dropped"] == 1
    assert report.counts["annotations dropped"] == 2
    assert len(report.faults) == 2


def test_dropping_everything_is_refused(tmp_path):
    path = _write(tmp_path, [_annotation(1, 0, 17, bbox=None)], [CAT])
    with pytest.raises(ProblemsError):
        load_coco(path, tmp_path, head="mask", faults="drop")


def test_missing_area_is_that_of_the_mask_or_of_the_box(tmp_path):
    triangle = _annotation(1, 0, 17, segmentation=[[0, 0, 10, 0, 0, 10]], bbox=[0, 0, 10, 10])
    del triangle["area"]
    path = _write(tmp_path, [triangle], [CAT])
    # golden/pycocotools_observed.json, poly_triangle_area: raster 45
    assert load_coco(path, tmp_path, head="mask")[0].images[0].annotations[0].area == 45
    triangle["segmentation"] = []
    path = _write(tmp_path, [triangle], [CAT])
    assert load_coco(path, tmp_path, head="box")[0].images[0].annotations[0].area == 100


def test_written_file_is_what_pycocotools_asks_for(source):
    dataset, _ = load_coco(source, source.parent, head="mask_keypoint")
    path = source.parent / "deep" / "er.json"
    write_coco(dataset, path)
    coco = COCO(str(path))
    assert coco.getAnnIds() == [1, 2, 3]
    assert coco.getCatIds() == [17, 90]
    assert coco.getImgIds() == [0, 1]
    for annotation in coco.loadAnns([1, 2, 3]):
        assert {"area", "iscrowd", "num_keypoints", "bbox", "segmentation"} <= set(annotation)
        assert annotation["bbox"] == [4, 5, 12, 16]
        assert coco.annToMask(annotation).sum() == 192
    assert coco.loadCats(90)[0]["skeleton"] == [[1, 2], [1, 3]]


def test_writing_and_reading_again_keeps_the_content(source):
    dataset, _ = load_coco(source, source.parent, head="mask_keypoint")
    write_coco(dataset, source.with_name("again.json"))
    assert load_coco(source.with_name("again.json"), source.parent, head="mask_keypoint")[0].digest == dataset.digest


def test_run_length_codes_are_written_as_text(tmp_path):
    code = rle.polygons_to_rle(SQUARE, 30, 40)
    plain = {"size": code["size"], "counts": rle.runs(code).tolist()}
    path = _write(tmp_path, [_annotation(1, 0, 17, segmentation=plain)], [CAT])
    entry = to_coco(load_coco(path, tmp_path, head="mask")[0])["annotations"][0]
    assert entry["segmentation"] == {"size": [30, 40], "counts": code["counts"].decode()}


def test_file_that_cannot_be_written_is_the_users_error(source):
    dataset, _ = load_coco(source, source.parent, head="mask")
    with pytest.raises(UserError, match="cannot be written"):
        write_coco(dataset, source / "below-a-file.json")


SHARED = Path(__file__).resolve().parents[2] / "../shared/data/coco"

REAL = {
    # file: head, images, annotations, crowds (README of the data)
    "person_val.json": ("mask_keypoint", 200, 697, 18),
    "instances_val.json": ("mask", 100, 860, 12),
    "instances_rle_val.json": ("mask", 69, 520, 2),
}


@pytest.mark.parametrize("name", REAL)
def test_real_coco_files_have_no_fault(name):
    if not SHARED.exists():
        pytest.skip("needs ../shared/data/coco")
    head, images, annotations, crowds = REAL[name]
    dataset, report = load_coco(SHARED / name, SHARED / "images", head=head)
    found = [a for image in dataset.images for a in image.annotations]
    assert (len(dataset), len(found), sum(a.is_crowd for a in found)) == (images, annotations, crowds)
    assert not report.faults


QUIRKS = {
    "roboflow_boxes/annotations.json": "box",
    "two_point_keypoints/keypoints_val.json": "keypoint",
    "animal_keypoints/animalpose/annotations.json": "keypoint",
    "animal_keypoints/macaque/annotations.json": "mask_keypoint",
    "animal_keypoints/horse10/annotations.json": "keypoint",
    "animal_keypoints/ap10k/annotations.json": "keypoint",
    "animal_keypoints/atrw/annotations.json": "keypoint",
}


@pytest.mark.parametrize("name", QUIRKS)
def test_exports_of_other_tools_have_no_fault(name):
    path = SHARED / "quirks" / name
    if not path.exists():
        pytest.skip("needs ../shared/data/coco/quirks")
    dataset, report = load_coco(path, path.parent / "images", head=QUIRKS[name])
    assert not report.faults
    assert len(dataset) == report.counts["images"]
    if dataset.schema:
        assert len(dataset.schema) == len(dataset.images[0].annotations[0].keypoints)
