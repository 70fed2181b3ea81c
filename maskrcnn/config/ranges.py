"""Which values each single key may have: ranges of numbers, lengths of lists, choices of words.

Pure tables and the rules that read them; what two keys must have in common stands in `maskrcnn.config.validate`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from maskrcnn.config.names import CHOICES, known, nearest
from maskrcnn.errors import Problem


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `open_low` and `open_high` leave the end itself out."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, number: float) -> bool:
        above = number > self.low if self.open_low else number >= self.low
        below = number < self.high if self.open_high else number <= self.high
        return above and below and math.isfinite(number)

    def __str__(self) -> str:
        low = f"above {show(self.low)}" if self.open_low else f"at least {show(self.low)}"
        if math.isinf(self.high):
            return low
        if not self.open_low and not self.open_high:
            return f"from {show(self.low)} to {show(self.high)}"
        return f"{low} and {'below' if self.open_high else 'at most'} {show(self.high)}"


COUNT = Range(1)
AMOUNT = Range(0)
POSITIVE = Range(0, open_low=True)
SHARE = Range(0, 1)
SOME_SHARE = Range(0, 1, open_low=True)
PART = Range(0, 1, open_high=True)
SEED = Range(0, 2**31 - 1)
"""Seeds become int32 in the batch."""
WIDTH = Range(1, 65536)
SIDE = Range(1, 16384)
LARGE = 1_000_000_000

RANGES: dict[str, Range] = {
    "backbone.frozen_stages": Range(0, 5),
    "pyramid.channels": WIDTH,
    "pyramid.levels": Range(1, 4),
    "anchors.sizes": POSITIVE,
    "anchors.ratios": POSITIVE,
    "rpn.convolutions": Range(1, 16),
    "rpn.channels": Range(0, 65536),
    "rpn.positive_iou": SOME_SHARE,
    "rpn.negative_iou": SHARE,
    "rpn.batch_per_image": Range(1, 100_000),
    "rpn.positive_fraction": SOME_SHARE,
    "rpn.smooth_l1_beta": AMOUNT,
    "rpn.pre_nms_train": Range(1, 1_000_000),
    "rpn.pre_nms_test": Range(1, 1_000_000),
    "rpn.post_nms_train": Range(1, 100_000),
    "rpn.post_nms_test": Range(1, 100_000),
    "rpn.nms_iou": SOME_SHARE,
    "roi.batch_per_image": Range(1, 100_000),
    "roi.positive_fraction": SOME_SHARE,
    "roi.dense_positives": Range(0, 100_000),
    "roi.positive_iou": SOME_SHARE,
    "roi.score_threshold": PART,
    "roi.nms_iou": SOME_SHARE,
    "roi.detections_per_image": Range(1, 10_000),
    "roi.canonical_size": POSITIVE,
    "roi.canonical_level": Range(2, 5),
    "head.embedded_steps": Range(1, LARGE),
    "box_head.convolutions": Range(0, 64),
    "box_head.convolution_channels": WIDTH,
    "box_head.fully_connected": Range(0, 16),
    "box_head.channels": WIDTH,
    "box_head.pool_size": Range(1, 64),
    "box_head.smooth_l1_beta": AMOUNT,
    "box_head.loss_weight": AMOUNT,
    "mask_head.convolutions": Range(0, 64),
    "mask_head.channels": WIDTH,
    "mask_head.pool_size": Range(1, 128),
    "mask_head.loss_weight": AMOUNT,
    "mask_head.predictor_std": AMOUNT,
    "keypoint_head.convolutions": Range(0, 64),
    "keypoint_head.channels": WIDTH,
    "keypoint_head.pool_size": Range(1, 128),
    "keypoint_head.upsample": Range(1, 8),
    "keypoint_head.loss_weight": AMOUNT,
    "keypoint_head.target_sigma": AMOUNT,
    "conventions.roi_sampling_ratio": Range(0, 16),
    "conventions.anchor_offset": SHARE,
    "conventions.rpn_box_weights": POSITIVE,
    "conventions.box_weights": POSITIVE,
    "conventions.proposal_min_side": AMOUNT,
    "conventions.detection_min_side": AMOUNT,
    "conventions.background_index": Range(-1, 0),
    "conventions.keypoint_offset": Range(0, 0.5),
    "conventions.pixel_mean": Range(-1e6),
    "conventions.pixel_std": POSITIVE,
    "conventions.bn_epsilon": POSITIVE,
    "conventions.pad_multiple": Range(0, 1024),
    "image.short_side": Range(0, 16384),
    "image.long_side": Range(0, 16384),
    "dataset.val.fraction": PART,
    "dataset.test_fraction": PART,
    "dataset.embedded.train_images": Range(1, 1_000_000),
    "dataset.embedded.test_images": Range(1, 1_000_000),
    "dataset.embedded.image_size": Range(64, 2048),
    "dataset.embedded.seed": SEED,
    "dataset.year": Range(2014, 2017),
    "dataset.max_train_images": COUNT,
    "dataset.max_test_images": COUNT,
    "dataset.min_area": AMOUNT,
    "dataset.subset_seed": SEED,
    "augmentation.flip": SHARE,
    "augmentation.short_sides": SIDE,
    "augmentation.scale": Range(0, 100, open_low=True),
    "augmentation.crop": SIDE,
    "augmentation.brightness": SHARE,
    "augmentation.contrast": SHARE,
    "augmentation.saturation": SHARE,
    "reader.workers": Range(0, 256),
    "reader.prefetch": Range(1, 1024),
    "reader.buckets": Range(1, 16),
    "reader.mask_size": Range(14, 1024),
    "optimizer.learning_rate": POSITIVE,
    "optimizer.reference_batch": Range(1, 65536),
    "optimizer.weight_decay": AMOUNT,
    "optimizer.momentum": PART,
    "optimizer.global_clipnorm": POSITIVE,
    "optimizer.backbone_multiplier": POSITIVE,
    "optimizer.accumulate": Range(1, 4096),
    "optimizer.ema": Range(0, 1, open_low=True, open_high=True),
    "schedule.epochs": Range(0, 100_000, open_low=True),
    "schedule.steps": Range(1, LARGE),
    "schedule.reference_batch": Range(1, 65536),
    "schedule.warmup_steps": Range(0, LARGE),
    "schedule.warmup_factor": SHARE,
    "schedule.final_factor": SHARE,
    "schedule.drops": Range(0, 1, open_low=True),
    "schedule.evaluations": Range(1, 10_000),
    "training.batch_size": Range(1, 65536),
    "training.checkpoint_minutes": AMOUNT,
    "evaluation.batch_size": Range(1, 65536),
    "evaluation.max_val_images": COUNT,
    "evaluation.pictures": Range(0, 100),
    "evaluation.picture_score": SHARE,
    "evaluation.tta.scales": Range(0.1, 10),
    "sweep.threads": Range(1, 4096),
    "seed": SEED,
    "devices": Range(1, 64),
}
"""Every number of the schema, and every number in its lists (a test holds the two together)."""

LENGTHS: dict[str, tuple[int, ...]] = {
    "conventions.rpn_box_weights": (4,),
    "conventions.box_weights": (4,),
    "conventions.pixel_mean": (3,),
    "conventions.pixel_std": (3,),
    "augmentation.scale": (2,),
    "augmentation.crop": (0, 2),
}
"""Lists of fixed length."""

NONEMPTY = ("anchors.sizes", "anchors.ratios", "dataset.categories")
NONEMPTY_TEXT = (
    "tracking.experiment",
    "tracking.run_name",
    "tracking.uri",
    "dataset.root",
    "dataset.url",
    "schedule.name",
)


def check_values(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Each value by itself, in the order of `values` (full key → value)."""
    for key, value in values.items():
        if key in CHOICES:
            yield from _check_choice(key, value)
        elif value is not None and key in RANGES:
            yield from _check_range(key, value)
        yield from _check_length(key, value)
        if key in NONEMPTY_TEXT and value is not None and not value.strip():
            yield Problem(key, "is empty", f"give {key}=NAME, or leave it out")


