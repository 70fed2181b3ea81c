"""Writes the embedded data set as PNG files and COCO JSON, by as many processes as there are free cores.

Each process draws every n-th image and leaves its annotations in a shard; the shards are then put in order, so that
the files are the same for any number of processes. The processes are plain children (`python -m` this module) that
answer one byte for each image: nothing of the caller's program is imported again, and nothing is forked.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskrcnn.data import rle
from maskrcnn.data.scenes import CATEGORIES, SCENE_VERSION, SPLITS, Scene, SceneObject, SceneSettings, render_scene
from maskrcnn.progress import ProgressLine
from maskrcnn.structures import COCO_PERSON

FILES_VERSION = 1
"""Changes with the form of the files."""

_IMAGES_PER_PROCESS = 64  # fewer are drawn faster than a process starts
_PNG_COMPRESSION = 1  # noise does not compress: higher levels only cost time


@dataclass(frozen=True)
class EmbeddedParameters:
    """What decides the content of an embedded data set."""

    train_images: int
    test_images: int
    image_size: int
    seed: int
    scenes: SceneSettings = field(default_factory=SceneSettings)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the parameters and the versions of the code that draws and writes."""
        state = json.dumps([asdict(self), SCENE_VERSION, FILES_VERSION], sort_keys=True)
        return hashlib.sha256(state.encode("ascii")).hexdigest()

    @property
    def jobs(self) -> list[tuple[str, int]]:
        """(split, index) of every image."""
        counts = zip(SPLITS, (self.train_images, self.test_images), strict=True)
        return [(split, index) for split, count in counts for index in range(count)]


class DrawingError(RuntimeError):
    """A process that draws images ended early; the message holds what it said last."""


def write_embedded(parameters: EmbeddedParameters, folder: Path, processes: int) -> None:
    """Write `train/`, `test/`, `train.json` and `test.json` into the existing folder.

    Raises OSError when the disk does not take them, DrawingError when a process dies.
    """
    for split in SPLITS:
        (folder / split).mkdir()
    total = len(parameters.jobs)
    processes = max(1, min(processes, total // _IMAGES_PER_PROCESS))
    with ProgressLine(total, f"drawing {total} embedded images") as line:
        if processes == 1:
            for _ in _draw_shard(parameters, folder, 0, 1):
                line.update()
        else:
            _draw_in_children(parameters, folder, processes, line)
    _join_shards(parameters, folder, processes)


def image_path(split: str, index: int) -> str:
    """Path of an image in the data set's folder, with forward slashes."""
    return f"{split}/{index + 1:06d}.png"


def _draw_shard(parameters: EmbeddedParameters, folder: Path, shard: int, shards: int) -> Iterator[int]:
    """Draw every `shards`-th image from `shard` on; yields after each, and leaves the annotations in a JSON file."""
    entries = []
    for split, index in parameters.jobs[shard::shards]:
        scene = render_scene(
            parameters.scenes, image_size=parameters.image_size, seed=parameters.seed, split=split, index=index
        )
        _, data = cv2.imencode(".png", scene.image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION])
        (folder / image_path(split, index)).write_bytes(data.tobytes())
        entries.append([split, index, _scene_entries(scene)])
        yield index
    (folder / f"shard-{shard}.json").write_text(json.dumps(entries), encoding="ascii")


def _scene_entries(scene: Scene) -> list[dict[str, Any]]:
    return [_object_entry(item) for item in scene.objects]


def _object_entry(item: SceneObject) -> dict[str, Any]:
    """An object in COCO's form, without its ids; `visible_fraction` is ours and ignored by other readers."""
    x1, y1, x2, y2 = item.box
    entry: dict[str, Any] = {
        "category_id": CATEGORIES.index(item.category) + 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": int(item.mask.sum()),
        "iscrowd": int(item.is_crowd),
        "segmentation": _segmentation(item),
        "visible_fraction": round(item.visible_fraction, 4),
    }
    if item.category == "person":
        keypoints = np.zeros((len(COCO_PERSON), 3)) if item.keypoints is None else item.keypoints
        entry["keypoints"] = [int(value) if value == int(value) else value for value in keypoints.ravel().tolist()]
        entry["num_keypoints"] = int((keypoints[:, 2] > 0).sum())
    return entry


def _segmentation(item: SceneObject) -> dict[str, Any]:
    """Exact masks: compressed RLE, and for crowds plain runs, as in COCO's own files."""
    coded = rle.encode(item.mask)
    if item.is_crowd:
        return {"size": coded["size"], "counts": rle.runs(coded).tolist()}
    return {"size": coded["size"], "counts": coded["counts"].decode("ascii")}


def _draw_in_children(parameters: EmbeddedParameters, folder: Path, processes: int, line: ProgressLine) -> None:
    source, sink = os.pipe()
    with tempfile.TemporaryFile() as complaints:
        children = [
            _start_child(parameters, folder, shard, processes, sink, complaints.fileno()) for shard in range(processes)
        ]
        os.close(sink)
        try:
            with os.fdopen(source, "rb", buffering=0) as answers:
                while answer := answers.read(256):
                    line.update(len(answer))
            codes = [child.wait() for child in children]
        finally:
            for child in children:
                child.terminate()
                child.wait()
        if any(codes):
            complaints.seek(0)
            raise DrawingError(complaints.read().decode("utf-8", "replace").strip() or f"exit codes {codes}")


def _start_child(
    parameters: EmbeddedParameters, folder: Path, shard: int, shards: int, stdout: int, stderr: int
) -> subprocess.Popen[bytes]:
    package_parent = str(Path(__file__).resolve().parents[2])
    paths = [package_parent, *filter(None, [os.environ.get("PYTHONPATH")])]
    order = json.dumps([asdict(parameters), str(folder), shard, shards])
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "maskrcnn.data.embedded_files", order],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


