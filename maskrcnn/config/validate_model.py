"""What the parts of the detector must have in common: backbone, its maps, the proposal network's levels, norms."""

from __future__ import annotations

from collections.abc import Iterator

from maskrcnn.config.names import (
    BACKBONE_LEVELS,
    BOTTLENECK_BACKBONES,
    IMAGENET_BACKBONES,
    NETWORKS,
    known,
    nearest,
)
from maskrcnn.config.paths import IMAGENET
from maskrcnn.config.ranges import show
from maskrcnn.config.schema import Config
from maskrcnn.errors import Problem

GROUP_CHANNELS = 8
"""The smallest number of groups of `maskrcnn.models.normalization`."""
SINGLE_MAP_STRIDE = 16
"""Of the map that the necks c4 and dc5 end in."""


def check_network(config: Config) -> Iterator[Problem]:
    name, network = config.backbone.name, config.backbone.network
    if name != "applications":
        if network:
            yield Problem(
                f"backbone.network={network}",
                f"has no meaning for backbone.name={name}",
                "choose backbone=applications_fpn",
            )
    elif network not in NETWORKS:
        near = nearest(network, NETWORKS)
        hint = (f"did you mean backbone.network={near}? " if near else "") + f"known: {known(NETWORKS)}"
        yield Problem(f"backbone.network={network}", "is no network of keras.applications", hint)


def check_backbone(config: Config) -> Iterator[Problem]:
    backbone, weights = config.backbone, config.weights
    free = weights.backbone is None and weights.file is None and not weights.allow_random
    advice = "give weights.backbone=imagenet or a file, or weights.allow_random=true"
    if backbone.norm == "frozen" and free:
        yield Problem(
            "backbone.norm=frozen",
            "fixed statistics without pretrained weights never learn",
            f"{advice}, or backbone.norm=group",
        )
    if backbone.frozen_stages > 0 and free:
        yield Problem(
            f"backbone.frozen_stages={backbone.frozen_stages}",
            "stages with random weights would never train",
            f"{advice}, or backbone.frozen_stages=0",
        )
    stock = backbone.name in ("mobilenetv2", "applications")
    if stock and backbone.norm == "group":
        yield Problem(
            "backbone.norm=group",
            f"backbone.name={backbone.name} has batch normalisation of its own",
            "choose backbone.norm=batch, or backbone.norm=frozen with weights",
        )
    if weights.backbone == IMAGENET and backbone.norm == "group" and not stock:
        yield Problem(
            "weights.backbone=imagenet",
            "ImageNet weights come with batch normalisation, not backbone.norm=group",
            "choose backbone.norm=frozen or backbone.norm=batch",
        )
    if weights.backbone == IMAGENET and backbone.name not in IMAGENET_BACKBONES:
        yield Problem(
            "weights.backbone=imagenet",
            f"there are none by name for backbone.name={backbone.name}",
            f"name a file, or choose one of {known(IMAGENET_BACKBONES)}",
        )


def check_pyramid(config: Config) -> Iterator[Problem]:
    levels, neck = config.pyramid.levels, config.backbone.neck
    most = BACKBONE_LEVELS.get(config.backbone.name, 4)
    if neck == "fpn" and levels > most:
        yield Problem(f"pyramid.levels={levels}", f"backbone.name={config.backbone.name} has {most} maps")
    if neck != "fpn" and config.backbone.name not in BOTTLENECK_BACKBONES:
        yield Problem(
            f"backbone.neck={neck}",
            f"backbone.name={config.backbone.name} cannot end in one map",
            f"choose backbone.neck=fpn, or one of {known(BOTTLENECK_BACKBONES)}",
        )
    if len(config.anchors.sizes) != rpn_levels(config):
        yield Problem(
            f"anchors.sizes={show(config.anchors.sizes)}",
            f"holds {len(config.anchors.sizes)} lists, the proposal network has {rpn_levels(config)} levels",
            "one list for each level of the pyramid and one for the level that it adds; one in all for c4 and dc5",
        )
    elif len({len(row) for row in config.anchors.sizes}) > 1 or not config.anchors.sizes[0]:
        yield Problem(
            f"anchors.sizes={show(config.anchors.sizes)}", "all levels need equally many sizes", "they share one head"
        )
    if neck == "fpn" and not 2 <= config.roi.canonical_level <= levels + 1:
        yield Problem(f"roi.canonical_level={config.roi.canonical_level}", f"the pyramid has levels 2 to {levels + 1}")


def check_res5_head(config: Config) -> Iterator[Problem]:
    """Under the neck c4 the box layers read the mean over the cells of res5, and nothing comes between."""
    head = config.box_head
    if config.backbone.neck == "c4" and (head.convolutions or head.norm != "none"):
        yield Problem(
            f"box_head.convolutions={head.convolutions}",
            "res5 is the head of each RoI under backbone.neck=c4",
            "give box_head.convolutions=0 and box_head.norm=none",
        )


def rpn_levels(config: Config) -> int:
    """Maps that the proposal network reads."""
    return config.pyramid.levels + 1 if config.backbone.neck == "fpn" else 1


def coarsest_stride(config: Config) -> int:
    """Pixels of an image that one cell of the last map of the heads covers."""
    return 2 ** (config.pyramid.levels + 1) if config.backbone.neck == "fpn" else SINGLE_MAP_STRIDE


def check_group_norms(config: Config) -> Iterator[Problem]:
    for name, channels in (
        ("pyramid", config.pyramid.channels),
        ("box_head", config.box_head.convolution_channels),
        ("mask_head", config.mask_head.channels),
    ):
        if getattr(config, name).norm == "group" and channels % GROUP_CHANNELS:
            key = "convolution_channels" if name == "box_head" else "channels"
            yield Problem(
                f"{name}.{key}={channels}",
                f"is no multiple of {GROUP_CHANNELS}, which {name}.norm=group needs",
                f"give a multiple of {GROUP_CHANNELS}, or {name}.norm=batch",
            )
