"""Networks of `keras.applications` as backbones: the stock network without its classifier and its preprocessing.

The ends of the strides are found by shape, so any class serves whose maps have strides 4, 8, 16 and 32. These
networks keep their own padding, layer names and batch norms; `maskrcnn.weights` loads their published files.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from maskrcnn.errors import UserError
from maskrcnn.models.normalization import BATCH_MOMENTUM
from maskrcnn.structures import BackboneSettings, Conventions

MOBILENETV2_ENDS = {"c2": "block_2_add", "c3": "block_5_add", "c4": "block_12_add", "c5": "block_16_project_BN"}
"""The narrow ends of the inverted residuals, not the wide expansions that come last at each stride."""
PROBE_SIDE = 512
"""Side in pixels at which strides are read off the shapes of all layers."""
Pixels = tuple[str, list[float], list[float]]
PIXELS: dict[str, Pixels] = {
    "caffe": ("bgr", [103.939, 116.779, 123.68], [1.0, 1.0, 1.0]),
    "tf": ("rgb", [127.5, 127.5, 127.5], [127.5, 127.5, 127.5]),
    "tf128": ("rgb", [128.0, 128.0, 128.0], [128.0, 128.0, 128.0]),
    "torch": ("rgb", [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
}
"""Preprocessing modes: channel order, mean and standard deviation in units of 0…255.

Source: `keras.applications` (imagenet_utils, and the preprocessing layers inside EfficientNetV2 and ConvNeXt).
"""
MODES = {
    "caffe": ("VGG", "ResNet50", "ResNet101", "ResNet152"),
    "tf": ("MobileNet", "Inception", "Xception", "NASNet", "ResNet50V2", "ResNet101V2", "ResNet152V2"),
    "tf128": ("EfficientNetV2S", "EfficientNetV2M", "EfficientNetV2L"),
    "torch": ("DenseNet", "EfficientNet", "ConvNeXt"),
}
"""Beginnings of the class names of each mode; the longest that fits decides."""
PREPROCESSING = (keras.layers.Rescaling, keras.layers.Normalization)


def application_names() -> tuple[str, ...]:
    """All networks that this Keras has."""
    return tuple(sorted(n for n in dir(keras.applications) if n[0].isupper() and _is_builder(n)))


def _is_builder(name: str) -> bool:
    return inspect.isfunction(getattr(keras.applications, name))


def preprocessing_mode(network: str) -> str:
    """caffe | tf | tf128 | torch: how the published weights of the network expect their pixels."""
    fitting = {prefix: mode for mode, prefixes in MODES.items() for prefix in prefixes if network.startswith(prefix)}
    if not fitting:
        raise unknown_network(network)
    return fitting[max(fitting, key=len)]


def backbone_pixels(settings: BackboneSettings) -> Pixels:
    """(channel order, mean, standard deviation) that the backbone's published weights expect, in units of 0…255."""
    if settings.name == "mobilenetv2":
        return PIXELS["tf"]
    if settings.name == "applications":
        return PIXELS[preprocessing_mode(settings.network)]
    return PIXELS["torch"]


def unknown_network(network: str) -> UserError:
    names = application_names()
    near = difflib.get_close_matches(network, names, n=1, cutoff=0.0)
    return UserError(
        f"keras.applications has no network {network!r}", where="backbone.network", hint=f"did you mean {near[0]}?"
    )


def build_mobilenetv2(settings: BackboneSettings, conventions: Conventions, name: str) -> keras.Model:
    """MobileNetV2 1.0: 24, 32, 96 and 320 channels at strides 4, 8, 16, 32."""
    return cut_application(stock_network("MobileNetV2"), settings, name)


def build_application(settings: BackboneSettings, conventions: Conventions, name: str) -> keras.Model:
    """The network `settings.network`; c2 … c5 are the last maps of strides 4 … 32."""
    return cut_application(stock_network(settings.network), settings, name)


def stock_network(network: str) -> keras.Model:
    """The network as Keras builds it, without classifier and weights, and without preprocessing where it can be."""
    if network not in application_names():
        raise unknown_network(network)
    builder = getattr(keras.applications, network)
    options: dict[str, Any] = {"include_top": False, "weights": None, "input_shape": (None, None, 3)}
    if "include_preprocessing" in inspect.signature(builder).parameters:
        options["include_preprocessing"] = False
    return builder(**options)


