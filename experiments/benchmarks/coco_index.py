"""What the index of COCO's annotation file costs: seconds and peak memory of the first start and of later ones.

    PYTHONPATH=. python experiments/benchmarks/coco_index.py [megabytes=450] [folder=FOLDER] > results.jsonl

Writes a file of that size with COCO's own numbers (118,287 images, 860,001 annotations at 450 MB; polygons, some
crowds, categories last), then starts a process for each case and prints one JSON line for it. Wall and CPU seconds
count from the start of Python; peak memory is the process' largest resident set. Pictures are links to one file.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from maskrcnn.config.arguments import read_number, split_pairs

HEIGHT, WIDTH = 480, 640
IMAGES, ANNOTATIONS, MEGABYTES = 118_287, 860_001, 450
SHAPES = 4096
"""Different outlines; each annotation has one of them."""
CROWDS = 0.012
PROGRAM = Path(__file__).resolve()


def main(arguments: list[str]) -> None:
    """Make the file, then measure each case in a process of its own."""
    if arguments[:1] == ["--case"]:
        run_case(arguments[1], Path(arguments[2]))
        return
    pairs, _ = split_pairs(arguments, ("megabytes", "folder"))
    megabytes = read_number(pairs, "megabytes", MEGABYTES, low=1, high=10_000)
    with tempfile.TemporaryDirectory(dir=pairs.get("folder")) as text:
        folder = Path(text)
        start = time.perf_counter()
        path = folder / "instances_train2017.json"
        write_file(path, megabytes / MEGABYTES)
        show("generate", time.perf_counter() - start, bytes=path.stat().st_size)
        for case in CASES:
            measure(case, folder)


def show(case: str, seconds: float, **figures: float) -> None:
    """One JSON line."""
    print(json.dumps({"case": case, "wall_s": round(seconds, 2), **figures}), flush=True)


def write_file(path: Path, scale: float) -> None:
    """A file with COCO's layout; `scale` 1 has COCO's numbers."""
    rng = np.random.default_rng(0)
    num_images, num_annotations = max(1, round(IMAGES * scale)), round(ANNOTATIONS * scale)
    with path.open("w", encoding="ascii") as file:
        file.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        for row in range(num_images):
            file.write(", " * (row > 0) + image_entry(row))
        file.write('], "annotations": [')
        for row, entry in enumerate(annotation_entries(num_annotations, num_images, rng)):
            file.write(", " * (row > 0) + entry)
        categories = [{"supercategory": "thing", "id": number, "name": f"thing {number}"} for number in range(1, 81)]
        file.write(f'], "categories": {json.dumps(categories)}}}')


def image_entry(row: int) -> str:
    """As long as COCO's own."""
    name = f"{row:012d}.jpg"
    return (
        f'{{"license": 3, "file_name": "{name}", "coco_url": "http://images.cocodataset.org/train2017/{name}", '
        f'"height": {HEIGHT}, "width": {WIDTH}, "date_captured": "2013-11-14 11:18:45", '
        f'"flickr_url": "http://farm9.staticflickr.com/8186/{row:010d}_42b4a6f2bd_z.jpg", "id": {row}}}'
    )


def annotation_entries(count: int, num_images: int, rng: np.random.Generator) -> Iterator[str]:
    """Annotations in random order of the images, as in COCO; a third are of the first category."""
    shapes = [shape(rng) for _ in range(SHAPES)]
    owners = rng.integers(0, num_images, count).tolist()
    kinds = np.where(rng.random(count) < 0.31, 1, rng.integers(2, 81, count)).tolist()
    chosen = rng.integers(0, SHAPES, count).tolist()
    crowds = (rng.random(count) < CROWDS).tolist()
    runs = f'{{"counts": [{HEIGHT * WIDTH // 2}, 100, {HEIGHT * WIDTH - HEIGHT * WIDTH // 2 - 100}], '
    runs += f'"size": [{HEIGHT}, {WIDTH}]}}'
    for row in range(count):
        outline, area, box = shapes[chosen[row]]
        if crowds[row]:
            outline, area, box = runs, "100.0", f"[{WIDTH // 2}, 0, 1, 100]"
        yield (
            f'{{"segmentation": {outline}, "area": {area}, "iscrowd": {int(crowds[row])}, "image_id": {owners[row]}, '
            f'"bbox": {box}, "category_id": {kinds[row]}, "id": {row + 1}}}'
        )


