"""What contradicts itself in the choice of data: parts, files, subsets, keypoint schema, pretrained weights.

Looks whether files are there, and never into them: that is the doctor's work (`maskrcnn.data.doctor`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from maskrcnn.config.names import known, nearest
from maskrcnn.config.paths import IMAGENET
from maskrcnn.config.ranges import show
from maskrcnn.config.schema import Config, DatasetConfig, PartConfig, ValidationConfig
from maskrcnn.errors import Problem

WEIGHTS_ENDINGS = (".keras", ".weights.h5", ".h5", ".npz", ".safetensors", ".pth", ".pt", ".pkl")


def training_images(config: Config) -> int | None:
    """How many images are left for training, at least; None where only the annotation file tells."""
    dataset = config.dataset
    if dataset.name != "embedded":
        return dataset.max_train_images
    count = min(dataset.embedded.train_images, dataset.max_train_images or dataset.embedded.train_images)
    return count - round(count * dataset.val.fraction)


def check_training_files(config: Config) -> Iterator[Problem]:
    """The training and the validation part are given, belong together and exist."""
    dataset = config.dataset
    if dataset.name != "coco_json":
        return
    if not dataset.train.annotations or not dataset.train.images:
        for key in ("annotations", "images"):
            if not getattr(dataset.train, key):
                yield _missing_part("dataset.train", key)
    yield from _check_part("dataset.train", dataset.train, dataset)
    yield from _check_pair("dataset.val", dataset.val)
    yield from _check_part("dataset.val", dataset.val, dataset)
    yield from _check_shares(dataset)
    yield from _check_same_file(dataset)


def check_test_files(config: Config) -> Iterator[Problem]:
    """The files of the test part belong together and exist."""
    dataset = config.dataset
    if dataset.name != "coco_json":
        return
    yield from _check_pair("dataset.test", dataset.test)
    yield from _check_part("dataset.test", dataset.test, dataset)


def check_test_given(config: Config) -> Iterator[Problem]:
    """There is a test part: files of its own, or the training file to split it from."""
    dataset = config.dataset
    if dataset.name == "coco_json" and not dataset.test.annotations and not dataset.train.annotations:
        yield _missing_part("dataset.test", "annotations")


def _files_beside(config: Config, what: str, hint: str) -> Iterator[Problem]:
    """A problem for each file or folder that is given to a data set which has its own."""
    for part in ("train", "val", "test"):
        for key in ("annotations", "images"):
            value = getattr(getattr(config.dataset, part), key)
            if value:
                yield Problem(f"dataset.{part}.{key}={value}", what, hint)


def check_embedded(config: Config) -> Iterator[Problem]:
    """Files beside the generated data would be ignored."""
    dataset = config.dataset
    if dataset.name != "embedded":
        return
    yield from _files_beside(config, "the embedded data are generated and read no files", "add dataset=coco_json")
    if dataset.keypoints is not None:
        yield Problem(
            "dataset.keypoints", "the embedded data have their own joints", "add dataset=coco_json, or leave it out"
        )
    if dataset.embedded.image_size % 2:
        yield Problem(f"dataset.embedded.image_size={dataset.embedded.image_size}", "is odd", "give an even number")


def check_coco(config: Config) -> Iterator[Problem]:
    """COCO finds its own files, has two years and comes from the web."""
    dataset = config.dataset
    if dataset.name != "coco":
        return
    hint = "add dataset=coco_json, or give dataset.root=FOLDER"
    yield from _files_beside(config, "dataset=coco finds its files itself", hint)
    if dataset.year not in (2014, 2017):
        yield Problem(f"dataset.year={dataset.year}", "is no year of COCO", "known: 2014, 2017")
    address = urlsplit(dataset.url)
    if address.scheme not in ("http", "https") or not address.netloc:
        yield Problem(f"dataset.url={dataset.url}", "is no address on the web", "give dataset.url=http(s)://HOST/…")
    elif address.query or address.fragment:
        yield Problem(f"dataset.url={dataset.url}", "ends with a question or a mark", "give the address of a folder")


def check_categories(config: Config) -> Iterator[Problem]:
    """Each category once."""
    names = config.dataset.categories or []
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield Problem(f"dataset.categories={show(names)}", f"names {twice[0]} twice", "each category once")
    if any(not name.strip() for name in names):
        yield Problem(f"dataset.categories={show(names)}", "holds an empty name")


def check_keypoint_schema(config: Config) -> Iterator[Problem]:
    """The user's own keypoint schema is whole: names, pairs and bones of joints that exist, a tolerance for each."""
    schema = config.dataset.keypoints
    if schema is None:
        return
    if not isinstance(schema, dict):
        yield Problem(
            f"dataset.keypoints={show(schema)}", "is no keypoint schema", "{names: […], flip_pairs: [[a, b], …]}"
        )
        return
    fields = ("names", "flip_pairs", "skeleton", "sigmas")
    for key in schema:
        if key not in fields:
            near = nearest(str(key), fields)
            yield Problem(
                f"dataset.keypoints.{key}",
                "there is no such field",
                f"did you mean {near}?" if near else f"known: {known(fields)}",
            )
    names = schema.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        yield Problem("dataset.keypoints.names", "is no list of joint names", "names: [head, tail]")
        return
    if len(set(names)) < len(names):
        yield Problem("dataset.keypoints.names", "names a joint twice", "each joint once")
    for key in ("flip_pairs", "skeleton"):
        yield from _check_joint_pairs(key, schema.get(key) or [], names)
    yield from _check_sigmas(schema.get("sigmas") or [], names)


