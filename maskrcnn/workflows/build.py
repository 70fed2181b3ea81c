"""From the configuration to the things it names: data sets, readers, detector, optimizer.

This is the one place that turns configuration into plain arguments; nothing below sees a config.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from maskrcnn.config.schema import Config
from maskrcnn.data.reader import Reader
from maskrcnn.data.records import Dataset
from maskrcnn.data.transforms import Augmentation
from maskrcnn.errors import UserError
from maskrcnn.models.backbones import (
    backbone_pixels,
    imagenet_conventions,
    imagenet_network,
    load_backbone_weights,
)
from maskrcnn.models.detector import Detector
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.structures import Conventions, DetectorSettings, KeypointSchema
from maskrcnn.training.optimizers import build_optimizer
from maskrcnn.training.schedules import WarmupSchedule
from maskrcnn.weights.backbones import backbone_conventions, fill_backbone
from maskrcnn.weights.files import judge_h5, read_weights
from maskrcnn.weights.transfer import transfer
from maskrcnn.workflows.datasets import Data

EVALUATION_SEED = 0
KERAS_SUFFIXES = (".h5", ".keras")


@dataclass(frozen=True)
class TrainingLength:
    """Steps of a training and the images that they see."""

    steps: int
    steps_per_epoch: int

    @property
    def epochs(self) -> float:
        return self.steps / max(self.steps_per_epoch, 1)


def training_length(config: Config, train_images: int) -> TrainingLength:
    """Steps from `schedule.epochs` or `schedule.steps` (scaled to the batch where the schedule says for which)."""
    schedule, batch = config.schedule, config.training.batch_size
    per_epoch = -(-train_images // batch)
    if schedule.steps is not None:
        steps = schedule.steps
        if schedule.reference_batch:
            steps = round(steps * schedule.reference_batch / batch)
    else:
        steps = round((schedule.epochs or 0) * per_epoch)
    return TrainingLength(max(1, steps), per_epoch)


def detector_settings(config: Config) -> DetectorSettings:
    """The architecture that the configuration names; the pixels are those that the backbone's weights saw."""
    return DetectorSettings(
        backbone=config.backbone,
        pyramid=config.pyramid,
        anchors=config.anchors,
        rpn=config.rpn,
        roi=config.roi,
        box_head=config.box_head,
        mask_head=config.mask_head if config.head.masks else None,
        keypoint_head=config.keypoint_head if config.head.keypoints else None,
        conventions=_conventions(config),
    )


def _conventions(config: Config) -> Conventions:
    """Pretrained weights bring their own pixels, unless the user gave some; ImageNet's ResNets their stride too."""
    given, default = config.conventions, Conventions()
    if config.weights.file is not None:
        return given
    pixels = ("channel_order", "pixel_mean", "pixel_std")
    if config.weights.backbone is None or any(getattr(given, k) != getattr(default, k) for k in pixels):
        return given
    if config.weights.backbone == "imagenet":
        return imagenet_conventions(config.backbone, given)
    if _is_foreign(config.weights.backbone):
        return _foreign_conventions(config.weights.backbone, given)
    order, mean, std = backbone_pixels(config.backbone)
    return dataclasses.replace(given, channel_order=order, pixel_mean=list(mean), pixel_std=list(std))


def build_detector(config: Config, data: Data, pretrained: Predictor | None = None) -> Detector:
    """The detector of the configuration for the data's categories, with its backbone's weights if some are named.

    Args:
        pretrained: a detector of the same architecture (`workflows.pretrained`), whose weights it begins with.
    """
    schema = data.schema if config.head.keypoints else None
    detector = Detector(
        detector_settings(config),
        num_classes=data.train.num_classes,
        num_keypoints=len(schema) if schema is not None else 0,
        metadata=model_metadata(config, data.train, schema),
        keypoint_labels=data.train.keypoint_labels if schema is not None else None,
        name="detector",
    )
    if pretrained is not None:
        print(transfer(pretrained.detector, detector).to_text(), flush=True)
    elif config.weights.backbone is not None:
        load_weights(config, detector)
    return detector


