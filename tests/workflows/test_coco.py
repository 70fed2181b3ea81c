"""COCO from a folder as it is, or from a server; what is fetched is what was chosen."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn import check
from maskrcnn.config.compose import compose
from maskrcnn.config.validate import validate, validate_evaluation
from maskrcnn.downloads import CATEGORIES, transfer
from maskrcnn.errors import UserError
from maskrcnn.workflows.coco import coco_part
from maskrcnn.workflows.datasets import load_data, load_test

COUNTS = {"train2017": 40, "val2017": 12}
SIDE = 32


def split(name: str, count: int, seed: int) -> tuple[dict, dict[str, bytes]]:
    """An annotation file of this many images (every fourth without objects), and its pictures by file name."""
    rng = np.random.default_rng(seed)
    prefix = f"COCO_{name}_" if "2014" in name else ""
    images = [{"id": k, "file_name": f"{prefix}{k:012d}.jpg", "height": SIDE, "width": SIDE} for k in range(count)]
    annotations = [
        {
            "id": 10 * image["id"] + k,
            "image_id": image["id"],
            "category_id": int(rng.choice([1, 3, 17, 18, 44])),
            "bbox": [2, 2, 9, 9],
            "area": 81.0,
            "iscrowd": 0,
            "segmentation": [[2, 2, 11, 2, 11, 11, 2, 11]],
            "keypoints": [4, 4, 2] * 17,
            "num_keypoints": 17,
        }
        for image in images
        if image["id"] % 4
        for k in range(rng.integers(1, 4))
    ]
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (90, 99, 90)).save(file, "JPEG")
    categories = [{"id": number, "name": name, "supercategory": ""} for number, name in CATEGORIES.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return content, {image["file_name"]: file.getvalue() for image in images}


def persons(content: dict) -> dict:
    joints = [f"joint {k}" for k in range(17)]
    person = {"id": 1, "name": "person", "keypoints": joints, "skeleton": []}
    return content | {
        "annotations": [a for a in content["annotations"] if a["category_id"] == 1],
        "categories": [person],
    }


def lay_out(folder: Path, year: int = 2017) -> Path:
    """A whole small COCO as its folders lie on a disk."""
    (folder / "annotations").mkdir(parents=True)
    for seed, part in enumerate(("train", "val")):
        name = f"{part}{year}"
        content, pictures = split(name, COUNTS[f"{part}2017"], seed)
        (folder / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
        (folder / "annotations" / f"person_keypoints_{name}.json").write_text(json.dumps(persons(content)))
        (folder / name).mkdir()
        for file_name, data in pictures.items():
            (folder / name / file_name).write_bytes(data)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "pause", lambda seconds: None)
    return tmp_path / "cache"


class Server(ThreadingHTTPServer):
    """COCO as its server shows it; notes what was asked."""

    def __init__(self, folder: Path, year: int = 2017) -> None:
        lay_out(folder, year)
        packed = folder / "annotations" / f"annotations_trainval{year}.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in (folder / "annotations").glob("*.json"):
                archive.write(path, f"annotations/{path.name}")
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.folder = folder
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "web")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def offline(root: Path, *overrides: str) -> list[str]:
    return [f"dataset.root={root}", "dataset.url=http://127.0.0.1:9/", *overrides]


def online(server: Server, tmp_path: Path, *overrides: str) -> list[str]:
    return [f"dataset.root={tmp_path}/data", f"dataset.url={server.url}", *overrides]


def mirror(cache: Path) -> Path:
    """The folder of the one server that was asked."""
    return next(cache.glob("coco-????????????"), cache / "none")


def pictures(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.jpg")) if folder.exists() else []


@pytest.mark.parametrize("layout", ["", "coco"])
def test_an_existing_folder_is_used_as_it_is(tmp_path, cache, layout):
    root = lay_out(tmp_path / "root" / layout)
    before = sorted(root.rglob("*"))
    data = load_data(compose(["dataset=coco", *offline(tmp_path / "root")]))
    assert len(data.train) + len(data.val) == 30
    assert len(data.test) == 12
    assert sorted(root.rglob("*")) == before
    assert [path.name for path in cache.iterdir()] == ["coco-index"]


def test_images_may_lie_in_a_folder_of_that_name(tmp_path, cache):
    root = lay_out(tmp_path / "root")
    (root / "images").mkdir()
    for name in COUNTS:
        (root / name).rename(root / "images" / name)
    assert len(load_test(compose(["dataset=coco", *offline(root)]))) == 12


def test_training_leaves_out_images_without_the_chosen_and_says_so(tmp_path, cache):
    root = lay_out(tmp_path / "root")
    data = load_data(compose(["dataset=coco", *offline(root, "dataset.categories=[car]", "dataset.val.fraction=0")]))
    content = json.loads((root / "annotations" / "instances_train2017.json").read_text())
    with_cars = {a["image_id"] for a in content["annotations"] if a["category_id"] == 3}
    assert {image.id for image in data.train.images} == with_cars
    assert len(data.test) == 12
    notes = "\n".join(data.samples.notes)
    assert f"train: left out {40 - len(with_cars)} images without an object of these categories." in notes
    assert "instances of other categories" in notes


def test_only_what_was_chosen_is_fetched(server, tmp_path, cache):
    line = online(server, tmp_path, "dataset.max_train_images=6", "dataset.max_test_images=3")
    data = load_data(compose(["dataset=coco_animals", *line]))
    chosen = sorted(image.file_name for image in [*data.train.images, *data.val.images])
    assert len(chosen) == 6
    assert data.train.category_names[1:3] == ("cat", "dog")
    assert pictures(mirror(cache) / "train2017") == chosen
    assert pictures(mirror(cache) / "val2017") == sorted(image.file_name for image in data.test.images)
    assert len(server.asked) == 1 + 6 + 3
    again = load_data(compose(["dataset=coco_animals", *line]))
    assert len(server.asked) == 10
    assert again.train.digest == data.train.digest


def test_a_larger_subset_fetches_the_difference(server, tmp_path, cache):
    needed: set[str] = set()
    for count in (3, 3, 8):
        line = online(server, tmp_path, f"dataset.max_train_images={count}", "dataset.categories=[person]")
        part = coco_part(compose(["dataset=coco", *line]), "train").load()[0]
        assert len(part) == count
        needed |= {image.file_name for image in part.images}
        assert len(server.asked) == 1 + len(needed)


def test_what_an_existing_folder_lacks_is_fetched_beside_it(server, tmp_path, cache):
    root = lay_out(tmp_path / "root")
    for name in pictures(root / "val2017")[:5]:
        (root / "val2017" / name).unlink()
    test = load_test(compose(["dataset=coco", f"dataset.root={root}", f"dataset.url={server.url}"]))
    assert len(test) == 12
    assert len(pictures(mirror(cache) / "val2017")) == 5
    assert len(pictures(root / "val2017")) == 7
    assert len(server.asked) == 5


def test_evaluation_needs_no_training_images(server, tmp_path, cache):
    config = compose(["dataset=coco", *online(server, tmp_path)])
    assert not validate_evaluation(config)
    assert len(load_test(config)) == 12
    assert not (mirror(cache) / "train2017").exists()


def test_a_head_with_joints_reads_the_file_of_persons(server, tmp_path, cache):
    data = load_data(compose(["dataset=coco_person", "head=keypoint", *online(server, tmp_path)]))
    assert data.train.category_names == ("person",)
    assert data.train.schema is not None
    assert len(data.train.schema) == 17
    assert (mirror(cache) / "annotations" / "person_keypoints_train2017.json").exists()


def test_the_older_division_has_names_of_its_own(tmp_path, cache):
    root = lay_out(tmp_path / "root", 2014)
    test = load_test(compose(["dataset=coco", "dataset.year=2014", *offline(root)]))
    assert test.images[0].file_name == "COCO_val2014_000000000000.jpg"


def test_without_a_network_one_line_says_what_could_not_be_had(tmp_path, cache):
    with pytest.raises(UserError) as caught:
        load_data(compose(["dataset=coco_person", *offline(tmp_path)]))
    line = str(caught.value)
    assert "\n" not in line
    assert "http://127.0.0.1:9/annotations/annotations_trainval2017.zip: cannot be fetched" in line


def test_a_misspelt_category_is_told_before_anything_is_fetched(server, tmp_path, cache):
    with pytest.raises(UserError, match="unknown category 'girafe'; did you mean 'giraffe'"):
        load_data(compose(["dataset=coco", *online(server, tmp_path, "dataset.categories=[girafe]")]))
    assert server.asked == []


def test_other_categories_than_persons_have_no_joints(server, tmp_path, cache):
    with pytest.raises(UserError, match="unknown category 'bicycle'"):
        load_data(compose(["dataset=coco_vehicles", "head=keypoint", *online(server, tmp_path)]))


def test_a_picture_of_another_size_is_not_taken(server, tmp_path, cache):
    Image.new("RGB", (9, 9)).save(server.folder / "val2017" / f"{3:012d}.jpg")
    with pytest.raises(UserError, match=r"3\.jpg: does not arrive whole: is a picture of 9 x 9, expected 32 x 32"):
        load_test(compose(["dataset=coco", *online(server, tmp_path)]))
    assert f"{3:012d}.jpg" not in pictures(mirror(cache) / "val2017")


def test_a_web_page_in_place_of_an_archive_is_said(server, tmp_path, cache):
    packed = server.folder / "annotations" / "annotations_trainval2017.zip"
    packed.write_text("<html>Please log in</html>")
    with pytest.raises(UserError, match="cannot be unpacked"):
        load_test(compose(["dataset=coco", *online(server, tmp_path)]))


def test_names_that_lead_out_of_the_folder_are_neither_fetched_nor_read(server, tmp_path, cache):
    path = server.folder / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = "../../../secret.jpg"
    path.write_text(json.dumps(content))
    with zipfile.ZipFile(server.folder / "annotations" / "annotations_trainval2017.zip", "w") as archive:
        archive.write(path, f"annotations/{path.name}")
    with pytest.raises(UserError, match=r"secret\.jpg.*(missing|outside)"):
        load_test(compose(["dataset=coco", *online(server, tmp_path)]))
    assert not [path for path in server.asked if "secret" in path]


def test_the_doctor_examines_what_a_run_would_use(server, tmp_path, cache, capsys):
    line = ["dataset=coco_kitchen", "task=segmentation", *online(server, tmp_path, "dataset.max_test_images=4")]
    assert check.main(line) == 0
    printed = capsys.readouterr().out
    assert printed.count("0 faults") == 2
    assert "left out" in printed
    broken = mirror(cache) / "val2017" / pictures(mirror(cache) / "val2017")[0]
    broken.write_bytes(broken.read_bytes()[:-60])
    assert check.main(line) == 1
    assert "broken image" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("dataset.year=2015", "dataset.year=2015: is no year of COCO; known: 2014, 2017"),
        ("dataset.year=2018", "dataset.year=2018: 2018 is not"),
        ("dataset.url=ftp://host", "is no address on the web"),
        ("dataset.url=host/coco", "is no address on the web"),
        ("dataset.train.annotations=a.json", "dataset=coco finds its files itself; add dataset=coco_json"),
    ],
)
def test_contradictions_are_found_before_anything_starts(override, words):
    config = compose(["dataset=coco", override])
    assert any(words in str(problem) for problem in validate(config))