def _check_joint_pairs(key: str, pairs: Any, names: list[str]) -> Iterator[Problem]:
    where = f"dataset.keypoints.{key}"
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        yield Problem(where, "is no list of pairs", f"{key}: [[{names[0]}, {names[-1]}]]")
        return
    joints = [joint for pair in pairs for joint in pair]
    for joint in joints:
        if joint not in names and not _is_row(joint, names):
            near = nearest(str(joint), names)
            yield Problem(
                where, f"there is no joint {joint!r}", f"did you mean {near}?" if near else f"known: {known(names)}"
            )
    if key == "flip_pairs":
        named = [names[joint] if _is_row(joint, names) else str(joint) for joint in joints]
        for joint in sorted({joint for joint in named if named.count(joint) > 1}):
            yield Problem(
                where, f"pairs {joint} twice", "a joint has one partner on the other side, and is not its own"
            )


def _is_row(joint: Any, names: list[str]) -> bool:
    return isinstance(joint, int) and not isinstance(joint, bool) and 0 <= joint < len(names)


def _check_sigmas(sigmas: Any, names: list[str]) -> Iterator[Problem]:
    numbers = isinstance(sigmas, list) and all(isinstance(x, int | float) and 0 < x < 10 for x in sigmas)
    if not numbers:
        yield Problem("dataset.keypoints.sigmas", "are not numbers above 0", "one for each joint, such as 0.05")
    elif sigmas and len(sigmas) != len(names):
        yield Problem("dataset.keypoints.sigmas", f"are {len(sigmas)} for {len(names)} joints", "one for each joint")


def check_weights_file(config: Config) -> Iterator[Problem]:
    """A file of pretrained weights is there; what it holds is judged when it is read."""
    path = config.weights.backbone
    if config.experiment == "finetune_subset" and config.weights.file is None:
        yield Problem("weights.file", "is missing: finetune_subset begins with a trained detector", "give weights=FILE")
    if config.weights.file is not None:
        if path is not None:
            yield Problem("weights.backbone", "a whole detector brings its backbone", "leave one of the two out")
        yield from _check_exists("weights.file", config.weights.file, config.dataset, folder=False)
    if path is None or path == IMAGENET:
        return
    if os.path.isfile(path):
        if not path.endswith(WEIGHTS_ENDINGS):
            yield Problem(f"weights.backbone={path}", "is no weights file", f"known endings: {known(WEIGHTS_ENDINGS)}")
        return
    if nearest(os.path.basename(path), [IMAGENET]) and not os.path.dirname(os.path.relpath(path)):
        yield Problem(
            f"weights.backbone={os.path.basename(path)}", "is neither imagenet nor a file", "did you mean imagenet?"
        )
        return
    yield from _check_exists("weights.backbone", path, config.dataset, folder=False)


