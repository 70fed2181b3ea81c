"""Backbones by name: a normalised image in, maps of stride 4, 8, 16 (and 32) out."""

from __future__ import annotations

from collections.abc import Callable

import keras

from maskrcnn.errors import UserError
from maskrcnn.models.backbones.applications import backbone_pixels, build_application, build_mobilenetv2
from maskrcnn.models.backbones.pretrained import imagenet_conventions, imagenet_network, load_backbone_weights
from maskrcnn.models.backbones.resnet import LAST_STAGE, RESNETS, build_res5, build_resnet
from maskrcnn.models.backbones.small import build_small
from maskrcnn.structures import BackboneSettings, Conventions

BACKBONES: dict[str, Callable[[BackboneSettings, Conventions, str], keras.Model]] = {
    "small": build_small,
    "resnet18": build_resnet,
    "resnet34": build_resnet,
    "resnet50": build_resnet,
    "resnet101": build_resnet,
    "resnet152": build_resnet,
    "resnext50_32x4d": build_resnet,
    "resnext101_32x8d": build_resnet,
    "resnext101_64x4d": build_resnet,
    "mobilenetv2": build_mobilenetv2,
    "applications": build_application,
}
BACKBONE_NAMES = tuple(BACKBONES)

__all__ = [
    "BACKBONES",
    "BACKBONE_NAMES",
    "RESNETS",
    "backbone_pixels",
    "backbone_strides",
    "build_backbone",
    "build_res5",
    "imagenet_conventions",
    "imagenet_network",
    "load_backbone_weights",
]


def build_backbone(settings: BackboneSettings, conventions: Conventions, name: str = "backbone") -> keras.Model:
    """The functional model [B, H, W, 3] (normalised) → {"c2": [B, H/4, W/4, C2], …}; H and W are free.

    Attributes: `strides` {"c2": 4, …}, `settings` and `conventions` as given.

    Raises:
        UserError: for a name, a network, a neck or a norm that does not exist, or a network without maps of these
            strides.
    """
    if settings.name not in BACKBONES:
        raise UserError(
            f"unknown backbone {settings.name!r}", where="backbone.name", hint=f"choose one of {', '.join(BACKBONES)}"
        )
    _check_neck(settings)
    model = BACKBONES[settings.name](settings, conventions, name)
    model.strides, model.settings, model.conventions = backbone_strides(settings), settings, conventions
    return model


def backbone_strides(settings: BackboneSettings) -> dict[str, int]:
    """The stride in pixels of each map of the backbone, without building it."""
    if settings.neck == "dc5":
        return {f"c{stage}": min(2**stage, 16) for stage in range(2, 6)}
    last = 4 if settings.name == "small" else LAST_STAGE[settings.neck]
    return {f"c{stage}": 2**stage for stage in range(2, last + 1)}


def _check_neck(settings: BackboneSettings) -> None:
    if settings.neck not in LAST_STAGE:
        raise UserError(
            f"unknown neck {settings.neck!r}", where="backbone.neck", hint=f"choose one of {', '.join(LAST_STAGE)}"
        )
    bottlenecks = [name for name, variant in RESNETS.items() if variant.bottleneck]
    if settings.neck != "fpn" and settings.name not in bottlenecks:
        raise UserError(
            f"{settings.name} has no neck {settings.neck}",
            where="backbone.neck",
            hint=f"choose fpn, or one of {', '.join(bottlenecks)}",
        )