def shape(rng: np.random.Generator) -> tuple[str, str, str]:
    """(segmentation, area, box) of an outline around a point, as JSON text; about as many points as COCO's have."""
    count = int(rng.gamma(2.0, 8.0)) + 8
    radius = float(np.exp(rng.uniform(np.log(8), np.log(180))))
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    radii = radius * rng.uniform(0.6, 1.0, count)
    xs = (rng.uniform(190, WIDTH - 190) + radii * np.cos(angles)).round(2)
    ys = (rng.uniform(190, HEIGHT - 190) + radii * np.sin(angles)).round(2)
    area = 0.5 * abs(float(np.dot(xs, np.roll(ys, -1)) - np.dot(ys, np.roll(xs, -1))))
    points = np.stack([xs, ys], axis=1).ravel().tolist()
    box = [xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min()]
    return json.dumps([points]), f"{area:.4f}", json.dumps([round(float(side), 2) for side in box])


def measure(case: str, folder: Path) -> None:
    """One case in a process of its own."""
    start = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, str(PROGRAM), "--case", case, str(folder)], check=True, capture_output=True, text=True
    )
    show(case, time.perf_counter() - start, **json.loads(answer.stdout))


def run_case(case: str, folder: Path) -> None:
    """Do it, then tell CPU seconds and peak memory."""
    figures = CASES[case](folder)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures["cpu_s"] = round(usage.ru_utime + usage.ru_stime, 2)
    figures["peak_mib"] = round(usage.ru_maxrss / 1024)
    print(json.dumps(figures))


def start_with_index(folder: Path) -> dict[str, float]:
    """The index alone: made at the first start, read at later ones."""
    from maskrcnn.data.coco_index import index_file, open_index

    path = folder / "instances_train2017.json"
    index = open_index(path, folder)
    return {"annotations": len(index.annotation_areas), "index_bytes": index_file(path, folder).stat().st_size}


def load_subset(folder: Path, count: int) -> dict[str, float]:
    """A later start with a data set of `count` images of one category at the end, links to pictures included."""
    from maskrcnn.data.coco_index import open_index
    from maskrcnn.data.coco_part import Reading, Wish, choose, file_names, load_choice

    index = open_index(folder / "instances_train2017.json", folder)
    wish, reading = Wish(categories=["thing 1"], max_images=count, background=False), Reading("mask")
    choice = choose(index, wish, reading, "train")
    images = folder / "images"
    link_pictures(images, [name for name, _, _ in file_names(index, choice)])
    dataset = load_choice(index, choice, [images], wish, reading, "train")[0]
    return {"images": len(dataset), "annotations": sum(len(image.annotations) for image in dataset.images)}


def link_pictures(folder: Path, names: list[str]) -> None:
    """Hard links, many to one file."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    picture = folder / "picture.jpg"
    if not picture.exists():
        Image.new("RGB", (WIDTH, HEIGHT)).save(picture)
    for name in names:
        if not (folder / name).exists():
            os.link(picture, folder / name)


def parse_whole(folder: Path) -> dict[str, float]:
    """What `json.load` alone costs, which pycocotools begins with."""
    with (folder / "instances_train2017.json").open() as file:
        return {"annotations": len(json.load(file)["annotations"])}


CASES = {
    "first start: index": start_with_index,
    "later start: index": start_with_index,
    "later start: 500 images": lambda folder: load_subset(folder, 500),
    "later start: 2,000 images": lambda folder: load_subset(folder, 2000),
    "later start: 8,000 images": lambda folder: load_subset(folder, 8000),
    "for comparison: json.load": parse_whole,
}

if __name__ == "__main__":
    main(sys.argv[1:])