def _join_shards(parameters: EmbeddedParameters, folder: Path, shards: int) -> None:
    """Write the two COCO files from the shards, in the order of the images."""
    entries: dict[str, list[tuple[int, list[dict[str, Any]]]]] = {split: [] for split in SPLITS}
    for shard in range(shards):
        path = folder / f"shard-{shard}.json"
        for split, index, objects in json.loads(path.read_text(encoding="ascii")):
            entries[split].append((index, objects))
        path.unlink()
    for split, found in entries.items():
        content = _coco_content(split, sorted(found, key=lambda item: item[0]), parameters.image_size)
        (folder / f"{split}.json").write_text(json.dumps(content, separators=(",", ":")), encoding="ascii")


def _coco_content(split: str, images: list[tuple[int, list[dict[str, Any]]]], size: int) -> dict[str, Any]:
    annotations = [{"image_id": index + 1, **entry} for index, objects in images for entry in objects]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    return {
        "info": {"description": "maskrcnn embedded data set", "version": f"{SCENE_VERSION}.{FILES_VERSION}"},
        "images": [
            {"id": index + 1, "file_name": image_path(split, index), "width": size, "height": size}
            for index, _ in images
        ],
        "annotations": annotations,
        "categories": [_category_entry(number, name) for number, name in enumerate(CATEGORIES, start=1)],
    }


def _category_entry(number: int, name: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": number, "name": name, "supercategory": "person" if name == "person" else "shape"}
    if name == "person":
        entry["keypoints"] = list(COCO_PERSON.names)
        entry["skeleton"] = [[a + 1, b + 1] for a, b in COCO_PERSON.skeleton]  # COCO counts joints from 1
    return entry


def _read_settings(values: dict[str, Any]) -> SceneSettings:
    """Settings from JSON, where tuples became lists."""
    fields: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in values.items()}
    return SceneSettings(**fields)


def _run_child(order: str) -> None:
    parameters, folder, shard, shards = json.loads(order)
    parameters["scenes"] = _read_settings(parameters["scenes"])
    cv2.setNumThreads(1)  # the processes share the cores already
    for _ in _draw_shard(EmbeddedParameters(**parameters), Path(folder), shard, shards):
        os.write(1, b".")


if __name__ == "__main__":
    try:
        _run_child(sys.argv[1])
    except (OSError, KeyboardInterrupt) as error:
        sys.exit(f"{type(error).__name__}: {error}")
