"""Plain data that all rooms share: the settings of each part of the detector, its conventions and keypoint schemas.

The settings are the one place of their defaults: the typed Hydra schema nests these classes, and the layers take
them as constructor arguments. They are not frozen, since Hydra refuses overrides of frozen nodes, and hold only
types that OmegaConf knows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar


@dataclass
class Conventions:
    """How a detector counts pixels, boxes and classes, where published code bases differ (PAPER §1.4).

    Defaults are Detectron2's, with fixed two-by-two RoIAlign sampling; importers choose their source's.
    """

    roi_aligned: bool = True
    """RoIAlign subtracts half a cell (Detectron2); False also forces RoIs of at least one cell (torchvision)."""
    roi_sampling_ratio: int = 2
    """Sample points per bin and axis; 0 = adaptive, ceil(bin size) (Detectron2's default)."""
    anchor_rounding: str = "none"
    """none (Detectron2) | corners (torchvision: corners rounded half to even)."""
    anchor_stride: str = "nominal"
    """nominal | from_grid (torchvision: padded size // grid size, for each axis)."""
    anchor_order: str = "size_major"
    """Order of the anchors of one cell: size_major (Detectron2) | ratio_major (torchvision)."""
    anchor_offset: float = 0.0
    """Centre of the first anchor in strides; 0 in Detectron2 and torchvision."""
    rpn_box_weights: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0, 1.0])
    box_weights: list[float] = field(default_factory=lambda: [10.0, 10.0, 5.0, 5.0])
    level_epsilon: str = "inside"
    """Where the level rule adds its epsilon: inside the logarithm (Detectron2, 1e-8) | outside (torchvision, 1e-6)."""
    proposal_min_side: float = 0.0
    """Proposals with a side below this are dropped (torchvision 1e-3; Detectron2 drops sides of 0)."""
    detection_min_side: float = 0.0
    """torchvision drops detections with a side below 1e-2."""
    proposal_score: str = "logit"
    """What an RPN score is: logit (Detectron2) | sigmoid (torchvision)."""
    background_index: int = 0
    """Position of the background in the class logits: 0 (torchvision) | -1 (Detectron2: last). Boxes and masks
    have rows for the foreground classes alone."""
    channel_order: str = "rgb"
    """Channel order that the backbone expects: rgb | bgr. Batches are always RGB."""
    pixel_mean: list[float] = field(default_factory=lambda: [123.675, 116.28, 103.53])
    """In units of 0..255, in the backbone's channel order."""
    pixel_std: list[float] = field(default_factory=lambda: [58.395, 57.12, 57.375])
    bn_epsilon: float = 1e-5
    stride_in_1x1: bool = False
    """Bottlenecks stride in their first 1x1 (MSRA, keras.applications) instead of the 3x3 (torchvision, ResNeXt)."""
    symmetric_padding: bool = True
    """Strided convolutions pad both sides alike; False is TensorFlow's SAME, for weights trained that way."""
    pad_multiple: int = 32
    """Batches are padded right and below to a multiple of this; 0: to the largest height and width alone."""
    resize: str = "opencv"
    """opencv (bilinear on uint8) | torchvision (bilinear on normalised floats, floor) | detectron2 (PIL bilinear)."""
    mask_paste: str = "bilinear"
    """bilinear (Detectron2: sample at pixel centres) | legacy (Detectron 1, torchvision: whole-pixel boxes)."""
    mask_target: str = "binary"
    """binary (threshold at one half) | soft (torchvision)."""
    keypoint_score: str = "softmax"
    """softmax (Detectron2) | logit (torchvision)."""
    keypoint_offset: float = 0.5
    """Where the network's joints count the middle of the first pixel: 0.5 (Detectron2; all that is trained here) | 0.0
    (Detectron, torchvision: taught with COCO's pixel indices, so that COCO results are written as decoded)."""


@dataclass
class BackboneSettings:
    """A bottom-up network that ends in maps of stride 4, 8, 16 (and 32), and which of them the rest reads."""

    name: str = "small"
    """A name of `maskrcnn.models.backbones`: small, resnet18 … resnext101_64x4d, mobilenetv2, applications."""
    network: str = ""
    """With name=applications: the class name in `keras.applications`."""
    norm: str = "group"
    """group | batch | frozen (fixed statistics and affine terms; needs pretrained weights, PAPER §6 row 32)."""
    frozen_stages: int = 0
    """Number of first stages that do not train: 0 none, 1 the stem, 2 stem and stage 2 (the paper's setting) …"""
    neck: str = "fpn"
    """fpn: a pyramid over all maps | c4: the map of res4 alone, and res5 is the head of each RoI | dc5: the map of res5
    alone, dilated instead of strided. Both single maps have stride 16; only ResNets of bottlenecks have them."""