def load_weights(config: Config, detector: Detector) -> None:
    """Fill the backbone from `weights.backbone`: a file, or ImageNet by name."""
    where = config.weights.backbone
    assert where is not None
    try:
        if where == "imagenet":
            from maskrcnn.downloads import keras_application_weights

            path = keras_application_weights(imagenet_network(config.backbone))
        else:
            path = Path(where)
        if _is_foreign(path):
            fill_backbone(detector, read_weights(path))
        else:
            judge_h5(path)
            load_backbone_weights(detector.backbone, path, head=detector.res5_head)
    except UserError as error:
        if not config.weights.allow_random:
            hint = error.problem.hint or "give a file, or weights.allow_random=true to train from random weights"
            raise UserError(error.problem.what, error.problem.where or "weights.backbone", hint) from error


def _foreign_conventions(path: str | Path, given: Conventions) -> Conventions:
    """The file is read here for its names and later for its weights: between the two nothing holds it."""
    return backbone_conventions(read_weights(path), given) if Path(path).is_file() else given


def _is_foreign(path: str | Path) -> bool:
    """Whether a backbone's file is another program's (torchvision, Detectron2, Caffe2), not Keras'."""
    return Path(path).suffix not in KERAS_SUFFIXES


def model_metadata(config: Config, dataset: Dataset, schema: KeypointSchema | None) -> dict[str, Any]:
    """What travels with the model: categories, joints, image size and the configuration that made it."""
    return {
        "categories": [{"id": c.id, "name": c.name} for c in dataset.categories],
        "schema": dataclasses.asdict(schema) if schema is not None else None,
        "image": dataclasses.asdict(config.image),
        "config": dataclasses.asdict(config),
    }


def build_optimizer_for(config: Config, length: TrainingLength, detector: Detector) -> keras.optimizers.Optimizer:
    """The optimizer with its schedule; the rate is scaled linearly from its reference batch to the actual one, that of
    `detector`'s backbone also by `optimizer.backbone_multiplier`."""
    options, schedule = config.optimizer, config.schedule
    peak = options.learning_rate
    if options.scale_learning_rate:
        peak *= config.training.batch_size * options.accumulate / options.reference_batch
    rate = WarmupSchedule(
        peak,
        length.steps,
        warmup_steps=schedule.warmup_steps,
        warmup_factor=schedule.warmup_factor,
        decay=schedule.decay,
        final_factor=schedule.final_factor,
        drops=tuple(schedule.drops),
    )
    return build_optimizer(
        options.name,
        rate,
        weight_decay=options.weight_decay,
        momentum=options.momentum,
        global_clipnorm=options.global_clipnorm,
        accumulate=options.accumulate,
        ema=options.ema,
        rate_factors={v.path: options.backbone_multiplier for v in detector.backbone.trainable_variables},
    )


def build_reader(config: Config, dataset: Dataset, *, training: bool) -> Reader:
    """The reader of a part: shuffled and augmented for training, else in order."""
    augmentation = Augmentation(**dataclasses.asdict(config.augmentation))
    return Reader(
        dataset,
        batch_size=config.training.batch_size,
        image=config.image,
        augmentation=augmentation if training else Augmentation(),
        seed=config.seed if training else EVALUATION_SEED,
        mask_size=config.reader.mask_size,
        training=training,
        workers=config.reader.workers,
        prefetch=config.reader.prefetch,
        buckets=config.reader.buckets,
        pad_multiple=config.conventions.pad_multiple,
        keypoint_rows=None,
        fixed_shape=fixed_shape(config, dataset) if keras.backend.backend() == "jax" else None,
        with_masks=config.head.masks,
        with_keypoints=config.head.keypoints,
        resize_rule=config.conventions.resize,
    )


def fixed_shape(config: Config, dataset: Dataset) -> tuple[int, int, int]:
    """One shape (H, W, M) for all batches of a data set, for backends that compile a program for each shape."""
    multiple = max(config.conventions.pad_multiple, 1)
    if config.image.short_side:
        height = width = config.image.long_side
    else:
        height = max(record.height for record in dataset.images)
        width = max(record.width for record in dataset.images)
    instances = max(len(record.annotations) for record in dataset.images)

    def round_up(value: int, to: int) -> int:
        return -(-value // to) * to

    return round_up(height, multiple), round_up(width, multiple), max(8, round_up(instances, 8))
