"""Which tensor of a source fills which variable of ours: one rule each, and the rules of the layers that all share.

PyTorch names the tensors of a layer weight, bias, running_mean and running_var, in torchvision and Detectron2 alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from maskrcnn.weights.layout import Layout, convolution, same


@dataclass(frozen=True)
class Rule:
    """One tensor of the source and the variable that it fills."""

    source: str
    variable: Any
    layout: Layout = same


def layer_rules(layer: Any, name: str, layout: Layout) -> Iterator[Rule]:
    """Kernel and, where the layer has one, bias."""
    yield Rule(name + ".weight", layer.kernel, layout)
    if layer.use_bias:
        yield Rule(name + ".bias", layer.bias)


def convolution_rules(layer: Any, name: str) -> Iterator[Rule]:
    """A convolution's kernel and bias."""
    yield from layer_rules(layer, name, convolution)


def norm_rules(layer: Any, name: str) -> Iterator[Rule]:
    """The affine terms and the statistics of a batch norm."""
    yield Rule(name + ".weight", layer.gamma)
    yield Rule(name + ".bias", layer.beta)
    yield Rule(name + ".running_mean", layer.moving_mean)
    yield Rule(name + ".running_var", layer.moving_variance)
