"""Everything that contradicts itself in a configuration, found at once and before anything starts.

`validate` is for training, `validate_evaluation` for commands that only need test data. Single values are judged by
the tables of `maskrcnn.config.ranges`, data and files by `maskrcnn.config.validate_dataset`; here stand the rules that
tie parts of the model and of the training together.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import urlsplit

from maskrcnn.config.keys import flatten
from maskrcnn.config.names import known, nearest
from maskrcnn.config.ranges import check_values, show
from maskrcnn.config.schema import Config
from maskrcnn.config.validate_dataset import (
    check_categories,
    check_coco,
    check_embedded,
    check_keypoint_schema,
    check_test_files,
    check_test_given,
    check_training_files,
    check_weights_file,
    training_images,
)
from maskrcnn.config.validate_model import (
    check_backbone,
    check_group_norms,
    check_network,
    check_pyramid,
    check_res5_head,
    coarsest_stride,
    rpn_levels,
)
from maskrcnn.errors import Problem
from maskrcnn.structures import COCO_PERSON, Conventions

TRACKING_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "databricks-uc")
TASK_HEADS = {"detection": ("box",), "keypoint": ("keypoint", "mask_keypoint"), "multitask": ("mask_keypoint",)}
"""Heads that fit a task that was chosen by name; the default task leaves the head free."""
HEAD_PARTS = {"box": (False, False), "mask": (True, False), "keypoint": (False, True), "mask_keypoint": (True, True)}


def validate(config: Config) -> list[Problem]:
    """All contradictions of a training run, single values first; an empty list if there is none.

    Rules that tie values together are skipped where one of their values is wrong by itself already.
    """
    rules = (*_MODEL_RULES, *_TRAINING_RULES, check_training_files, check_test_files, check_weights_file)
    return _apply(config, rules)


def validate_evaluation(config: Config) -> list[Problem]:
    """The contradictions that matter to a command that evaluates a finished model: data, not training."""
    return _apply(
        config,
        (
            _check_num_keypoints,
            check_categories,
            check_embedded,
            check_coco,
            check_keypoint_schema,
            check_test_given,
            check_test_files,
            _check_tracking,
        ),
    )


def validate_tracking_uri(uri: str, where: str) -> list[Problem]:
    """What is wrong with the address of a tracking store; `where` names the key or variable that gave it."""
    return list(_check_uri(uri, where))


Rule = Callable[[Config], Iterator[Problem]]


def _apply(config: Config, rules: tuple[Rule, ...]) -> list[Problem]:
    values = flatten(config)
    problems = list(check_values(values))
    wrong = frozenset(problem.where.partition("=")[0] for problem in problems)
    for rule in (check_network, *rules):
        problems += _collect(rule(cast(Config, _View(config, "", wrong))))
    return list(dict.fromkeys(problems))


class _WrongValueError(Exception):
    """A rule has read a value that was refused by itself."""


class _View:
    """The configuration as rules see it: reading a refused value ends the rule, which has nothing to add then."""

    def __init__(self, part: object, prefix: str, wrong: frozenset[str]) -> None:
        self._part, self._prefix, self._wrong = part, prefix, wrong

    def __getattr__(self, name: str) -> Any:
        if self._prefix + name in self._wrong:
            raise _WrongValueError
        value = getattr(self._part, name)
        return _View(value, f"{self._prefix}{name}.", self._wrong) if dataclasses.is_dataclass(value) else value


def _collect(found: Iterator[Problem]) -> list[Problem]:
    problems = []
    with contextlib.suppress(_WrongValueError):
        for problem in found:
            problems.append(problem)  # one by one: what was found before the refused value counts
    return problems


def _check_head(config: Config) -> Iterator[Problem]:
    head = config.head
    parts = HEAD_PARTS.get(head.name)
    if parts is not None and parts != (head.masks, head.keypoints):
        yield Problem(
            f"head.name={head.name}",
            f"contradicts head.masks={show(head.masks)} head.keypoints={show(head.keypoints)}",
            f"choose one with head={known(HEAD_PARTS)}",
        )
    heads = TASK_HEADS.get(config.task, ())
    if heads and parts is not None and head.name not in heads:
        task = next((task for task, names in TASK_HEADS.items() if names[0] == head.name), "segmentation")
        yield Problem(
            f"task={config.task}",
            f"needs head={heads[0]}, not head={head.name}",
            f"leave out head=, or choose task={task}",
        )


def _check_num_keypoints(config: Config) -> Iterator[Problem]:
    value = config.num_keypoints
    where = f"num_keypoints={show(value)}"
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | list | str):
        yield Problem(where, "is neither a number nor a list of joint names", "such as 7 or [nose,left_wrist]")
    elif isinstance(value, str):
        yield Problem(where, "is neither a number nor a list of joint names", _word_hint(config, value))
    elif isinstance(value, int):
        yield from _check_keypoint_count(config, value)
    else:
        yield from _check_keypoint_names(config, value)


def _check_keypoint_offset(config: Config) -> Iterator[Problem]:
    """Only imported weights count otherwise: joints are taught where flips put them, W - x."""
    offset = config.conventions.keypoint_offset
    if config.head.keypoints and offset != Conventions.keypoint_offset:
        yield Problem(
            f"conventions.keypoint_offset={offset:g}",
            "trained detectors count the middle of the first pixel 0.5",
            "leave it out",
        )


def _word_hint(config: Config, word: str) -> str:
    """For text where a number or a list is wanted: a joint without brackets, a sweep without -m, or neither."""
    if "," in word:
        return "add -m for a sweep"
    joints = _schema_joints(config)
    if joints is None or word in joints:
        return f"a list of names has brackets: num_keypoints=[{word}]"
    near = nearest(word, joints)
    return f"did you mean num_keypoints=[{near}]?" if near else "such as 7 or [nose,left_wrist]"


def _check_keypoint_count(config: Config, count: int) -> Iterator[Problem]:
    joints = _schema_joints(config)
    most = len(joints) if joints is not None else None
    if count < 1 or (most is not None and count > most):
        within = f"from 1 to {most}" if most is not None else "at least 1"
        yield Problem(f"num_keypoints={count}", f"is not {within}", "null stands for all joints of the data set")


def _check_keypoint_names(config: Config, names: list[Any]) -> Iterator[Problem]:
    where = f"num_keypoints={show(names)}"
    if not names or not all(isinstance(name, str) for name in names):
        yield Problem(where, "is no list of joint names", "such as [nose,left_wrist]; a number alone chooses a subset")
        return
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield Problem(where, f"names {twice[0]} twice", "each joint once")
    joints = _schema_joints(config)
    if joints is None:
        return
    for name in dict.fromkeys(names):
        if name not in joints:
            near = nearest(name, joints)
            yield Problem(
                where, f"there is no joint {name!r}", f"did you mean {near}?" if near else f"known: {known(joints)}"
            )


def _schema_joints(config: Config) -> list[str] | None:
    """Names of all joints where the configuration alone tells them; None where only the data set's file does."""
    if config.dataset.name == "embedded":
        return list(COCO_PERSON.names)
    own = config.dataset.keypoints
    return list(own["names"]) if isinstance(own, dict) and isinstance(own.get("names"), list) else None


