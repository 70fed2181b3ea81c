"""The data doctor as a command: examines the files of one data set or of a configuration, prints every finding."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskrcnn.config.schema import Config, DatasetConfig
from maskrcnn.config.validate_dataset import check_coco, check_keypoint_schema
from maskrcnn.data.doctor import HEADS, Inspection, inspect
from maskrcnn.data.faults.report import FaultReport
from maskrcnn.data.keypoint_schemas import OwnJoints, own_joints
from maskrcnn.data.records import Dataset
from maskrcnn.data.subset import select
from maskrcnn.errors import ProblemsError, UsageError, UserError


@dataclass(frozen=True)
class Part:
    """One annotation file of a data set and its image folder; `name` is train, val or test, or empty."""

    name: str
    annotations: Path
    images: Path


def check_files(annotations: Path, images: Path, head: str) -> int:
    """Prints everything that is wrong with one annotation file. Exit code: 1 with faults, else 0."""
    return 1 if _examine(Part("", annotations, images), head).report.faults else 0


def check_config(config: Config) -> int:
    """Prints everything that is wrong with each part of a configuration's data. Exit code: 1 with faults, else 0.

    Raises:
        UsageError: the data set's files are not given.
        ProblemsError: `dataset.keypoints` is no whole schema.
        UserError: the embedded data set cannot be drawn.
    """
    problems = list(check_keypoint_schema(config))
    if problems:
        raise ProblemsError(problems)
    if config.dataset.name == "coco":
        return _check_coco(config)
    head = next(name for name, learned in HEADS.items() if learned == (config.head.masks, config.head.keypoints))
    values = config.dataset.keypoints
    joints = None if values is None else own_joints(values)
    parts = _parts(config.dataset)
    inspections = [_examine(part, head, joints, config.dataset.categories) for part in parts]
    contradictions = [
        *_subset_problems(config.dataset, parts, inspections),
        *_differing_categories(parts, inspections, config.dataset.categories),
    ]
    for contradiction in contradictions:
        print(f"fault: {contradiction}")
    for warning in _shared_images(parts, inspections):
        print(f"warning: {warning}")
    faults = sum(inspection.report.count("fault") for inspection in inspections) + len(contradictions)
    if len(parts) > 1:
        print(f"\n{len(parts)} parts: {faults} fault{'' if faults == 1 else 's'} in all")
    return 1 if faults else 0


def _check_coco(config: Config) -> int:
    """The parts of COCO that a run would use; what they lack is fetched first."""
    # imported here, since the form for files must start in a second
    from maskrcnn.workflows.coco import SPLITS, coco_part

    contradictions = list(check_coco(config))
    if contradictions:
        raise ProblemsError(contradictions)
    faults = 0
    for name in SPLITS:
        start = time.monotonic()
        part = coco_part(config, name)
        inspection = part.inspect()
        _print_inspection(f"{name}: {part.index.path}", inspection.report, time.monotonic() - start)
        print("\n".join(part.choice.exclusions.sentences()))
        faults += inspection.report.count("fault")
    return 1 if faults else 0


def _parts(dataset: DatasetConfig) -> list[Part]:
    if dataset.name == "embedded":
        return _embedded_parts(dataset)
    train, val, test = dataset.train, dataset.val, dataset.test
    if train.annotations is None or train.images is None:
        missing = "annotations" if train.annotations is None else "images"
        raise UsageError("is not given", f"dataset.train.{missing}", f"add dataset.train.{missing}=…")
    parts = [Part("train", Path(train.annotations), Path(train.images))]
    for name, part in (("val", val), ("test", test)):
        if part.annotations is not None:
            parts.append(Part(name, Path(part.annotations), Path(part.images or train.images)))
    return parts


def _embedded_parts(dataset: DatasetConfig) -> list[Part]:
    """The files of the generated data set, drawn first where they are not in the cache yet."""
    # imported here, since the form for files must start in a second
    from maskrcnn.data.embedded import load_embedded
    from maskrcnn.downloads import cache_folder

    parts = []
    loaded = load_embedded(**dataclasses.asdict(dataset.embedded), cache=cache_folder())
    for name, part in zip(("train", "test"), loaded):
        image = part.images[0]
        folder = Path(image.path.removesuffix(image.file_name))
        parts.append(Part(name, folder / f"{name}.json", folder))
    return parts


def _examine(part: Part, head: str, joints: OwnJoints | None = None, wanted: Sequence[str] | None = None) -> Inspection:
    """Examines one part and prints what was found."""
    start = time.monotonic()
    inspection = inspect(
        part.annotations, part.images, head=head, decode_images=True, keep=False, joints=joints, wanted=wanted
    )
    title = f"{part.name}: {part.annotations}" if part.name else ""
    _print_inspection(title, inspection.report, time.monotonic() - start)
    return inspection


def _print_inspection(title: str, report: FaultReport, seconds: float) -> None:
    if title:
        print(f"\n{title}")
    for line in report.lines():
        print(line)
    print(summary_table(report, seconds))
    print(report.summary)


def summary_table(report: FaultReport, seconds: float) -> str:
    """Counts of the items and of each kind of finding, one a line."""
    rows = [(name, f"{count:,}") for name, count in report.counts.items()]
    rows += [(f"{level}: {kind}", f"{count:,}") for (level, kind), count in sorted(report.kinds.items())]
    rows.append(("seconds", f"{seconds:.1f}"))
    name_width = max(len(name) for name, _ in rows)
    count_width = max(len(count) for _, count in rows)
    lines = [f"  {name:<{name_width}}  {count:>{count_width}}" for name, count in rows]
    return "\n".join(["", *lines, ""])


def _subset_problems(dataset: DatasetConfig, parts: Sequence[Part], inspections: Sequence[Inspection]) -> list[str]:
    """What `dataset.categories` asks for and the training part does not have."""
    if not dataset.categories or not inspections[0].images:
        return []
    train = Dataset(parts[0].name, inspections[0].categories, inspections[0].images)
    try:
        select(
            train,
            categories=dataset.categories,
            max_images=dataset.max_train_images,
            min_area=dataset.min_area,
            seed=dataset.subset_seed,
        )
    except UserError as error:
        return str(error).splitlines()
    return []


def _differing_categories(
    parts: Sequence[Part], inspections: Sequence[Inspection], chosen: Sequence[str] | None
) -> list[str]:
    """Parts whose labels would mean something else than those of the training part."""
    wanted = [category.name for category in inspections[0].categories if not chosen or category.name in chosen]
    problems = []
    for part, inspection in list(zip(parts, inspections))[1:]:
        names = [category.name for category in inspection.categories if not chosen or category.name in chosen]
        if inspection.categories and wanted and names != wanted:
            differing = ", ".join(sorted(set(names) ^ set(wanted))) or "their order"
            problems.append(
                f"{part.name}: the categories differ from those of the training part: {differing}; "
                "choose the common ones with dataset.categories=[…]"
            )
    return problems


def _shared_images(parts: Sequence[Part], inspections: Sequence[Inspection]) -> list[str]:
    """Parts that hold the same files: the figures of one would tell nothing about new images."""
    warnings = []
    files = [{image.path: image.file_name for image in inspection.images} for inspection in inspections]
    for first in range(len(parts)):
        for second in range(first + 1, len(parts)):
            shared = sorted(files[first].keys() & files[second].keys())
            if shared:
                names = ", ".join(files[first][path] for path in shared[:5])
                more = ", …" if len(shared) > 5 else ""
                warnings.append(
                    f"{parts[first].name} and {parts[second].name} share {len(shared)} images: {names}{more}"
                )
    return warnings
