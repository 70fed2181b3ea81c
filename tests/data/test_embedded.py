"""The embedded data set: the same for any number of processes, drawn once, repaired when broken."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskrcnn.data import embedded, embedded_files, rle
from maskrcnn.data.coco import load_coco
from maskrcnn.data.embedded import is_complete, load_embedded
from maskrcnn.data.records import Dataset
from maskrcnn.errors import UserError
from maskrcnn.structures import COCO_PERSON


def load(cache: Path, **changes) -> tuple[Dataset, Dataset]:
    sizes = {"train_images": 40, "test_images": 10, "image_size": 64, "seed": 1} | changes
    return load_embedded(**sizes, cache=cache)


def files_of(cache: Path) -> dict[str, bytes]:
    (folder,) = [path for path in (cache / "embedded").iterdir() if path.is_dir()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    load(folder)
    return folder


def test_one_and_two_processes_write_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded_files, "_IMAGES_PER_PROCESS", 10)
    load(tmp_path / "one", processes=1)
    load(tmp_path / "two", processes=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_parts_have_their_sizes_categories_and_schema(cache):
    train, test = load(cache)
    assert (len(train), len(test)) == (40, 10)
    assert train.category_names == test.category_names == ("person", "circle", "square", "triangle")
    assert train.schema == COCO_PERSON
    assert train.categories[0].keypoints == COCO_PERSON.names


def test_test_images_do_not_depend_on_the_number_of_training_images(cache, tmp_path):
    _, test = load(tmp_path, train_images=5)
    assert test.digest == load(cache)[1].digest


def test_records_agree_with_their_masks(cache):
    for image in load(cache)[0].images:
        for item in image.annotations:
            bitmap = rle.segmentation_to_bitmap(item.segmentation, image.height, image.width)
            rows, columns = np.nonzero(bitmap)
            assert item.area == bitmap.sum()
            assert item.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert item.keypoints is None or item.keypoints.shape == (17, 3)


def test_crowds_are_plain_runs_and_objects_compressed_in_the_file(tmp_path):
    load(tmp_path, train_images=80)
    entries = json.loads(files_of(tmp_path)["train.json"])["annotations"]
    assert {(item["iscrowd"], type(item["segmentation"]["counts"])) for item in entries} == {(1, list), (0, str)}


def test_the_reader_of_coco_files_finds_no_fault_and_the_same_content(cache):
    for part in load(cache):
        folder = Path(part.images[0].path).parents[1]
        again, report = load_coco(folder / f"{part.name.split()[-1]}.json", folder, head="mask_keypoint")
        assert report.faults == ()
        assert again.digest == part.digest


def test_image_files_have_the_recorded_size(cache):
    image = load(cache)[0].images[0]
    assert cv2.imread(image.path).shape == (image.height, image.width, 3)


def test_a_second_load_draws_nothing(cache, monkeypatch):
    monkeypatch.setattr(embedded, "write_embedded", lambda *_: pytest.fail("drawn again"))
    load(cache)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "train.json").write_text("{}"),
        lambda folder: (folder / "test/000001.png").unlink(),
        lambda folder: (folder / "train/000003.png").write_bytes(b"\x89PNG"),
        lambda folder: _blank(folder / "train/000002.png"),
        lambda folder: (folder / "manifest.json").write_text("[]"),
    ],
    ids=["no manifest", "other annotations", "image gone", "image cut", "image blanked", "odd manifest"],
)
def test_a_broken_cache_is_drawn_again(tmp_path, damage):
    load(tmp_path, train_images=4, test_images=2)
    before = files_of(tmp_path)
    (folder,) = [path for path in (tmp_path / "embedded").iterdir() if path.is_dir()]
    damage(folder)
    assert not is_complete(folder)
    load(tmp_path, train_images=4, test_images=2)
    assert files_of(tmp_path) == before


def _blank(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def test_nothing_is_left_beside_the_data_even_after_a_killed_process(tmp_path):
    load(tmp_path, train_images=4, test_images=2)
    (folder,) = [path for path in (tmp_path / "embedded").iterdir() if path.is_dir()]
    (folder / "manifest.json").unlink()
    (folder.parent / f".new-{folder.name}-killed" / "fresh").mkdir(parents=True)
    load(tmp_path, train_images=4, test_images=2)
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, f"{folder.name}.lock"]


def test_two_starts_at_once_both_end_with_the_whole_set(tmp_path):
    code = (
        "from pathlib import Path; import sys; from maskrcnn.data.embedded import load_embedded;"
        "print(load_embedded(train_images=30, test_images=5, image_size=64, seed=0, cache=Path(sys.argv[1]))[0].digest)"
    )
    starts = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [start.communicate(timeout=120)[0] for start in starts]
    assert answers[0] == answers[1] != ""


@pytest.mark.parametrize(
    ("key", "value"), [("train_images", 0), ("test_images", 0), ("image_size", 8), ("image_size", 10**6), ("seed", -1)]
)
def test_numbers_out_of_range_are_refused_by_name(tmp_path, key, value):
    with pytest.raises(UserError, match=rf"dataset\.embedded\.{key}: {value} is out of range"):
        load(tmp_path, **{key: value})


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="MASKRCNN_CACHE"):
        load(tmp_path / "file")


def test_a_process_that_dies_is_reported_with_its_last_words(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded_files, "_IMAGES_PER_PROCESS", 10)
    real = embedded_files._start_child

    def start_with_bad_folder(parameters, folder, *rest):
        return real(parameters, folder / "absent", *rest)

    monkeypatch.setattr(embedded_files, "_start_child", start_with_bad_folder)
    with pytest.raises(UserError, match="drawing the embedded images failed: FileNotFoundError"):
        load(tmp_path, processes=2)
    assert not [path for path in (tmp_path / "embedded").iterdir() if path.is_dir()]


def test_the_files_are_coco_json(cache):
    content = json.loads(files_of(cache)["test.json"])
    assert {"images", "annotations", "categories"} <= set(content)
    for entry in content["annotations"]:
        assert {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"} <= set(entry)
        assert ("keypoints" in entry) == (entry["category_id"] == 1) == ("num_keypoints" in entry)
