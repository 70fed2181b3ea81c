"""From the configuration to the training, validation and test parts, their table of samples and what was left out."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from maskrcnn.config.schema import Config
from maskrcnn.data.coco import load_coco, write_coco
from maskrcnn.data.embedded import load_embedded
from maskrcnn.data.joints import choose_joints, joints_sentence
from maskrcnn.data.keypoint_schemas import OwnJoints, own_joints
from maskrcnn.data.records import Dataset
from maskrcnn.data.samples import SampleTable, count_samples
from maskrcnn.data.subset import Exclusion, Exclusions, select, split
from maskrcnn.downloads import cache_folder
from maskrcnn.errors import UserError
from maskrcnn.structures import KeypointSchema
from maskrcnn.workflows.coco import coco_part

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """The three parts of a run's data; `val` may be empty, `test` is looked at once."""

    train: Dataset
    val: Dataset
    test: Dataset
    exclusions: tuple[Exclusions, ...]

    @property
    def parts(self) -> Mapping[str, Dataset]:
        named = {"training": self.train, "validation": self.val, "test": self.test}
        return {name: part for name, part in named.items() if len(part)}

    @property
    def samples(self) -> SampleTable:
        """Images, instances and crowds of each category in each part."""
        return count_samples(self.parts, self.exclusions)

    @property
    def schema(self) -> KeypointSchema | None:
        return self.train.schema


def load_data(config: Config) -> Data:
    """Read, check, subset and split the configuration's data.

    Raises:
        UserError: for faults of the data, an unknown category or joint, a part without images, without objects or,
            under a keypoint head, without a labelled joint.
    """
    exclusions: list[Exclusions] = []
    train, val, test = _chosen_parts(config, exclusions)
    if test is None:
        train, test = split(train, config.dataset.test_fraction, config.dataset.subset_seed + 1)
    if val is None:
        train, val = split(train, config.dataset.val.fraction, config.dataset.subset_seed)
    data = Data(train, _like(train, val), _like(train, test), tuple(exclusions))
    _demand_objects(data)
    if config.head.keypoints:
        _demand_joints(data.train)
    return data


def _chosen_joints(config: Config, dataset: Dataset) -> Dataset:
    """The data set with the joints of `num_keypoints`, which says nothing to a head without keypoints."""
    if config.head.keypoints:
        return choose_joints(dataset, config.num_keypoints)
    if config.num_keypoints is not None:
        logger.warning("num_keypoints has no meaning for head=%s: add head=keypoint", config.head.name)
    return dataset


def file_joints(config: Config) -> OwnJoints | None:
    """The user's own schema of the file's joints, under a keypoint head."""
    values = config.dataset.keypoints
    return None if values is None or not config.head.keypoints else own_joints(values)


def load_test(config: Config) -> Dataset:
    """The test part alone, without reading the training data where the test part has a file of its own."""
    dataset = config.dataset
    if dataset.name == "coco":
        return _coco_part(config, "test", [])
    if dataset.name == "embedded" or not dataset.test.annotations:
        return load_data(config).test
    whole = _read(config, dataset.test.annotations, dataset.test.images or dataset.train.images, "test", [])
    return _subset(config, whole, dataset.max_test_images, is_training=False)[0]


def _chosen_parts(config: Config, left_out: list[Exclusions]) -> tuple[Dataset, Dataset | None, Dataset | None]:
    """Training, validation and test data after the choice of categories and images; None: to be split off.

    What was left out is added to `left_out`.
    """
    dataset = config.dataset
    if dataset.name == "coco":
        return _coco_part(config, "train", left_out), None, _coco_part(config, "test", left_out)
    limits = (dataset.max_train_images, None, dataset.max_test_images)
    chosen: list[Dataset | None] = []
    for whole, limit in zip(_whole_parts(config, left_out), limits, strict=True):
        part, exclusions = (None, None) if whole is None else _subset(config, whole, limit, is_training=not chosen)
        chosen.append(part)
        left_out += [] if exclusions is None else [exclusions]
    train, val, test = chosen
    assert train is not None
    return train, val, test


def _coco_part(config: Config, part: str, left_out: list[Exclusions]) -> Dataset:
    dataset, exclusions = coco_part(config, part).load()
    left_out += exclusions
    return _chosen_joints(config, dataset)