def _check_image(config: Config) -> Iterator[Problem]:
    image = config.image
    if image.short_side > 0 and image.long_side < image.short_side:
        yield Problem(
            f"image.long_side={image.long_side}",
            f"is smaller than image.short_side={image.short_side}",
            f"give image.long_side={image.short_side} at least",
        )
    coarsest = coarsest_stride(config)
    sides = {"image.short_side": image.short_side}
    if config.dataset.name == "embedded" and image.short_side == 0:
        sides = {"dataset.embedded.image_size": config.dataset.embedded.image_size}
    for key, side in sides.items():
        if 0 < side < coarsest:
            yield Problem(
                f"{key}={side}", f"is smaller than the stride of {coarsest} of the coarsest map", f"at least {coarsest}"
            )
    for side in config.augmentation.short_sides:
        if coarsest > side or (image.short_side and side > image.long_side):
            yield Problem(
                f"augmentation.short_sides={show(config.augmentation.short_sides)}",
                f"{side} is not between the pyramid's stride of {coarsest} and image.long_side={image.long_side}",
            )
            break


def _check_augmentation(config: Config) -> Iterator[Problem]:
    scale = config.augmentation.scale
    if len(scale) == 2 and scale[0] > scale[1]:
        yield Problem(
            f"augmentation.scale={show(scale)}",
            "begins above its end",
            f"write augmentation.scale=[{scale[1]},{scale[0]}]",
        )


def _check_proposals(config: Config) -> Iterator[Problem]:
    rpn, roi = config.rpn, config.roi
    if rpn.negative_iou > rpn.positive_iou:
        yield Problem(
            f"rpn.negative_iou={rpn.negative_iou}",
            f"is above rpn.positive_iou={rpn.positive_iou}",
            "anchors between the two count as neither",
        )
    for name, part in (("rpn", rpn), ("roi", roi)):
        if part.batch_per_image * part.positive_fraction < 1:
            yield Problem(
                f"{name}.positive_fraction={part.positive_fraction}",
                f"leaves no positive among {name}.batch_per_image={part.batch_per_image}",
            )
    for phase in ("train", "test"):
        before, after = getattr(rpn, f"pre_nms_{phase}"), getattr(rpn, f"post_nms_{phase}")
        most = before * rpn_levels(config)
        if after > most:
            yield Problem(
                f"rpn.post_nms_{phase}={after}",
                f"more than rpn.pre_nms_{phase}={before} on {rpn_levels(config)} levels can give ({most})",
            )


