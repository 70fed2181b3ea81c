"""What a run is called and compared by: its name, its few parameters, its digest, its headline figure."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from maskrcnn.config.schema import Config
from maskrcnn.data.records import Dataset

NOT_THE_RESULT = {
    "tracking": None,
    "sweep": None,
    "from_run": None,
    "training": ("resume", "checkpoint_minutes"),
    "evaluation": ("pictures", "picture_score"),
    "reader": ("workers", "prefetch"),
    "dataset": ("write_subset",),
}
"""Keys that do not change what is computed: a run may be resumed with others."""
MOST_PARAMS = 8
_NOT_IN_NAMES = ("hydra", "tracking.", "training.resume", "sweep.", "schedule.steps=null", "schedule.epochs=null")
"""The last two follow from the other one, which a name has."""


def headline(config: Config) -> str:
    """The figure that chooses the best checkpoint and that a sweep optimises."""
    if config.head.masks:
        return "mask/AP"
    return "keypoint/AP" if config.head.keypoints else "box/AP"


def evaluation_kinds(config: Config) -> list[str]:
    """What COCO's evaluation is asked for."""
    return ["bbox", *(["segm"] if config.head.masks else []), *(["keypoints"] if config.head.keypoints else [])]


def run_name(config: Config, overrides: Sequence[str], swept: Collection[str] = ()) -> str:
    """What differs first: the overrides of the `swept` keys, the others that change the result, else the task."""
    changes = [o.lstrip("+~") for o in overrides if not o.startswith(_NOT_IN_NAMES)]
    changes.sort(key=lambda change: change.partition("=")[0] not in swept)
    return ", ".join(changes)[:200] if changes else str(config.task)


def headline_params(config: Config, swept: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The at most eight parameters that people sort by, `swept` keys with their values first."""
    schedule = config.schedule
    usual = {
        "task": config.task,
        "head": config.head.name,
        "backbone": config.backbone.network or config.backbone.name,
        "dataset": config.experiment or config.dataset.subset or config.dataset.name,
        **({"num_keypoints": _joints(config.num_keypoints)} if config.head.keypoints else {}),
        **({} if config.head.keypoints else {"optimizer": config.optimizer.name}),
        "schedule": f"{schedule.steps} steps" if schedule.steps is not None else f"{schedule.epochs:g} epochs",
        "batch_size": config.training.batch_size,
        "seed": config.seed,
    }
    # A swept key is not said twice: training.batch_size replaces batch_size.
    last_words = {key.rpartition(".")[2] for key in swept}
    rest = {name: value for name, value in usual.items() if name not in last_words}
    return dict([*swept.items(), *rest.items()][:MOST_PARAMS])


def _joints(choice: Any) -> str:
    """How many joints are learnt: all, a number, or their names."""
    if choice is None:
        return "all"
    return ",".join(choice) if isinstance(choice, list | tuple) else str(choice)


def config_digest(config: Config) -> str:
    """SHA-256 of all that decides the result of a run."""
    values = dataclasses.asdict(config)
    for group, keys in NOT_THE_RESULT.items():
        if keys is None:
            values.pop(group)
        else:
            for key in keys:
                values[group].pop(key)
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def is_deterministic(config: Config) -> bool:
    """As configured; by default on a CPU, where it costs nothing."""
    if config.training.deterministic is not None:
        return config.training.deterministic
    return not has_accelerator()


def has_accelerator() -> bool:
    """Whether TensorFlow sees a GPU."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    return False


def capped(dataset: Dataset, count: int | None) -> Dataset:
    """The first `count` images of a data set, all for None."""
    return dataset if count is None else dataclasses.replace(dataset, images=dataset.images[:count])