@dataclass
class PyramidSettings:
    """Feature pyramid (FPN): lateral 1x1, nearest upsampling, 3x3 on each merged map."""

    channels: int = 256
    levels: int = 4
    """Number of maps made from the backbone, P2 upward; the RPN gets one more by subsampling the last."""
    norm: str = "none"


@dataclass
class AnchorSettings:
    """Anchors of each level; `sizes` holds one list of square roots of areas (pixels) for each RPN level."""

    sizes: list[list[float]] = field(default_factory=lambda: [[32.0], [64.0], [128.0], [256.0], [512.0]])
    ratios: list[float] = field(default_factory=lambda: [0.5, 1.0, 2.0])
    """Height / width."""


@dataclass
class ProposalSettings:
    """Region proposal network: head, assignment, sampling and selection (PAPER §1.1)."""

    convolutions: int = 1
    channels: int = 0
    """Width of the shared convolution; 0: that of the pyramid."""
    positive_iou: float = 0.7
    negative_iou: float = 0.3
    batch_per_image: int = 256
    positive_fraction: float = 0.5
    smooth_l1_beta: float = 0.0
    pre_nms_train: int = 2000
    pre_nms_test: int = 1000
    post_nms_train: int = 1000
    post_nms_test: int = 1000
    nms_iou: float = 0.7


@dataclass
class RoISettings:
    """Sampling of RoIs for the heads and the selection of detections (PAPER §1.2, §1.3)."""

    batch_per_image: int = 512
    positive_fraction: float = 0.25
    dense_positives: int = 0
    """At most so many positives of an image train the mask and the keypoint head, whose cost is theirs alone; 0: all
    (the paper)."""
    positive_iou: float = 0.5
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    detections_per_image: int = 100
    canonical_size: float = 224.0
    canonical_level: int = 4
    """A RoI of `canonical_size` pixels reads pyramid level `canonical_level` (P4 in the FPN paper)."""


@dataclass
class BoxHeadSettings:
    convolutions: int = 0
    convolution_channels: int = 256
    fully_connected: int = 2
    channels: int = 1024
    pool_size: int = 7
    norm: str = "none"
    class_agnostic: bool = False
    smooth_l1_beta: float = 0.0
    loss_weight: float = 1.0


@dataclass
class MaskHeadSettings:
    convolutions: int = 4
    channels: int = 256
    pool_size: int = 14
    norm: str = "none"
    class_agnostic: bool = False
    loss_weight: float = 1.0
    predictor_std: float = 0.001
    """Standard deviation of the last convolution's initial weights (Detectron2); 0: MSRA fill."""


@dataclass
class KeypointHeadSettings:
    convolutions: int = 8
    channels: int = 512
    pool_size: int = 14
    upsample: int = 2
    """Bilinear factor after the deconvolution: 2 gives the paper's 56x56 maps, 1 stays at 28x28."""
    loss_weight: float = 1.0
    target_sigma: float = 0.0
    """0: the paper's one-hot target; else the standard deviation in cells of a Gaussian around the joint."""


@dataclass
class DetectorSettings:
    """Everything that decides the architecture of a detector."""

    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    pyramid: PyramidSettings = field(default_factory=PyramidSettings)
    anchors: AnchorSettings = field(default_factory=AnchorSettings)
    rpn: ProposalSettings = field(default_factory=ProposalSettings)
    roi: RoISettings = field(default_factory=RoISettings)
    box_head: BoxHeadSettings = field(default_factory=BoxHeadSettings)
    mask_head: MaskHeadSettings | None = field(default_factory=MaskHeadSettings)
    keypoint_head: KeypointHeadSettings | None = None
    conventions: Conventions = field(default_factory=Conventions)


@dataclass
class ResizeSettings:
    """Size of the network's input: the short side, unless the long side would pass its limit."""

    short_side: int = 800
    """0: images keep their size."""
    long_side: int = 1333


@dataclass
class TTASettings:
    """Test-time augmentation: further views of each image, whose detections are merged with the plain ones."""

    flip: bool = False
    """Each view also mirrored."""
    scales: list[float] = field(default_factory=list)
    """Factors on the size of the network's input, beside 1; 0.5, 0.625 … 1.5 are the paper's 400 … 1200 at 800."""