def cut_application(stock: keras.Model, settings: BackboneSettings, name: str) -> keras.Model:
    """The part of the stock network between its preprocessing and its last used map; it shares the layers.

    Raises:
        UserError: where the network has no map of some stride, cannot take images of any size, or has other norms.
    """
    _check_norm(settings)
    sides = layer_sides(stock)
    ends = MOBILENETV2_ENDS if settings.name == "mobilenetv2" else _last_of_each_stride(stock, sides)
    images = _first_input(stock)
    outputs = {}
    for key, end in ends.items():
        stride, x = 2 ** int(key[1:]), stock.get_layer(end).output
        exact = sides[end] * stride == PROBE_SIDE
        outputs[key] = x if exact else AlignToStride(stride, name=f"align_{key}")([x, images])
    model = keras.Model(images, outputs, name=name)
    _set_norm(model, settings.norm)
    _freeze(model, sides, settings.frozen_stages)
    return model


def layer_sides(stock: keras.Model) -> dict[str, int]:
    """Height of each layer's output for an input of `PROBE_SIDE` pixels, of the layers that end in one map."""
    layers = [layer for layer in stock.layers if isinstance(layer.output, keras.KerasTensor)]
    probe = keras.Model(stock.inputs, [layer.output for layer in layers])
    try:
        specs = probe.compute_output_spec(keras.KerasTensor((1, PROBE_SIDE, PROBE_SIDE, 3)))
    except ValueError as error:  # NASNet decides at building which maps to crop, by a fixed input size
        raise _unfit(stock, "is made for one image size") from error
    return {layer.name: spec.shape[1] for layer, spec in zip(layers, specs, strict=True) if len(spec.shape) == 4}


def _last_of_each_stride(stock: keras.Model, sides: Mapping[str, int]) -> dict[str, str]:
    """{"c2": name of the last layer of stride 4, …}; slightly smaller maps serve where none is exact.

    Inception and Xception do not pad all of their convolutions.
    """
    ends = {}
    for k in range(2, 6):
        exact = [name for name, side in sides.items() if side * 2**k == PROBE_SIDE]
        near = [name for name, side in sides.items() if 0 < side * 2**k < PROBE_SIDE and _octave(side) == k]
        if not exact + near:
            raise _unfit(stock, f"has no map of stride {2**k}")
        ends[f"c{k}"] = (exact or near)[-1]
    return ends


def _octave(side: int) -> int:
    return round(math.log2(PROBE_SIDE / side))


def _unfit(stock: keras.Model, what: str) -> UserError:
    return UserError(f"{stock.name} {what}", where="backbone.network", hint="choose another network")


def _first_input(stock: keras.Model) -> Any:
    """The tensor after the leading preprocessing layers, which `Conventions` replace."""
    tensor = stock.inputs[0]
    for layer in stock.layers:
        if isinstance(layer, PREPROCESSING) and layer.input is tensor:
            tensor = layer.output
    return tensor


@keras.saving.register_keras_serializable("maskrcnn")
class AlignToStride(keras.layers.Layer):
    """Zeros around a map that valid convolutions made too small, so that cell i lies near pixel i · stride.

    Call: (map [B, h, w, C], images [B, H, W, 3]) → [B, ceil(H/stride), ceil(W/stride), C], the map in the middle.
    """

    MARGIN = 4
    """Cells that may be missing on a side, and more than any network of `keras.applications` lacks."""

    def __init__(self, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, inputs: Sequence[Any]) -> Any:
        x, images = inputs
        margin, static = self.MARGIN, x.shape
        padded = ops.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
        top, height = self._window(ops.shape(x)[1], ops.shape(images)[1])
        left, width = self._window(ops.shape(x)[2], ops.shape(images)[2])
        aligned = padded[:, top : top + height, left : left + width]
        return ops.reshape(aligned, (-1, height, width, static[-1]))

    def _window(self, have: Any, pixels: Any) -> tuple[Any, Any]:
        """First cell of the padded map and number of cells."""
        want = -(-pixels // self.stride)
        return self.MARGIN - (want - have) // 2, want

    def compute_output_shape(self, input_shape: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        (batch, *_, channels), (_, *pixels, _) = input_shape
        return (batch, *(None if p is None else -(-p // self.stride) for p in pixels), channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stride": self.stride}


def _check_norm(settings: BackboneSettings) -> None:
    if settings.norm not in ("batch", "frozen"):
        raise UserError(
            f"networks of keras.applications have batch norms, not {settings.norm!r}",
            where="backbone.norm",
            hint="choose frozen (with weights) or batch",
        )


def _set_norm(model: keras.Model, norm: str) -> None:
    """Frozen: Keras runs a batch norm that is not trainable in inference mode, also in training."""
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = norm == "batch"
            layer.momentum = BATCH_MOMENTUM


def _freeze(model: keras.Model, sides: Mapping[str, int], frozen_stages: int) -> None:
    """1: all layers up to stride 2, 2: up to stride 4, …"""
    if frozen_stages == 0:
        return
    smallest = PROBE_SIDE / 2**frozen_stages
    for layer in model.layers:
        if sides.get(layer.name, 0) >= smallest:
            layer.trainable = False