def _whole_parts(config: Config, dropped: list[Exclusions]) -> tuple[Dataset, Dataset | None, Dataset | None]:
    """Training, validation and test data as their files hold them; None: to be split off the training part.

    What was left out for its faults is added to `dropped`.
    """
    dataset = config.dataset
    if dataset.name == "embedded":
        return _embedded(config)
    train = _read(config, dataset.train.annotations, dataset.train.images, "train", dropped)
    val: Dataset | None = None
    test: Dataset | None = None
    if dataset.val.annotations:
        val = _read(config, dataset.val.annotations, dataset.val.images or dataset.train.images, "val", dropped)
    if dataset.test.annotations:
        test = _read(config, dataset.test.annotations, dataset.test.images or dataset.train.images, "test", dropped)
    return train, val, test


def _embedded(config: Config) -> tuple[Dataset, None, Dataset]:
    train, test = load_embedded(**dataclasses.asdict(config.dataset.embedded), cache=cache_folder())
    return train, None, test


def _read(config: Config, annotations: str | None, images: str | None, part: str, dropped: list[Exclusions]) -> Dataset:
    if annotations is None or images is None:
        raise UserError("is not given", f"dataset.{part}.annotations", "name the COCO file and its image folder")
    dataset, report = load_coco(
        Path(annotations),
        Path(images),
        head=config.head.name,
        faults=config.dataset.faults,
        name=part,
        joints=file_joints(config),
        wanted=config.dataset.categories,
    )
    items = [
        Exclusion(int(report.counts.get("images dropped", 0)), "images", "with faults"),
        Exclusion(int(report.counts.get("annotations dropped", 0)), "instances", "with faults"),
    ]
    dropped.append(Exclusions(part, tuple(item for item in items if item.count)))
    return dataset


def _subset(
    config: Config, dataset: Dataset, max_images: int | None, *, is_training: bool
) -> tuple[Dataset, Exclusions]:
    """Categories follow the head: a keypoint head alone keeps those that have joints."""
    names = config.dataset.categories
    if names is None and learns_joints_alone(config):
        names = [c.name for c in dataset.categories if c.keypoints] or None
    return select(
        _chosen_joints(config, dataset),
        categories=names,
        max_images=max_images,
        min_area=config.dataset.min_area,
        seed=config.dataset.subset_seed,
        background=keeps_background(config) or not is_training,
    )


def learns_joints_alone(config: Config) -> bool:
    """Whether boxes and keypoints are learnt, and no masks."""
    return config.head.keypoints and not config.head.masks


def keeps_background(config: Config) -> bool:
    """Whether training images without an object stay: as set, else by what is learnt (PAPER §3.1: poses)."""
    chosen = config.dataset.background
    return not learns_joints_alone(config) if chosen is None else chosen


def _like(train: Dataset, part: Dataset) -> Dataset:
    """`part`, whose labels must mean the same as those of the training data."""
    if part.categories and [c.name for c in part.categories] != [c.name for c in train.categories]:
        missing = sorted({c.name for c in part.categories} ^ {c.name for c in train.categories})
        raise UserError(
            f"the categories differ from those of the training data: {', '.join(missing)}",
            part.name,
            "choose the common ones with dataset.categories=[…]",
        )
    if train.full_schema is None or part.full_schema is None:
        return part
    if part.full_schema.names != train.full_schema.names:
        raise UserError(
            f"the joints differ from those of the training data: {', '.join(part.full_schema.names)}",
            part.name,
            "name them alike with dataset.keypoints={names: […]}",
        )
    return dataclasses.replace(part, schema=train.schema, chosen_from=train.chosen_from)


def _demand_objects(data: Data) -> None:
    for name, part in (("training", data.train), ("test", data.test)):
        if not len(part):
            single = name == "test" and len(data.train) == 1
            what = "one image cannot be split into a" if single else "no images are left for the"
            hint = "name test images with dataset.test.annotations and dataset.test.images" if single else ""
            raise UserError(f"{what} {name} part", "dataset", hint or "loosen the subset")
    if not any(not a.is_crowd for record in data.train.images for a in record.annotations):
        raise UserError("the training part has no objects", "dataset", "loosen dataset.categories or min_area")


def _demand_joints(train: Dataset) -> None:
    """Without a labelled joint the keypoint head learns nothing, and says so only by a figure of 0."""
    if train.schema is None:
        raise UserError("no category has keypoints, which a keypoint head needs", train.name, "choose head=mask or box")
    rows = list(train.schema.index_map)
    annotated = (a.keypoints for record in train.images for a in record.annotations if not a.is_crowd)
    if not any((joints[rows, 2] > 0).any() for joints in annotated if joints is not None):
        what = f"no training object has a labelled joint of the {joints_sentence(train.schema, train.full_schema)}"
        raise UserError(what, train.name, "choose other joints with num_keypoints, or more images")


def write_subset(data: Data, folder: Path) -> None:
    """The chosen parts as COCO JSON files: training.json, validation.json, test.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in data.parts.items():
        write_coco(part, folder / f"{name}.json")