@dataclass(frozen=True)
class KeypointSchema:
    """Joints of one category: names, sides, bones and OKS tolerances.

    `index_map` holds each joint's row in the data set's full list of joints; for the full schema it is 0…K-1.
    `flip_pairs`, `skeleton` and `unpaired` (joints whose other side was left out) index this schema's own joints.
    """

    names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] = ()
    index_map: tuple[int, ...] = ()
    unpaired: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.index_map:
            object.__setattr__(self, "index_map", tuple(range(len(self.names))))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def flip_permutation(self) -> tuple[int, ...]:
        """Row of the joint that each joint becomes in a mirrored image."""
        order = list(range(len(self.names)))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return tuple(order)

    def select(self, rows: Sequence[int]) -> KeypointSchema:
        """The schema of the joints at `rows`: pairs that lose a joint are dropped, bones bridge those left out."""
        position = {row: k for k, row in enumerate(rows)}
        mirrored = self.flip_permutation

        def kept(pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
            return tuple((position[a], position[b]) for a, b in pairs if a in position and b in position)

        return KeypointSchema(
            names=tuple(self.names[r] for r in rows),
            flip_pairs=kept(self.flip_pairs),
            skeleton=kept(bridged_bones(self.skeleton, rows)),
            sigmas=tuple(self.sigmas[r] for r in rows) if self.sigmas else (),
            index_map=tuple(self.index_map[r] for r in rows),
            unpaired=tuple(k for k, r in enumerate(rows) if mirrored[r] not in position or r in self.unpaired),
        )


LONGEST_BRIDGE = 3
"""Bones of a chain that one bone may stand for: nose, eye, ear, shoulder and shoulder, hip, knee, ankle are three."""


def bridged_bones(bones: Sequence[tuple[int, int]], rows: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Bones between the joints at `rows`: their own, and one for each short chain of joints that are left out.

    A chain becomes a bone only where no shorter one connects its ends already, so that a figure without elbows, hips
    and knees keeps its limbs and gets no bones across.

    >>> bridged_bones([(0, 1), (1, 2), (2, 3)], [0, 2, 3])
    ((2, 3), (0, 2))
    """
    found = [bone for bone in bones if set(bone) <= set(rows)]
    group = {row: row for row in rows}
    _join(group, found)
    for length in range(2, LONGEST_BRIDGE + 1):
        chains = [(a, b) for a, b in _chains(bones, rows, length) if group[a] != group[b]]
        found += chains
        _join(group, chains)
    return tuple(found)


def _chains(bones: Sequence[tuple[int, int]], rows: Sequence[int], length: int) -> list[tuple[int, int]]:
    """Pairs of `rows` that `length` bones connect over left-out joints alone."""
    beside: dict[int, set[int]] = {}
    for a, b in bones:
        beside.setdefault(a, set()).add(b)
        beside.setdefault(b, set()).add(a)
    pairs = []
    for start in rows:
        reached = {start}
        for step in range(length):
            reached = {n for joint in reached if not step or joint not in rows for n in beside.get(joint, ())}
        pairs += [(start, end) for end in sorted(reached) if end in rows and end > start]
    return pairs


def _join(group: dict[int, int], bones: Sequence[tuple[int, int]]) -> None:
    """Gives the ends of each bone, and all that hang together with them, the same group."""
    for a, b in bones:
        old, new = group[b], group[a]
        group.update({row: new for row, own in group.items() if own == old})


COCO_PERSON = KeypointSchema(
    names=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
        "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    skeleton=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
        (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
        0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
    ),
)  # fmt: skip
"""COCO's 17 joints (PAPER §3.3; sigmas as in pycocotools)."""


Settings = TypeVar("Settings")


def settings_from_dict(kind: type[Settings], values: dict[str, Any]) -> Settings:
    """The settings dataclass `kind` from nested plain dicts, the inverse of `dataclasses.asdict`."""
    unknown = sorted(set(values) - {f.name for f in dataclasses.fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {unknown[0]!r}")
    parts = _PARTS if kind is DetectorSettings else {}
    built = {
        name: settings_from_dict(parts[name], value) if name in parts and value is not None else value
        for name, value in values.items()
    }
    return kind(**built)


_PARTS: dict[str, type] = {
    "backbone": BackboneSettings,
    "pyramid": PyramidSettings,
    "anchors": AnchorSettings,
    "rpn": ProposalSettings,
    "roi": RoISettings,
    "box_head": BoxHeadSettings,
    "mask_head": MaskHeadSettings,
    "keypoint_head": KeypointHeadSettings,
    "conventions": Conventions,
}
