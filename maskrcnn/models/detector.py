"""Mask R-CNN on one page: backbone → pyramid → proposals → RoIAlign → heads → losses or detections (paper, figure 1).

The detector follows Keras' own way of training: `call(batch, training=True)` returns named scalars, `compute_loss`
adds those that begin with `loss/` and keeps one mean of each. It holds no random state: what is drawn comes from
`batch["seeds"]`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from maskrcnn.models import losses
from maskrcnn.models.backbones import backbone_strides, build_backbone, build_res5
from maskrcnn.models.heads import BoxHead, KeypointHead, MaskHead
from maskrcnn.models.positives import RoIRows, rows_of_detections, rows_of_positives, scatter_rows
from maskrcnn.models.postprocess import select_detections
from maskrcnn.models.pyramid import FeaturePyramid, extra_level
from maskrcnn.models.roi_sampling import SampledRoIs, sample_rois
from maskrcnn.models.rpn import RPNHead, anchors_of, rpn_losses, select_proposals
from maskrcnn.models.shapes import split_rows
from maskrcnn.ops.boxes import pairwise_iou
from maskrcnn.ops.keypoints import keypoint_targets
from maskrcnn.ops.masks import mask_targets
from maskrcnn.ops.replicas import replica_count, workers_strategy
from maskrcnn.ops.roi_align import pack_maps, roi_align, roi_levels
from maskrcnn.structures import DetectorSettings, settings_from_dict

Tensor = Any
FIRST_LEVEL = 2


@keras.saving.register_keras_serializable("maskrcnn")
class Detector(keras.Model):
    """A Mask R-CNN.

    Args:
        settings: every part's settings.
        num_classes: C, without background.
        num_keypoints: K, for a keypoint head.
        metadata: plain JSON that travels with the model: categories, keypoint schema, image size, configuration.
        keypoint_labels: the classes that have joints; None: all. Others get no rows in the keypoint head.

    Call: a batch (DESIGN §3) → named scalars if `training`, else boxes [B, D, 4] in input pixels, scores [B, D],
    labels [B, D] (0 = padding), and masks [B, D, m, m] (probabilities of the own class) and keypoint_logits
    [B, D, m, m, K] where the heads exist.
    """

    def __init__(
        self,
        settings: DetectorSettings,
        num_classes: int,
        num_keypoints: int = 0,
        metadata: dict[str, Any] | None = None,
        keypoint_labels: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        # Boxes are pixels: casting the batch to a half precision would move them.
        super().__init__(autocast=False, **kwargs)
        self.settings, self.num_classes, self.num_keypoints = settings, num_classes, num_keypoints
        self.metadata = metadata or {}
        self.keypoint_labels = None if keypoint_labels is None else tuple(keypoint_labels)
        self.conventions = settings.conventions
        self._build_trunk()
        self._build_heads()
        self._term_means: dict[str, keras.metrics.Mean] = {}
        for name in self._term_names():
            self._term_means[name] = keras.metrics.Mean(name=name)
        self.built = True

    def _build_trunk(self) -> None:
        settings = self.settings
        self.backbone = build_backbone(settings.backbone, settings.conventions)
        self.pyramid: FeaturePyramid | None = None
        self.res5_head: keras.Model | None = None
        shapes = {name: tuple(output.shape) for name, output in self.backbone.output.items()}
        strides = list(backbone_strides(settings.backbone).values())
        if settings.backbone.neck == "fpn":
            self.strides, self.width = strides[: settings.pyramid.levels], settings.pyramid.channels
            self.pyramid = FeaturePyramid(settings.pyramid, epsilon=settings.conventions.bn_epsilon, name="pyramid")
            self.pyramid.build(shapes)
        else:
            self.strides, self.width = strides[-1:], shapes[max(shapes)][-1]
        if settings.backbone.neck == "c4":
            self.res5_head = build_res5(settings.backbone, settings.conventions)
        per_cell = len(settings.anchors.sizes[0]) * len(settings.anchors.ratios)
        self.rpn_head = RPNHead(
            self.width,
            per_cell,
            convolutions=settings.rpn.convolutions,
            channels=settings.rpn.channels,
            name="rpn_head",
        )

    def _build_heads(self) -> None:
        settings, box_settings, width = self.settings, self.settings.box_head, self.width
        if self.res5_head is not None:
            # The box head reads the mean over the cells of each RoI.
            width, box_settings = self.res5_head.output.shape[-1], dataclasses.replace(box_settings, pool_size=1)
        self.box_head = BoxHead(
            box_settings, settings.conventions, in_channels=width, num_classes=self.num_classes, name="box_head"
        )
        self.mask_head: MaskHead | None = None
        self.keypoint_head: KeypointHead | None = None
        if settings.mask_head is not None:
            self.mask_head = MaskHead(
                settings.mask_head,
                settings.conventions,
                in_channels=width,
                num_classes=self.num_classes,
                name="mask_head",
            )
        if settings.keypoint_head is not None:
            self.keypoint_head = KeypointHead(
                settings.keypoint_head,
                settings.conventions,
                in_channels=width,
                num_keypoints=self.num_keypoints,
                name="keypoint_head",
            )

    # ---- the stages, in the order of the paper's figure 1

    def normalize(self, images: Tensor, sizes: Tensor) -> Tensor:
        """[B, H, W, 3] normalised as the backbone expects; zero outside the valid sizes, as the sources pad."""
        conventions = self.conventions
        pixels = ops.cast(images, "float32")
        if conventions.channel_order == "bgr":
            pixels = ops.flip(pixels, axis=-1)
        mean = ops.convert_to_tensor(conventions.pixel_mean, dtype="float32")
        std = ops.convert_to_tensor(conventions.pixel_std, dtype="float32")
        rows = ops.arange(ops.shape(pixels)[1])[None, :, None] < sizes[:, 0, None, None]
        columns = ops.arange(ops.shape(pixels)[2])[None, None, :] < sizes[:, 1, None, None]
        inside = ops.cast(ops.logical_and(rows, columns), "float32")
        return (pixels - mean) / std * inside[..., None]

    def features(self, normalized: Tensor, training: bool = False) -> list[Tensor]:
        """Pyramid maps [B, H/s, W/s, channels], finest first, without the extra level of the RPN; or the single map."""
        maps = self.backbone(normalized, training=training)
        return pack_maps([maps[max(maps)]] if self.pyramid is None else self.pyramid(maps, training=training))

    def rpn_outputs(self, features: list[Tensor], image_shape: tuple[Any, Any]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Objectness logits [B, A], deltas [B, A, 4] and the anchors of each level, list of [A_l, 4]."""
        levels, strides = list(features), list(self.strides)
        if self.pyramid is not None:
            levels, strides = [*levels, extra_level(levels[-1])], [*strides, 2 * strides[-1]]
        logits, deltas = self.rpn_head(levels)
        return logits, deltas, anchors_of(levels, image_shape, strides, self.settings.anchors, self.conventions)

    def proposals(
        self, logits: Tensor, deltas: Tensor, anchors: list[Tensor], sizes: Tensor, training: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [B, P, 4], scores [B, P] and which of them are there [B, P]."""
        lengths = [ops.shape(level)[0] for level in anchors]
        rpn = self.settings.rpn
        return select_proposals(
            split_rows(logits, lengths),
            split_rows(deltas, lengths),
            anchors,
            sizes,
            rpn,
            self.conventions,
            pre_nms=rpn.pre_nms_train if training else rpn.pre_nms_test,
            post_nms=rpn.post_nms_train if training else rpn.post_nms_test,
        )

    def pool(self, features: list[Tensor], boxes: Tensor, batch_indices: Tensor, size: int) -> Tensor:
        """RoIAlign: [R, size, size, channels] of boxes [R, 4] in images batch_indices [R]."""
        roi, conventions = self.settings.roi, self.conventions
        levels = roi_levels(
            boxes,
            min_level=FIRST_LEVEL,
            max_level=FIRST_LEVEL + len(features) - 1,
            canonical_size=roi.canonical_size,
            canonical_level=roi.canonical_level,
            epsilon=conventions.level_epsilon,
        )
        return roi_align(
            features,
            boxes,
            batch_indices,
            levels,
            min_level=FIRST_LEVEL,
            output_size=size,
            sampling_ratio=conventions.roi_sampling_ratio,
            aligned=conventions.roi_aligned,
            strides=self.strides,
        )

    def roi_features(
        self, features: list[Tensor], boxes: Tensor, batch_indices: Tensor, size: int, training: bool = False
    ) -> Tensor:
        """What the heads read of each box: RoIAlign [R, size, size, channels], under the neck c4 sent through res5."""
        pooled = self.pool(features, boxes, batch_indices, size)
        return pooled if self.res5_head is None else self.res5_head(pooled, training=training)

    def box_outputs(self, features: list[Tensor], boxes: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        """Class logits [B, P, C + 1] and deltas [B, P, C or 1, 4] of boxes [B, P, 4]."""
        count = ops.shape(boxes)[1]
        flat = ops.reshape(boxes, (-1, 4))
        size = self.settings.box_head.pool_size
        pooled = self.roi_features(features, flat, _image_of_rows(boxes), size, training)
        if self.res5_head is not None:
            pooled = ops.mean(pooled, axis=(1, 2), keepdims=True)
        logits, deltas = self.box_head(pooled, training=training)
        return (
            ops.reshape(logits, (-1, count, logits.shape[-1])),
            ops.reshape(deltas, (-1, count, deltas.shape[1], 4)),
        )

    def mask_logits(self, features: list[Tensor], rows: RoIRows, training: bool = False) -> Tensor:
        """Logits [R, m, m] of each row's own class."""
        assert self.mask_head is not None
        size = self.mask_head.settings.pool_size
        pooled = self.roi_features(features, rows.boxes, rows.images, size, training)
        return self.mask_head.own_logits(pooled, rows.labels, training=training)

    def keypoint_logits(self, features: list[Tensor], rows: RoIRows, training: bool = False) -> Tensor:
        """Logits [R, m, m, K]."""
        assert self.keypoint_head is not None
        size = self.keypoint_head.settings.pool_size
        pooled = self.roi_features(features, rows.boxes, rows.images, size, training)
        return self.keypoint_head(pooled, training=training)

    # ---- training and inference

    def call(self, batch: dict[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        if training:
            return self.loss_terms(batch, training=True)
        features, found = self.find_boxes(batch)
        return found | self.instance_outputs(features, found["boxes"], found["labels"])

    def loss_terms(self, batch: dict[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """Named scalars of a batch with ground truth; `training` is the mode of the norms alone."""
        features, rpn = self._first_stage(batch, training=training)
        boxes, valid = self._proposals_of(batch, rpn, training=True)
        logits, deltas, anchors = rpn
        all_anchors = ops.concatenate(anchors, axis=0)
        terms = rpn_losses(logits, deltas, all_anchors, batch, self.settings.rpn, self.conventions)
        terms["rpn/recall"] = proposal_recall(boxes, batch)
        return terms | self.roi_losses(features, boxes, valid, batch, training)

    def _first_stage(
        self, batch: dict[str, Tensor], training: bool
    ) -> tuple[list[Tensor], tuple[Tensor, Tensor, list[Tensor]]]:
        normalized = self.normalize(batch["images"], batch["sizes"])
        features = self.features(normalized, training=training)
        image_shape = (ops.shape(normalized)[1], ops.shape(normalized)[2])
        return features, self.rpn_outputs(features, image_shape)

    def _proposals_of(
        self, batch: dict[str, Tensor], rpn: tuple[Tensor, Tensor, list[Tensor]], training: bool
    ) -> tuple[Tensor, Tensor]:
        """The batch's own proposals where it brings some, else the RPN's."""
        if "proposals" in batch:
            return batch["proposals"], ops.ones_like(batch["proposals"][..., 0], dtype="bool")
        boxes, _, valid = self.proposals(*rpn, batch["sizes"], training=training)
        return boxes, valid

    def roi_losses(
        self, features: list[Tensor], proposals: Tensor, valid: Tensor, batch: dict[str, Tensor], training: bool
    ) -> dict[str, Tensor]:
        """Losses of the box head on the sampled RoIs, and of the other heads on their positives."""
        rois = sample_rois(proposals, valid, batch, self.settings.roi)
        logits, deltas = self.box_outputs(features, rois.boxes, training=training)
        terms = self._box_losses(logits, deltas, rois, batch)
        # Partly annotated data: rows whose truth has no mask, or no joint, have nothing to learn there.
        if self.mask_head is not None:
            rows = rows_of_positives(rois, self.settings.roi, batch["has_mask"])
            terms["loss/mask"] = self._mask_loss(features, rows, batch, training)
        if self.keypoint_head is not None:
            rows = rows_of_positives(rois, self.settings.roi, ops.any(batch["keypoints"][..., 2] > 0, axis=-1))
            terms["loss/keypoint"] = self._keypoint_loss(features, rows, batch, training)
        return terms

    def _box_losses(
        self, logits: Tensor, deltas: Tensor, rois: SampledRoIs, batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        head = self.settings.box_head
        truth = ops.take_along_axis(batch["boxes"], rois.matched[..., None], axis=1)
        labels, states = ops.reshape(rois.labels, (-1,)), ops.reshape(rois.states, (-1,))
        rows = losses.class_rows(labels, self.num_classes, self.conventions.background_index)
        box = losses.box_loss(
            ops.reshape(deltas, (-1, deltas.shape[2], 4)),
            labels,
            states,
            ops.reshape(rois.boxes, (-1, 4)),
            ops.reshape(truth, (-1, 4)),
            weights=self.conventions.box_weights,
            beta=head.smooth_l1_beta,
        )
        return {
            "loss/class": losses.class_loss(ops.reshape(logits, (-1, logits.shape[2])), rows, states),
            "loss/box": head.loss_weight * box,
            "roi/positives": ops.mean(ops.sum(ops.cast(rois.states == 1, "float32"), axis=1)),
        }

    def _mask_loss(self, features: list[Tensor], rows: RoIRows, batch: dict[str, Tensor], training: bool) -> Tensor:
        assert self.mask_head is not None
        logits = self.mask_logits(features, rows, training)
        targets = mask_targets(
            batch["masks"],
            batch["boxes"],
            rows.boxes,
            rows.images,
            rows.matched,
            size=logits.shape[1],
            binary=self.conventions.mask_target == "binary",
        )
        return self.mask_head.settings.loss_weight * losses.mask_loss(logits, targets, rows.weights)

    def _keypoint_loss(self, features: list[Tensor], rows: RoIRows, batch: dict[str, Tensor], training: bool) -> Tensor:
        assert self.keypoint_head is not None
        settings = self.keypoint_head.settings
        logits = self.keypoint_logits(features, rows, training)
        cells, valid = keypoint_targets(rows.of_truth(batch["keypoints"]), rows.boxes, logits.shape[1])
        valid = ops.cast(valid, "float32") * rows.weights[:, None]
        return settings.loss_weight * losses.keypoint_loss(logits, cells, valid, settings.target_sigma)

    def find_boxes(self, batch: dict[str, Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The pyramid's maps, and the detections without masks and keypoints: boxes, scores, labels."""
        features, rpn = self._first_stage(batch, training=False)
        proposals, valid = self._proposals_of(batch, rpn, training=False)
        logits, deltas = self.box_outputs(features, proposals)
        roi = self.settings.roi
        return features, select_detections(logits, deltas, proposals, valid, batch["sizes"], roi, self.conventions)

    def instance_outputs(self, features: list[Tensor], boxes: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Masks and keypoint logits, where the heads exist, at final boxes [B, D, 4] (PAPER §1.3); zero at label 0."""
        shape, found = ops.shape(labels), {}
        if self.mask_head is not None:
            rows = rows_of_detections(boxes, labels)
            found["masks"] = scatter_rows(ops.sigmoid(self.mask_logits(features, rows)), rows, shape)
        if self.keypoint_head is not None:
            rows = rows_of_detections(boxes, self._with_joints(labels))
            found["keypoint_logits"] = scatter_rows(self.keypoint_logits(features, rows), rows, shape)
        return found

    def _with_joints(self, labels: Tensor) -> Tensor:
        """The labels, with 0 in place of classes that have no joints."""
        if self.keypoint_labels is None:
            return labels
        known = ops.convert_to_tensor([k in self.keypoint_labels for k in range(self.num_classes + 1)], dtype="bool")
        return ops.where(ops.take(known, labels, axis=0), labels, 0)

    # ---- Keras' own way of training and saving

    def _term_names(self) -> list[str]:
        names = ["loss/rpn_objectness", "loss/rpn_box", "loss/class", "loss/box"]
        names += ["loss/mask"] if self.mask_head is not None else []
        names += ["loss/keypoint"] if self.keypoint_head is not None else []
        return [*names, "rpn/positive_anchors", "rpn/recall", "roi/positives"]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*super().metrics, *self._term_means.values()]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """Sum of the terms of `call(batch, training=True)`; one mean of each term is kept beside it."""
        for name, value in y_pred.items():
            # Means run over the replicas too, whose losses are parts of a sum.
            parts = replica_count() if name.startswith("loss/") else 1
            self._term_means[name].update_state(value * parts)
        return sum(value for name, value in y_pred.items() if name.startswith("loss/"))

    def compute_metrics(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Keras' own; as vectors of one where replicas are several processes: Keras takes their mean along axis 0."""
        values = super().compute_metrics(*arguments, **options)
        return {name: ops.reshape(value, (1,)) for name, value in values.items()} if workers_strategy(self) else values

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Nothing, since all parts are built: on several devices Keras would run the model on a mean of the batch."""

    def get_config(self) -> dict[str, Any]:
        return {
            "settings": dataclasses.asdict(self.settings),
            "num_classes": self.num_classes,
            "num_keypoints": self.num_keypoints,
            "metadata": self.metadata,
            "keypoint_labels": None if self.keypoint_labels is None else list(self.keypoint_labels),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Detector:
        settings = settings_from_dict(DetectorSettings, config.pop("settings"))
        return cls(settings, **config)


def proposal_recall(proposals: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Share of the ground truth that some proposal overlaps with IoU of one half or more."""
    truth = ops.cast(batch["labels"] > 0, "float32")
    best = ops.max(pairwise_iou(batch["boxes"], proposals), axis=-1)
    return ops.sum(ops.cast(best >= 0.5, "float32") * truth) / ops.maximum(ops.sum(truth), 1.0)


def _image_of_rows(boxes: Tensor) -> Tensor:
    """[B · P] int32: the image of each row of flattened [B, P, 4] boxes."""
    images = ops.broadcast_to(ops.arange(ops.shape(boxes)[0], dtype="int32")[:, None], ops.shape(boxes)[:2])
    return ops.reshape(images, (-1,))
