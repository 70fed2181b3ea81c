"""Which Detectron2 detector a state dict belongs to, from its names and shapes (PAPER §5.3).

Recognition looks at as few tensors as it can; that all others are there, fit and are used is the importer's check.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from maskrcnn.errors import UserError
from maskrcnn.models.backbones import RESNETS
from maskrcnn.weights.recognise import DETECTRON2, HEADS, Shapes, count_names, shape_of

RPN = DETECTRON2
ONE_MAP_CHANNELS = {"c4": 1024, "dc5": 2048}
IGNORED = r"pixel_mean|pixel_std|proposal_generator\.anchor_generator\.cell_anchors\.\d+|.*\.num_batches_tracked"
"""Old files hold what the configuration decides; counters of batch norms have no effect on outputs."""


@dataclass(frozen=True)
class Detectron2Architecture:
    """What decides the shape of a Detectron2 detector of the model zoo.

    Attributes:
        backbone: a name of our ResNets. neck: fpn, c4 or dc5.
        num_classes: C, without background.
        channels: of the maps that the RPN reads.
        anchors_per_cell: rows of the RPN's objectness. rpn_channels: width of its 3x3.
        box_dense: widths of fc1, fc2, …; box_cells: side of the map that fc1 reads (0 without one).
        mask_convolutions, mask_channels, keypoint_convolutions, keypoint_channels: of these heads; no channels: none.
        num_keypoints: K; 0: no keypoint head.
        agnostic_boxes, agnostic_masks: one row for all classes.
    """

    backbone: str
    neck: str
    num_classes: int
    channels: int
    anchors_per_cell: int
    rpn_channels: int
    box_dense: tuple[int, ...]
    box_cells: int
    mask_convolutions: int
    mask_channels: int
    keypoint_convolutions: int
    keypoint_channels: int
    num_keypoints: int
    agnostic_boxes: bool
    agnostic_masks: bool

    @property
    def body(self) -> str:
        """Prefix of the ResNet's names."""
        return "backbone.bottom_up." if self.neck == "fpn" else "backbone."


def is_ignored(name: str) -> bool:
    """Tensors of old files and training checkpoints that inference does not read."""
    return re.fullmatch(IGNORED, name) is not None


def recognise_detectron2(shapes: Shapes) -> Detectron2Architecture:
    """The architecture from shapes under Detectron2's names.

    Raises:
        UserError: when a tensor that decides the architecture is missing, or the backbone is none that we have.
    """
    neck = _neck(shapes)
    channels = ONE_MAP_CHANNELS.get(neck) or shape_of(shapes, "backbone.fpn_output2.weight", 4)[0]
    num_classes = shape_of(shapes, HEADS + "box_predictor.cls_score.weight", 2)[0] - 1
    box_rows = shape_of(shapes, HEADS + "box_predictor.bbox_pred.weight", 2)[0]
    mask, keypoint = HEADS + "mask_head.", HEADS + "keypoint_head."
    mask_rows, num_keypoints = _outputs(shapes, mask + "predictor.weight", 0), _keypoints(shapes, keypoint)
    dense = count_names(shapes, HEADS + r"box_head\.fc(\d+)\.weight")
    return Detectron2Architecture(
        backbone=recognise_resnet(shapes, "backbone.bottom_up." if neck == "fpn" else "backbone."),
        neck=neck,
        num_classes=num_classes,
        channels=channels,
        anchors_per_cell=shape_of(shapes, RPN + "objectness_logits.weight", 4)[0],
        rpn_channels=shape_of(shapes, RPN + "conv.weight", 4)[0],
        box_dense=tuple(shape_of(shapes, f"{HEADS}box_head.fc{k + 1}.weight", 2)[0] for k in range(dense)),
        box_cells=_cells(shapes, channels) if dense else 0,
        mask_convolutions=count_names(shapes, HEADS + r"mask_head\.mask_fcn(\d+)\.weight"),
        mask_channels=_outputs(shapes, mask + "deconv.weight", 1),
        keypoint_convolutions=count_names(shapes, HEADS + r"keypoint_head\.conv_fcn(\d+)\.weight"),
        keypoint_channels=_outputs(shapes, keypoint + "score_lowres.weight", 0),
        num_keypoints=num_keypoints,
        agnostic_boxes=box_rows == 4 and num_classes > 1,
        agnostic_masks=mask_rows == 1 and num_classes > 1,
    )


def recognise_resnet(shapes: Shapes, prefix: str) -> str:
    """The ResNet of bottlenecks whose stages res2 to res4 have Detectron2's names behind `prefix`."""
    blocks = tuple(count_names(shapes, re.escape(prefix) + rf"res{k}\.(\d+)\.conv1\.weight") for k in range(2, 5))
    decisive = f"{prefix}res2.0.conv2.weight"
    width, per_group = shape_of(shapes, decisive, 4)[:2]
    for name, variant in RESNETS.items():
        groups = width // max(per_group, 1)
        if variant.bottleneck and (blocks, groups, width) == (variant.blocks[:3], variant.groups, variant.width(2)):
            return name
    known = [name for name, variant in RESNETS.items() if variant.bottleneck]
    raise UserError(
        f"unknown ResNet of {blocks} blocks in res2 to res4 whose 3x3 has width {width} and {per_group} inputs per "
        "group",
        where=decisive,
        hint=f"known: {', '.join(known)}",
    )


def _neck(shapes: Shapes) -> str:
    if any(name.startswith("backbone.fpn_") for name in shapes):
        return "fpn"
    if any(name.startswith(HEADS + "res5.") for name in shapes):
        return "c4"
    return "dc5"


def _cells(shapes: Shapes, channels: int) -> int:
    inputs = shape_of(shapes, HEADS + "box_head.fc1.weight", 2)[1]
    return round((inputs / channels) ** 0.5)


def _outputs(shapes: Shapes, name: str, axis: int) -> int:
    return shape_of(shapes, name, 4)[axis] if name in shapes else 0


def _keypoints(shapes: Shapes, prefix: str) -> int:
    return _outputs(shapes, prefix + "score_lowres.weight", 1)
