"""`export`: a run's model in another format, compared with the original."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from maskrcnn.config.schema import Config
from maskrcnn.data.collate import round_up
from maskrcnn.data.embedded import load_embedded
from maskrcnn.data.images import read_image
from maskrcnn.downloads import cache_folder
from maskrcnn.errors import UserError
from maskrcnn.prediction.export import export_detector, exported_network
from maskrcnn.prediction.export_check import LIMIT, LIMIT_PX, Comparison, compare
from maskrcnn.prediction.export_formats import FORMATS, OUTSIDE
from maskrcnn.prediction.network import compile_network
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.prediction.tta import ViewBatch
from maskrcnn.progress import progress
from maskrcnn.workflows.datasets import load_test
from maskrcnn.workflows.load import load
from maskrcnn.workflows.predict import image_files

GENERATED_SIDE = 128


def export(
    run: str,
    name: str,
    target: Path,
    *,
    config: Config | None,
    images: Path | None,
    count: int,
    size: tuple[int, int] | None,
) -> int:
    """Write the model of `run` to `target` in format `name`, compare it and print the differences.

    Args:
        config: what made the run; its test images are compared on unless `images` are given.
        size: height and width for formats of a fixed shape; None: the largest of the compared images.

    Raises:
        UserError: no such run, or a format that does not hold the model; nothing is left at `target` then.
    """
    predictor = load(run, batch_size=1)
    paths, source = comparison_images(config, images, count)
    batches = [predictor.prepare([read_image(path)]) for path in paths]
    if FORMATS[name].fixed_shape:
        size = size or fixed_size(predictor, batches)
        batches = [padded_to(batch, size) for batch in batches]
    export_detector(predictor.detector, name, target, size)
    comparison = compare_exported(predictor, name, target, batches)
    if not comparison.passed:
        remove(target)
        limits = f"allowed: {LIMIT:g}, boxes {LIMIT_PX:g} px"
        raise UserError(f"the exported model differs: {comparison} ({limits})", f"format={name}")
    print_comparison(name, target, comparison, source, size if FORMATS[name].fixed_shape else None)
    return 0


def comparison_images(config: Config | None, images: Path | None, count: int) -> tuple[list[str], str]:
    """Files of up to `count` images, and what they are: the user's, the run's test images, or generated scenes."""
    if images is not None:
        return [str(path) for path in image_files(images)[:count]], str(images)
    try:
        if config is not None and (test := load_test(config)).images:
            return [record.path for record in test.images[:count]], "test images of the run"
    except UserError:
        pass  # The data of a run may have gone; its model can be exported all the same.
    sizes = {"train_images": 1, "test_images": count, "image_size": GENERATED_SIDE, "seed": 0}
    scenes = load_embedded(**sizes, cache=cache_folder())[1]
    return [record.path for record in scenes.images], "generated scenes (the run's test images are not there)"


def fixed_size(predictor: Predictor, batches: Sequence[ViewBatch]) -> tuple[int, int]:
    """Height and width that hold all the batches, padded as the model pads."""
    height, width = np.max([batch.images.shape[1:3] for batch in batches], axis=0).tolist()
    return round_up(height, predictor.pad_multiple), round_up(width, predictor.pad_multiple)


def padded_to(batch: ViewBatch, size: tuple[int, int]) -> ViewBatch:
    """The batch with zeros to the right and below, up to `size`; padding beyond it is cut off.

    Raises:
        UserError: the images themselves are larger.
    """
    largest = batch.sizes.max(axis=0)
    if (largest > size).any():
        what = f"an image is {largest[0]}x{largest[1]} pixels at the network's input"
        raise UserError(what, f"size={size[0]}x{size[1]}", "give a larger size, or smaller images")
    images = batch.images[:, : size[0], : size[1]]
    missing = [(0, 0), (0, size[0] - images.shape[1]), (0, size[1] - images.shape[2]), (0, 0)]
    return ViewBatch(np.pad(images, missing), batch.sizes)


def compare_exported(predictor: Predictor, name: str, target: Path, batches: Sequence[ViewBatch]) -> Comparison:
    """The exported model against the original, in the format's own runtime."""
    try:
        exported = exported_network(name, target)
        seen = progress(batches, total=len(batches), label="comparing")
        return compare(compile_network(predictor.detector), exported, islice(seen, len(batches)))
    except Exception as error:  # A runtime that refuses its own format's file raises what it likes.
        remove(target)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"the runtime refuses the exported model ({lines[0][:200]})", f"format={name}") from error


def remove(target: Path) -> None:
    """Deletes an export that is no good."""
    if target.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        return
    for suffix in (target.suffix, ".bin", ".json"):
        target.with_suffix(suffix).unlink(missing_ok=True)


def print_comparison(
    name: str, target: Path, comparison: Comparison, source: str, size: tuple[int, int] | None
) -> None:
    """Where the model is, what it cannot do, how far it is from the original, and how fast."""
    shape = f", input {size[0]}x{size[1]}" if size else ""
    print(f"{name}: {target}{shape}")
    print(f"largest differences: {comparison}")
    print(f"compared on: {source}")
    print(f"seconds per image: original {comparison.original_s:.3f}, exported {comparison.exported_s:.3f}")
    for limit in (*OUTSIDE, *FORMATS[name].limits):
        print(f"limit: {limit}")