def _check_choice(key: str, value: Any) -> Iterator[Problem]:
    names = CHOICES[key]
    if value not in names:
        near = nearest(str(value), names)
        hint = (f"did you mean {key}={near}? " if near else "") + f"known: {known(names)}"
        yield Problem(f"{key}={show(value)}", "is not one of its choices", hint)


def _check_range(key: str, value: Any) -> Iterator[Problem]:
    wrong = next((number for number in _numbers(value) if not RANGES[key].holds(number)), None)
    if wrong is not None:
        within = f" in {show(value)}" if isinstance(value, list) else ""
        wanted = RANGES[key] if math.isfinite(wrong) else "a finite number"
        yield Problem(f"{key}={show(value)}" if not within else key, f"{show(wrong)}{within} is not {wanted}")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    else:
        yield value


def _check_length(key: str, value: Any) -> Iterator[Problem]:
    if key in LENGTHS and len(value) not in LENGTHS[key]:
        wanted = " or ".join(str(n) for n in LENGTHS[key])
        yield Problem(f"{key}={show(value)}", f"holds {len(value)} numbers, expected {wanted}")
    if key in NONEMPTY and value == []:
        nothing = ", null stands for all" if key == "dataset.categories" else ""
        yield Problem(f"{key}=[]", f"is empty{nothing}")


def show(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, list):
        return "[" + ",".join(show(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.12g}" if isinstance(value, float) else str(value)
