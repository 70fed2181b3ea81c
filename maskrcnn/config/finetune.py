"""`experiment=finetune`: schedule, rate and augmentation that follow from how much there is to learn from.

The rule, a first one, from what was measured elsewhere (no sweep over data sets stands behind its numbers):

| value | rule | why |
|---|---|---|
| `schedule.epochs` | 12 passes, and 1,600 images more | 12 passes over COCO are the paper's 1x; eight images are learnt by heart in 200 steps of 8 (PERFORMANCE §4.6). 800 photos: 14 passes, 100: 28, one: 1,612 |
| `schedule.warmup_steps` | a tenth of the steps, 10 to 500 | 500 is the paper's; a tenth, since short trainings live from their high rates (PERFORMANCE §4.8) |
| `optimizer.learning_rate` | the optimizer's own; half of it below 100 images | batches of few images repeat: their gradients agree with each other, not with new images |
| `augmentation.scale` | 0.8…1.25; below 3,000 instances 0.67…1.5; below 300 0.5…2 | scale jitter is the means with the largest known gain on little data (PAPER §7) |
| `augmentation.brightness`, `contrast`, `saturation` | 0.1; below 3,000 instances 0.2; below 300 0.4 | the same objects in the same light would be learnt by their colour |
| `box_head.class_agnostic` | true where several categories have fewer than 100 instances on average and no detector is given | 43 instances teach a category no boxes of its own: shared ones gave a validation box AP of 0.039 instead of 0.034 (experiments/014) |
| `training.batch_size` | no more than there are images | a batch of one image twice costs twice and says the same |

Flips are on as everywhere. What the user types stays as typed.
"""  # noqa: E501

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from maskrcnn.config.schema import Config

PASSES, MORE_IMAGES = 12, 1600
FEW_IMAGES, FEW_INSTANCES, SOME_INSTANCES = 100, 300, 3000
OWN_BOXES = 100
"""Instances a category from which on it learns boxes of its own."""


@dataclass(frozen=True)
class Choice:
    """A value that the rule has chosen for a key, and the reason in a few words."""

    key: str
    value: Any
    reason: str


def choose(config: Config, images: int, instances: int, categories: int) -> list[Choice]:
    """The rule's values for a training part of `images` with `instances` (crowds not counted) of `categories`.

    Raises:
        ValueError: no images or no instances; whoever read the data has refused that before.
    """
    if images < 1 or instances < 1:
        raise ValueError(f"nothing to learn from: {images} images, {instances} instances")
    batch = min(config.training.batch_size, images)
    epochs = round(PASSES + MORE_IMAGES / images, 1)
    steps = epochs * -(-images // batch)
    share = 0.5 if images < FEW_IMAGES else 1.0
    scale, colour = _augmentation(instances)
    seen = f"for {instances} instances"
    return [
        Choice("training.batch_size", batch, f"at most the {images} images"),
        Choice("schedule.epochs", epochs, f"{PASSES} passes and {MORE_IMAGES} images more"),
        Choice("schedule.warmup_steps", int(min(max(steps / 10, 10), 500)), "a tenth of the steps, 10 to 500"),
        Choice("optimizer.learning_rate", config.optimizer.learning_rate * share, _rate_reason(share)),
        Choice("augmentation.scale", scale, seen),
        *(Choice(f"augmentation.{name}", colour, seen) for name in ("brightness", "contrast", "saturation")),
        *_boxes(config, instances, categories),
    ]


def apply(config: Config, choices: Sequence[Choice], typed: Collection[str]) -> tuple[Config, list[str]]:
    """The configuration with the choices for keys that were not `typed`, and the keys that stay as typed.

    A typed group (`schedule=tiny`) and typed steps count for the keys that they decide.
    """
    config, kept = copy.deepcopy(config), []
    config.training.from_data = False  # what is stored holds the values: starting from it derives nothing
    for choice in choices:
        group, _, name = choice.key.partition(".")
        if {choice.key, group} & set(typed) or (choice.key == "schedule.epochs" and "schedule.steps" in typed):
            kept.append(choice.key)
            continue
        setattr(getattr(config, group), name, copy.deepcopy(choice.value))
        if choice.key == "schedule.epochs":
            config.schedule.steps = None
    return config, kept


def _augmentation(instances: int) -> tuple[list[float], float]:
    """Range of the scale and spread of the colours."""
    if instances < FEW_INSTANCES:
        return [0.5, 2.0], 0.4
    return ([0.67, 1.5], 0.2) if instances < SOME_INSTANCES else ([0.8, 1.25], 0.1)


def _boxes(config: Config, instances: int, categories: int) -> list[Choice]:
    """Whether the categories share their boxes; a given detector has decided that."""
    if config.weights.file is not None:
        return []
    each = instances / categories
    reason = f"{each:.0f} instances a category, shared below {OWN_BOXES}" if categories > 1 else "one category alone"
    return [Choice("box_head.class_agnostic", categories > 1 and each < OWN_BOXES, reason)]


def _rate_reason(share: float) -> str:
    return f"half the optimizer's own, below {FEW_IMAGES} images" if share < 1 else "the optimizer's own"