def _check_schedule(config: Config) -> Iterator[Problem]:
    schedule = config.schedule
    if schedule.epochs is not None and schedule.steps is not None:
        yield Problem(
            f"schedule.epochs={schedule.epochs:g}",
            f"contradicts schedule.steps={schedule.steps}",
            "give one of them, and null for the other",
        )
    if schedule.epochs is None and schedule.steps is None:
        yield Problem("schedule", "has neither epochs nor steps", "give schedule.epochs=… or schedule.steps=…")
    if schedule.epochs is not None and schedule.reference_batch is not None:
        yield Problem(
            f"schedule.reference_batch={schedule.reference_batch}",
            "scales steps, and the schedule counts epochs",
            "give schedule.reference_batch=null",
        )
    drops = schedule.drops
    if schedule.decay == "step" and (not drops or drops != sorted(set(drops))):
        yield Problem(
            f"schedule.drops={show(drops)}",
            "are not rising shares of the steps",
            "such as schedule.drops=[0.667,0.889]",
        )


def _check_batch(config: Config) -> Iterator[Problem]:
    batch, accumulate = config.training.batch_size, config.optimizer.accumulate
    images = training_images(config)
    if images is not None and batch > images:
        yield Problem(f"training.batch_size={batch}", f"is more than the {images} training images", f"at most {images}")
    steps = config.schedule.steps
    if steps is not None and config.schedule.reference_batch is None and accumulate > steps:
        yield Problem(
            f"optimizer.accumulate={accumulate}", f"is more than schedule.steps={steps}: no update would be made"
        )


def validate_workers(config: Config, workers: int) -> list[Problem]:
    """What keeps so many processes, each with its `devices`, from sharing the batches; `config` is valid by itself."""
    return list(_shared(config, workers * config.devices, f"{workers} workers with devices={config.devices}"))


def _check_devices(config: Config) -> Iterator[Problem]:
    yield from _shared(config, config.devices, f"devices={config.devices}")


def _shared(config: Config, parts: int, among: str) -> Iterator[Problem]:
    batch = config.training.batch_size
    if parts == 1:
        return
    if batch % parts:
        yield Problem(f"training.batch_size={batch}", f"cannot be shared by {among}", f"give a multiple of {parts}")
    for key, given in (("accumulate", config.optimizer.accumulate > 1), ("ema", config.optimizer.ema is not None)):
        if given:
            yield Problem(f"optimizer.{key}", f"is not possible with {among}", "leave one of them out")


def _check_optimizer(config: Config) -> Iterator[Problem]:
    if config.training.precision == "mixed_float16" and config.optimizer.accumulate > 1:
        yield Problem(
            "training.precision=mixed_float16",
            "its loss scaling does not go with optimizer.accumulate",
            "choose training.precision=mixed_bfloat16 or optimizer.accumulate=1",
        )


def _check_tracking(config: Config) -> Iterator[Problem]:
    if config.tracking.uri is not None and config.tracking.uri.strip():
        yield from _check_uri(config.tracking.uri, "tracking.uri")


def _check_uri(uri: str, name: str) -> Iterator[Problem]:
    where = f"{name}={re.sub(r'(?<=//)[^/@ ]*@', '', uri)}"  # without user name and password
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        yield Problem(where, f"is no address ({error})", "such as http://localhost:5000")
        return
    scheme = parts.scheme.partition("+")[0]
    if scheme == "file" or (not scheme and "/" in uri):
        yield Problem(
            where, "MLflow keeps no stores in plain folders any more", "write sqlite:////ABSOLUTE/PATH/mlflow.db"
        )
    elif uri == "databricks":
        return
    elif scheme not in TRACKING_SCHEMES or "://" not in uri:
        near = nearest(scheme or uri, TRACKING_SCHEMES)
        hint = f"did you mean {near}://…?" if near else "such as http://localhost:5000 or sqlite:////PATH/mlflow.db"
        yield Problem(where, "is no address of a tracking store", hint)
    elif (scheme in ("http", "https") and not parts.hostname) or (port is not None and port == 0):
        yield Problem(where, "names no server", "such as http://localhost:5000")
    elif scheme == "sqlite" and not parts.path.strip("/"):
        yield Problem(where, "names no file", "write sqlite:////ABSOLUTE/PATH/mlflow.db")


def _check_from_run(config: Config) -> Iterator[Problem]:
    if config.from_run is not None and config.training.resume == "auto":
        yield Problem(
            f"from_run={config.from_run}",
            "starts anew, training.resume=auto goes on with an old run",
            "choose one of them",
        )


_MODEL_RULES: tuple[Rule, ...] = (
    _check_head,
    _check_num_keypoints,
    _check_keypoint_offset,
    check_backbone,
    check_pyramid,
    check_res5_head,
    check_group_norms,
    _check_image,
    _check_augmentation,
    _check_proposals,
)
_TRAINING_RULES: tuple[Rule, ...] = (
    _check_schedule,
    _check_batch,
    _check_devices,
    _check_optimizer,
    check_categories,
    check_embedded,
    check_coco,
    check_keypoint_schema,
    _check_tracking,
    _check_from_run,
)
