"""The typed configuration: every key that a user can set, and the one place of every default that is not a part's own.

The parts of the detector have their defaults in `maskrcnn.structures`; the YAML files of `conf/` hold only what
differs. Hydra reads these classes as structured configs; `maskrcnn.config.compose` returns them filled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from maskrcnn.structures import (
    AnchorSettings,
    BackboneSettings,
    BoxHeadSettings,
    Conventions,
    KeypointHeadSettings,
    MaskHeadSettings,
    ProposalSettings,
    PyramidSettings,
    ResizeSettings,
    RoISettings,
    TTASettings,
)


@dataclass
class HeadConfig:
    """What the second stage predicts; boxes always."""

    name: str = "mask"
    masks: bool = True
    keypoints: bool = False
    embedded_steps: int = 2050
    """Steps of `schedule=embedded`: about as many as seven minutes on two cores hold with this head."""


@dataclass
class PartConfig:
    """One part of a data set: a COCO annotation file and its image folder; empty: not given."""

    annotations: str | None = None
    images: str | None = None


@dataclass
class ValidationConfig:
    """The part that gives the curves and chooses the best checkpoint: a file, or a share of the training images."""

    annotations: str | None = None
    images: str | None = None
    fraction: float = 0.1


@dataclass
class EmbeddedConfig:
    """Sizes of the generated data set."""

    train_images: int = 1500
    test_images: int = 200
    image_size: int = 128
    seed: int = 0


@dataclass
class DatasetConfig:
    name: str = "embedded"
    """embedded | coco_json | coco."""
    subset: str | None = None
    """Name of a ready subset, for the table of runs."""
    year: int = 2017
    """Of COCO: 2014 | 2017."""
    url: str = "http://images.cocodataset.org"
    """Address above COCO's folders, or a mirror of them; asked only for what dataset.root does not hold."""
    root: str = "${oc.env:MASKRCNN_DATA,data}"
    train: PartConfig = field(default_factory=PartConfig)
    val: ValidationConfig = field(default_factory=ValidationConfig)
    test: PartConfig = field(default_factory=PartConfig)
    test_fraction: float = 0.2
    """Share of the training file's images that become the test set when no test file is given."""
    embedded: EmbeddedConfig = field(default_factory=EmbeddedConfig)
    categories: list[str] | None = None
    """Names to keep; null: all (of the persons with keypoints, under a keypoint head)."""
    max_train_images: int | None = None
    max_test_images: int | None = None
    background: bool | None = None
    """Whether training images without an object of the chosen categories stay; null: yes, but not of dataset=coco, and
    not where keypoints are learnt without masks (the paper trains poses on images with persons alone)."""
    min_area: float = 0.0
    """Instances with a smaller area (pixels of the original image) are excluded, and counted."""
    faults: str = "fail"
    """fail: refuse a data set with faults; drop: leave out exactly the faulty items and count them."""
    subset_seed: int = 0
    write_subset: str | None = None
    """Folder to write the chosen subset to, as COCO JSON."""
    keypoints: Any = None
    """Own keypoint schema: {names: […], flip_pairs: [[a, b], …], skeleton: […], sigmas: […]}; null: the category's.

    `names` are those of the file's joints in its order; pairs and bones name joints or count them from 0. Left out,
    pairs follow from names that say left and right, bones from the category, sigmas are COCO's or 0.05."""


@dataclass
class AugmentationConfig:
    flip: float = 0.5
    """Probability of a horizontal flip."""
    short_sides: list[int] = field(default_factory=list)
    """Training short sides to draw from; empty: `image.short_side`."""
    scale: list[float] = field(default_factory=lambda: [1.0, 1.0])
    """Large-scale jitter: range of a further factor on the resized image."""
    crop: list[int] = field(default_factory=list)
    """[height, width] of a random crop after resizing; empty: none."""
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    permute_channels: bool = False
    """Random order of the colour channels (for data whose colours say nothing)."""


@dataclass
class ReaderConfig:
    workers: int = 2
    prefetch: int = 4
    """Batches that are held ready."""
    buckets: int = 2
    """Aspect buckets: images of like shape share a batch; 1: none."""
    mask_size: int = 56
    """Side S of the ground-truth masks inside their boxes."""


@dataclass
class OptimizerConfig:
    name: str = "muon"
    """adamw | muon | sgd."""
    learning_rate: float = 0.003
    """For a batch of `reference_batch` images; scaled linearly to the actual batch."""
    reference_batch: int = 8
    scale_learning_rate: bool = True
    weight_decay: float = 0.01
    momentum: float = 0.9
    global_clipnorm: float | None = 5.0
    accumulate: int = 1
    backbone_multiplier: float = 1.0
    """Of the learning rate of the backbone's weights: below 1 keeps pretrained ones nearer to where they were."""
    ema: float | None = None
    """Decay of an exponential moving average of the weights, which is then evaluated and saved; null: none."""