def _missing_part(part: str, key: str) -> Problem:
    kind = "FILE" if key == "annotations" else "FOLDER"
    return Problem(f"{part}.{key}", "is missing for dataset=coco_json", f"give {part}.{key}={kind}")


def _check_pair(name: str, part: PartConfig | ValidationConfig) -> Iterator[Problem]:
    """Annotations and images come together."""
    if part.annotations and not part.images:
        yield Problem(f"{name}.images", f"is missing beside {name}.annotations", f"give {name}.images=FOLDER")
    if part.images and not part.annotations:
        yield Problem(f"{name}.annotations", f"is missing beside {name}.images", f"give {name}.annotations=FILE")


def _check_part(name: str, part: PartConfig | ValidationConfig, dataset: DatasetConfig) -> Iterator[Problem]:
    if part.annotations:
        yield from _check_exists(f"{name}.annotations", part.annotations, dataset, folder=False)
    if part.images:
        yield from _check_exists(f"{name}.images", part.images, dataset, folder=True)


def _check_exists(key: str, path: str, dataset: DatasetConfig, *, folder: bool) -> Iterator[Problem]:
    kind = "folder" if folder else "file"
    if os.path.isdir(path) if folder else os.path.isfile(path):
        return
    if os.path.exists(path):
        other = "file" if folder else "folder"
        yield Problem(f"{key}={path}", f"is a {other}, not a {kind}")
    elif not os.path.isdir(dataset.root) and Path(path).is_relative_to(dataset.root):
        # Named once, however many paths lie in it: the same problem is not repeated.
        yield Problem(
            f"dataset.root={dataset.root}",
            "there is no such folder",
            "set MASKRCNN_DATA or dataset.root=FOLDER",
        )
    else:
        yield Problem(f"{key}={path}", f"there is no such {kind}", _nearest_path(path))


def _nearest_path(path: str) -> str:
    """The entry that was probably meant, or the last folder on the way that exists."""
    parent = Path(path).parent
    if not parent.is_dir():
        existing = next(folder for folder in parent.parents if folder.is_dir())
        return f"the last folder on the way that exists is {existing}"
    try:
        near = nearest(Path(path).name, os.listdir(parent))
    except OSError:
        near = None
    return f"did you mean {parent / near}?" if near else ""


def _check_shares(dataset: DatasetConfig) -> Iterator[Problem]:
    val = 0.0 if dataset.val.annotations else dataset.val.fraction
    test = 0.0 if dataset.test.annotations else dataset.test_fraction
    if val + test >= 1:
        yield Problem(
            f"dataset.test_fraction={test:g}",
            f"with dataset.val.fraction={val:g} leaves nothing to train on",
            "below 1 together",
        )
    if test == 0 and not dataset.test.annotations:
        yield Problem(
            "dataset.test_fraction=0",
            "there are no test images",
            "give dataset.test_fraction=0.2 or dataset.test.annotations=FILE",
        )


def _check_same_file(dataset: DatasetConfig) -> Iterator[Problem]:
    """Testing or validating on the training images measures nothing."""
    for part, other in (("test", dataset.test), ("val", dataset.val)):
        if other.annotations and other.annotations == dataset.train.annotations:
            yield Problem(
                f"dataset.{part}.annotations={other.annotations}",
                "is the training file",
                f"leave dataset.{part} out to split it",
            )
