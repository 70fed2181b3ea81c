"""The ImageNet weights that `keras.applications` publishes: their addresses and hashes."""

from __future__ import annotations

from pathlib import Path

from maskrcnn.downloads.files import fetch
from maskrcnn.errors import UserError

KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications/"
EFFICIENTNET_FILES = "https://storage.googleapis.com/keras-applications/"
ORDERING = "_weights_tf_dim_ordering_tf_kernels"
"""Part of the names of the older files."""
KERAS_APPLICATIONS: dict[str, tuple[str, str]] = {
    "ConvNeXtBase": (
        "convnext/convnext_base_notop.h5",
        "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
    ),
    "ConvNeXtLarge": (
        "convnext/convnext_large_notop.h5",
        "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
    ),
    "ConvNeXtSmall": (
        "convnext/convnext_small_notop.h5",
        "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
    ),
    "ConvNeXtTiny": (
        "convnext/convnext_tiny_notop.h5",
        "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    ),
    "ConvNeXtXLarge": (
        "convnext/convnext_xlarge_notop.h5",
        "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
    ),
    "DenseNet121": (f"densenet/densenet121{ORDERING}_notop.h5", "30ee3e1110167f948a6b9946edeeb738"),
    "DenseNet169": (f"densenet/densenet169{ORDERING}_notop.h5", "b8c4d4c20dd625c148057b9ff1c1176b"),
    "DenseNet201": (f"densenet/densenet201{ORDERING}_notop.h5", "c13680b51ded0fb44dff2d8f86ac8bb1"),
    "EfficientNetB0": ("efficientnetb0_notop.h5", "50bc09e76180e00e4465e1a485ddc09d"),
    "EfficientNetB1": ("efficientnetb1_notop.h5", "74c4e6b3e1f6a1eea24c589628592432"),
    "EfficientNetB2": ("efficientnetb2_notop.h5", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    "EfficientNetB3": ("efficientnetb3_notop.h5", "af6d107764bb5b1abb91932881670226"),
    "EfficientNetB4": ("efficientnetb4_notop.h5", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    "EfficientNetB5": ("efficientnetb5_notop.h5", "38879255a25d3c92d5e44e04ae6cec6f"),
    "EfficientNetB6": ("efficientnetb6_notop.h5", "9ecce42647a20130c1f39a5d4cb75743"),
    "EfficientNetB7": ("efficientnetb7_notop.h5", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
    "EfficientNetV2B0": ("efficientnet_v2/efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"),
    "EfficientNetV2B1": ("efficientnet_v2/efficientnetv2-b1_notop.h5", "0e80663031ca32d657f9caa404b6ec37"),
    "EfficientNetV2B2": ("efficientnet_v2/efficientnetv2-b2_notop.h5", "1dfe2e7a5d45b6632553a8961ea609eb"),
    "EfficientNetV2B3": ("efficientnet_v2/efficientnetv2-b3_notop.h5", "f6abf7b5849ac99a89b50dd3fd532856"),
    "EfficientNetV2L": ("efficientnet_v2/efficientnetv2-l_notop.h5", "b0b66b5c863aef5b46e8608fe1711615"),
    "EfficientNetV2M": ("efficientnet_v2/efficientnetv2-m_notop.h5", "1b8dc055df72dde80d614482840fe342"),
    "EfficientNetV2S": ("efficientnet_v2/efficientnetv2-s_notop.h5", "af0682fb74e8c54910f2d4393339c070"),
    "InceptionResNetV2": (
        f"inception_resnet_v2/inception_resnet_v2{ORDERING}_notop.h5",
        "d19885ff4a710c122648d3b5c3b684e4",
    ),
    "InceptionV3": (f"inception_v3/inception_v3{ORDERING}_notop.h5", "bcbd6486424b2319ff4ef7d526e38f63"),
    "MobileNet": ("mobilenet/mobilenet_1_0_224_tf_no_top.h5", ""),
    "MobileNetV2": (f"mobilenet_v2/mobilenet_v2{ORDERING}_1.0_224_no_top.h5", ""),
    "MobileNetV3Large": (
        "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        "07fb09a5933dd0c8eaafa16978110389",
    ),
    "MobileNetV3Small": (
        "mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        "d3e8ec802a04aa4fc771ee12a9a9b836",
    ),
    "NASNetLarge": ("nasnet/NASNet-large-no-top.h5", "d81d89dc07e6e56530c4e77faddd61b5"),
    "NASNetMobile": ("nasnet/NASNet-mobile-no-top.h5", "1ed92395b5b598bdda52abe5c0dbfd63"),
    "ResNet101": (f"resnet/resnet101{ORDERING}_notop.h5", "88cf7a10940856eca736dc7b7e228a21"),
    "ResNet101V2": (f"resnet/resnet101v2{ORDERING}_notop.h5", "c0ed64b8031c3730f411d2eb4eea35b5"),
    "ResNet152": (f"resnet/resnet152{ORDERING}_notop.h5", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    "ResNet152V2": (f"resnet/resnet152v2{ORDERING}_notop.h5", "ed17cf2e0169df9d443503ef94b23b33"),
    "ResNet50": (f"resnet/resnet50{ORDERING}_notop.h5", "4d473c1dd8becc155b73f8504c6f6626"),
    "ResNet50V2": (f"resnet/resnet50v2{ORDERING}_notop.h5", "fac2f116257151a9d068a22e544a4917"),
    "VGG16": (f"vgg16/vgg16{ORDERING}_notop.h5", "6d6bbae143d832006294945121d1f1fc"),
    "VGG19": (f"vgg19/vgg19{ORDERING}_notop.h5", "253f8cb515780f3b799900260a226db6"),
    "Xception": (f"xception/xception{ORDERING}_notop.h5", "b0042744bf5b25fce3cb969f33bebb97"),
}
"""Class of `keras.applications` → file of the ImageNet weights without classifier, and its MD5 or SHA-256.

Source: the addresses and hashes that Keras 3.15 itself uses; it has none for MobileNet and MobileNetV2.
"""


def keras_application_weights(network: str, *, cache: Path | None = None) -> Path:
    """The ImageNet weights without classifier of a class of `keras.applications`.

    Raises:
        UserError: for a network without published weights, and as `fetch` does.
    """
    if network not in KERAS_APPLICATIONS:
        raise UserError(
            f"no ImageNet weights are published for {network!r}",
            where="weights.backbone",
            hint=f"choose one of {', '.join(KERAS_APPLICATIONS)}",
        )
    path, code = KERAS_APPLICATIONS[network]
    base = KERAS_FILES if "/" in path else EFFICIENTNET_FILES
    is_sha256 = len(code) == 64
    return fetch(base + path, sha256=code if is_sha256 else "", md5="" if is_sha256 else code, cache=cache)
