"""ImageNet weights of backbones: which published network fits, how it counts pixels, and loading its file.

`keras.applications` publishes Keras files without classifier ("notop"); fetching one is `maskrcnn.downloads`' work.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.models.backbones.applications import (
    PIXELS,
    backbone_pixels,
    cut_application,
    preprocessing_mode,
    stock_network,
)
from maskrcnn.models.backbones.resnet import RESNETS
from maskrcnn.structures import BackboneSettings, Conventions

RESNET_NETWORKS = {"resnet50": "ResNet50", "resnet101": "ResNet101", "resnet152": "ResNet152"}
RESNET_EPSILON = 1.001e-5
"""Of the batch norms of `keras.applications`' ResNets (PAPER §5.6)."""


def imagenet_network(settings: BackboneSettings) -> str:
    """The class of `keras.applications` whose published weights fill the backbone.

    Raises:
        UserError: where there is none.
    """
    if settings.name == "applications":
        preprocessing_mode(settings.network)  # refuses what is no network
        return settings.network
    networks = {"mobilenetv2": "MobileNetV2", **RESNET_NETWORKS}
    if settings.name not in networks:
        raise UserError(
            f"keras.applications has no ImageNet weights for {settings.name}",
            where="weights.backbone",
            hint=f"give a file, or choose one of {', '.join(networks)}",
        )
    return networks[settings.name]


def imagenet_conventions(settings: BackboneSettings, conventions: Conventions) -> Conventions:
    """The conventions with what the network of `imagenet_network` demands: pixels, and for ResNets stride and epsilon.

    The ResNets of `keras.applications` are Caffe's: BGR, no standard deviation, stride in the first 1x1 (PAPER §5.6).
    """
    if settings.name in RESNET_NETWORKS:
        order, mean, std = PIXELS["caffe"]
        conventions = dataclasses.replace(conventions, stride_in_1x1=True, bn_epsilon=RESNET_EPSILON)
    else:
        order, mean, std = backbone_pixels(settings)
    return dataclasses.replace(conventions, channel_order=order, pixel_mean=list(mean), pixel_std=list(std))


def load_backbone_weights(backbone: keras.Model, path: str | os.PathLike[str], head: keras.Model | None = None) -> None:
    """Fill a backbone of `build_backbone` from a Keras weights file, all of it.

    Args:
        backbone: its `settings` and `conventions` say what it is.
        head: res5 where it is the head of each RoI; a ResNet of `keras.applications` fills it too.
        path: the file of the stock network of `imagenet_network` without classifier (`notop.h5`, `.weights.h5`), or a
            `.weights.h5` that the backbone itself has saved.

    Raises:
        UserError: for a file that is missing, unreadable or of another network, and for a ResNet of
            `keras.applications` in a backbone with the stride in its 3x3.
    """
    file = os.fspath(path)
    if not os.path.isfile(file):
        raise UserError("no such file", where=file, hint="give a Keras weights file (.weights.h5 or notop.h5)")
    settings: BackboneSettings = backbone.settings
    if settings.name in RESNETS:
        loaders = [_load_own]
        if settings.name in RESNET_NETWORKS:
            loaders.append(functools.partial(_load_resnet, head=head))
    else:
        loaders = [_load_own] if settings.name == "small" else [_load_stock, _load_own]
    before, causes = backbone.get_weights(), []
    for load in loaders:
        try:
            load(backbone, file)
        except (ValueError, OSError, KeyError, TypeError) as error:  # all that Keras and h5py raise for a strange file
            backbone.set_weights(before)
            causes.append(str(error).split("\n")[0][:200])
        else:
            return
    raise UserError(f"not a weights file of {settings.network or settings.name}: {causes[0]}", where=file)


def _load_whole(model: keras.Model, file: str) -> None:
    """Keras' own loading, but nothing may be left out: it only warns of what it skips."""
    floats = [v for v in model.variables if "float" in v.dtype]
    for variable in floats:
        variable.assign(np.full(variable.shape, np.nan, "float32"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.load_weights(file)
    unfilled = [v.path for v in floats if not np.isfinite(keras.ops.convert_to_numpy(v)).all()]
    if unfilled:
        raise ValueError(f"{len(unfilled)} weights are not there or not finite, the first is {unfilled[0]}")


def _load_own(backbone: keras.Model, file: str) -> None:
    _load_whole(backbone, file)


def _load_stock(backbone: keras.Model, file: str) -> None:
    """Load the whole stock network, cut it like the backbone, and take over its weights one by one."""
    stock = stock_network(imagenet_network(backbone.settings))
    _load_whole(stock, file)
    backbone.set_weights(cut_application(stock, backbone.settings, "stock").get_weights())


def _load_resnet(backbone: keras.Model, file: str, head: keras.Model | None = None) -> None:
    """Take over a ResNet of `keras.applications`, whose convolutions have biases: they move into the norms' means."""
    stock = stock_network(RESNET_NETWORKS[backbone.settings.name])
    _load_whole(stock, file)
    if not backbone.conventions.stride_in_1x1:
        raise UserError(
            "this ResNet strides in its first 1x1 convolutions",
            where=file,
            hint="set conventions.stride_in_1x1=true and the pixels of keras.applications",
        )
    if backbone.settings.norm == "group":
        raise UserError("these weights need batch norms", where="backbone.norm", hint="choose frozen or batch")
    for ours, theirs in _resnet_layers(backbone.settings.name):
        owner = head if head is not None and ours[0].startswith("res5") else backbone
        kernel, bias = stock.get_layer(f"{theirs}_conv").get_weights()
        gamma, beta, mean, variance = stock.get_layer(f"{theirs}_bn").get_weights()
        owner.get_layer(_tagged(ours, "conv")).set_weights([kernel])
        _set_norm(owner.get_layer(_tagged(ours, "norm")), gamma, beta, mean - bias, variance)


def _resnet_layers(name: str) -> Iterator[tuple[tuple[str, str], str]]:
    """((our prefix, our tag), the stock's prefix) of every convolution with its norm."""
    yield ("stem", ""), "conv1"
    for stage, blocks in enumerate(RESNETS[name].blocks, start=2):
        for block in range(1, blocks + 1):
            theirs = f"conv{stage}_block{block}"
            if block == 1:
                yield (f"res{stage}_1_shortcut", ""), f"{theirs}_0"
            for k in range(1, 4):
                yield (f"res{stage}_{block}", str(k)), f"{theirs}_{k}"


def _tagged(prefix_and_tag: tuple[str, str], kind: str) -> str:
    prefix, tag = prefix_and_tag
    return f"{prefix}_{kind}{tag}"


def _set_norm(layer: Any, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> None:
    for variable, values in (
        (layer.gamma, gamma),
        (layer.beta, beta),
        (layer.moving_mean, mean),
        (layer.moving_variance, variance),
    ):
        variable.assign(values)