@dataclass
class ScheduleConfig:
    name: str = "embedded"
    epochs: float | None = None
    steps: int | None = None
    """Exactly one of epochs and steps."""
    reference_batch: int | None = None
    """With it, `steps` are for this batch and are scaled to the actual one (the paper's 1x: 90000 at 16)."""
    warmup_steps: int = 100
    warmup_factor: float = 0.001
    decay: str = "cosine"
    """cosine | step | constant."""
    final_factor: float = 0.02
    """Last learning rate of the cosine as a share of the peak."""
    drops: list[float] = field(default_factory=lambda: [0.667, 0.889])
    """With decay=step: where the rate drops to a tenth, as shares of the steps."""
    evaluations: int = 4
    """Evaluations on the validation part, evenly spread, the last at the end."""


@dataclass
class TrainingConfig:
    batch_size: int = 8
    deterministic: bool | None = None
    """null: yes on a CPU, no on a GPU."""
    precision: str = "float32"
    """auto (mixed_bfloat16 on a CPU that multiplies it, else float32) | float32 | mixed_bfloat16 | mixed_float16."""
    resume: str = "never"
    """never | auto: go on with the newest unfinished run of the same configuration, if there is one."""
    from_data: bool = False
    """Schedule, rate and augmentation follow from the training part (`config.finetune`), except for typed keys."""
    checkpoint_minutes: float = 5.0
    """Wall time between checkpoints for resuming; 0: after each step."""


@dataclass
class EvaluationConfig:
    batch_size: int = 8
    max_val_images: int | None = 200
    """Cap on the validation images of the evaluations during training; null: all."""
    pictures: int = 6
    """Test images drawn with ground truth beside prediction at each evaluation."""
    picture_score: float = 0.5
    """Detections with a lower score are not drawn (the figures use `roi.score_threshold`)."""
    tta: TTASettings = field(default_factory=TTASettings)
    """Of the test part's figures; the validation during training is plain."""


@dataclass
class WeightsConfig:
    file: str | None = None
    """A trained detector to start from, also as `weights=FILE`: of torchvision, Detectron2 or Matterport, or a model
    file of this program. It decides the architecture; heads keep the rows of `dataset.categories` that it knows."""
    source: str = "auto"
    """auto (by the names of its tensors) | torchvision | detectron2 | matterport."""
    backbone: str | None = None
    """imagenet | a file | null: random."""
    allow_random: bool = False
    """Go on with random weights when the ImageNet weights cannot be had."""


@dataclass
class TrackingConfig:
    uri: str | None = None
    """null: MLFLOW_TRACKING_URI, else the store in mlruns/ of the directory of launch."""
    experiment: str = "maskrcnn"
    run_name: str | None = None
    enabled: bool = True


@dataclass
class SweepConfig:
    """What concerns all jobs of a sweep (`-m`) together."""

    metric: str | None = None
    """Figure of `metrics.json` that a job returns to Hydra's sweeper; null: that of the head, such as mask/AP."""
    threads: int | None = None
    """Threads of each job, the same under every launcher; null: as many as there are cores."""
    skip_finished: bool = True
    """Go on with the last sweep of the same command line: its finished jobs are not run again."""


@dataclass
class Config:
    task: Any = "segmentation"
    head: HeadConfig = field(default_factory=HeadConfig)
    num_keypoints: Any = None
    """null: all; K: of COCO's joints a nested subset (`data.joints.COCO_ORDER`), of others the first K; or names."""
    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    pyramid: PyramidSettings = field(default_factory=PyramidSettings)
    anchors: AnchorSettings = field(default_factory=AnchorSettings)
    rpn: ProposalSettings = field(default_factory=ProposalSettings)
    roi: RoISettings = field(default_factory=RoISettings)
    box_head: BoxHeadSettings = field(default_factory=BoxHeadSettings)
    mask_head: MaskHeadSettings = field(default_factory=MaskHeadSettings)
    keypoint_head: KeypointHeadSettings = field(default_factory=KeypointHeadSettings)
    conventions: Conventions = field(default_factory=Conventions)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    image: ResizeSettings = field(default_factory=ResizeSettings)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    reader: ReaderConfig = field(default_factory=ReaderConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    experiment: Any = None
    """Name of the recipe that was chosen, if any."""
    seed: int = 0
    devices: int = 1
    """Devices of this process that share each batch: GPUs, or parts of the processor where there are none."""
    from_run: str | None = None
    """Start from the configuration of this run (id or folder)."""
