"""Differences between imported detectors and Detectron2, stage by stage, on the parity sets.

    PYTHONPATH=. python experiments/006-parity-detectron2/measure.py FOLDER [NAME ...]

FOLDER holds `recipe.py` and NAME.npz / NAME.json; its README says what they are and which limits are sound. Each
stage gets the stored inputs of that stage where there are some. Writes `results.json` beside this file and the table
into `README.md`. `tests/weights/test_parity_detectron2.py` runs the same measurements.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from keras import Model, ops

from experiments.benchmarks.parity import Row, matched_share, open_set, record, stored_mask
from maskrcnn.data.collate import pad_images
from maskrcnn.data.resize import resize_image, resized_size
from maskrcnn.data.rle import decode
from maskrcnn.models.positives import RoIRows
from maskrcnn.models.postprocess import select_detections
from maskrcnn.ops.keypoints import decode_keypoints
from maskrcnn.ops.roi_align import roi_levels
from maskrcnn.prediction.paste import paste_masks
from maskrcnn.weights import import_model

SETS = (
    "d2_mask_r50_fpn",
    "d2_mask_r50_c4",
    "d2_keypoint_r50_fpn",
    "d2_mask_r50_dc5",
    "d2_faster_r50_fpn",
    "d2_predictor_mask_r50_fpn",
)
RMS_LIMIT = 2e-4
"""Of the standard deviation of the stage's values, for every stage."""
LIMITS = {
    "batch": 2e-5,
    **dict.fromkeys(("stem", "res2"), 2e-4),
    **dict.fromkeys(("res3", "res4", "res5", "p2", "p3", "p4", "p5", "p6"), 1e-3),
    "anchors": 1e-4,
    "cell_anchors": 1e-4,
    "rpn_logits": 2e-3,
    "rpn_deltas": 4e-4,
    **dict.fromkeys(("box_pooled", "box_hidden", "box_res5", "mask_pooled", "mask_res5", "kp_pooled"), 1e-3),
    **dict.fromkeys(("box_logits", "box_deltas", "mask_logits"), 2e-3),
    "boxes_original": 1e-3,
    "kp_logits": 4e-3,
    "keypoint_scores": 4e-3,
}
"""Largest difference allowed (the folder's README; of anchors and scaled boxes: a rounding of float32);
`keypoint_scores` relative."""
MATCHED_SHARE, MASK_PIXELS, KEYPOINT_PX = 0.98, 1e-3, 0.01
SCORE, LOGIT = 1e-3, 2e-3
FLOAT64_NAMES = {"box_deltas": "box_reg"}


class ParitySet:
    """One stored set, and the detector that its weights give."""

    def __init__(self, folder: Path, name: str, **changed: Any) -> None:
        """`changed`: conventions to put in place of the imported ones."""
        self.name = name
        self.recipe, self.info, self.stored, self.images, state = open_set(folder, name)
        self.whole = "image_seed" in self.info
        """The predictor's set: each image by itself, resize included."""
        settings = self.info["settings"] | ({} if self.whole else {"INPUT.MIN_SIZE_TEST": 0})
        self.detector = import_model(state, source="detectron2", **settings).detector
        for key, value in changed.items():
            setattr(self.detector.conventions, key, value)

    def batches(self) -> list[tuple[np.ndarray, np.ndarray, list[int]]]:
        """(images before normalisation, sizes without padding, which images): all together, or one by one."""
        image, rule = self.detector.metadata["image"], self.detector.conventions.resize
        sides = [resized_size(*x.shape[:2], image["short_side"], image["long_side"], rule) for x in self.images]
        resized = [resize_image(x, *side, rule) for x, side in zip(self.images, sides, strict=True)]
        everything = list(range(len(resized)))
        groups = [[i] for i in everything] if self.whole else [everything]
        multiple = self.detector.conventions.pad_multiple
        return [
            (pad_images([resized[i] for i in group], multiple), np.array([sides[i] for i in group], np.int32), group)
            for group in groups
        ]

    def maps(self, batch: np.ndarray, sizes: np.ndarray) -> dict[str, Any]:
        """Every map that the set may hold, by its name there."""
        detector = self.detector
        maps = {"batch": detector.normalize(batch, sizes)}
        body = Model(detector.backbone.input, detector.backbone.get_layer("stem_pool").output)
        maps["stem"] = body(maps["batch"], training=False)
        bottom_up = detector.backbone(maps["batch"], training=False)
        maps |= {f"res{name[1:]}": value for name, value in bottom_up.items()}
        if detector.pyramid is not None:
            pyramid = detector.pyramid(bottom_up, training=False)
            maps |= {f"p{k}": level for k, level in enumerate(pyramid, start=2)}
            maps["p6"] = pyramid[-1][:, ::2, ::2]
        return maps

    def features(self, maps: dict[str, Any]) -> list[Any]:
        """What the heads read, of these maps."""
        if self.detector.pyramid is None:
            return [maps["res5" if "res5" in maps else "res4"]]
        return [maps[f"p{k}"] for k in range(2, 6)]

    def boxes(self, image: int) -> np.ndarray:
        """The stored detections, then the extra boxes, at the network's input."""
        parts = [self.stored[f"det_boxes_{image}"]]
        if f"extra_boxes_{image}" in self.stored:
            parts.append(self.stored[f"extra_boxes_{image}"])
        return np.concatenate(parts)

    def rows(self, image: int, place: int) -> RoIRows:
        """These boxes as rows of the mask and keypoint heads, in image `place` of the batch."""
        boxes = self.boxes(image)
        labels = self.stored[f"det_labels_{image}"]
        if f"query_labels_{image}" in self.stored:
            labels = self.stored[f"query_labels_{image}"]
        labels = np.resize(labels, len(boxes))  # keypoint heads read no labels
        zeros = np.zeros(len(boxes), np.int32)
        tensors = (boxes, zeros + place, zeros, labels.astype(np.int32) + 1, np.ones(len(boxes), np.float32), zeros)
        return RoIRows(*map(ops.convert_to_tensor, tensors))

    def scale(self, image: int, size: np.ndarray) -> np.ndarray:
        """Factors (x, y) from the network's input to the original size."""
        height, width = self.info["original_sizes"][image]
        return np.array([width / size[1], height / size[0]])

    def sample(self, values: Any, count: int) -> np.ndarray:
        values = np.asarray(values)
        return values.reshape(-1)[self.recipe.sample_indices(values.size, count)]

    def compare(self, stage: str, ours: Any, theirs: np.ndarray, image: int | None = None) -> Row:
        ours, theirs = np.asarray(ours, np.float64), theirs.astype(np.float64)
        if ours.shape != theirs.shape:
            raise ValueError(f"{self.name}, {stage}: shape {ours.shape}, stored {theirs.shape}")
        difference = ours - theirs
        relative = np.maximum(np.abs(theirs), 1e-12) if stage == "keypoint_scores" else 1.0
        return Row(
            self.name,
            stage,
            image,
            largest=float(np.abs(difference / relative).max()),
            limit=LIMITS[stage],
            rms=float(np.sqrt(np.mean(difference**2)) / theirs.std()),
            rms_limit=RMS_LIMIT,
            source_float64=self._noise(stage, image),
        )

    def _noise(self, stage: str, image: int | None) -> float | None:
        key = FLOAT64_NAMES.get(stage, stage)
        noise = self.info["float64_difference"].get(key if image is None else f"{key}_{image}", {})
        return noise.get("max_abs")


def measure(folder: Path, name: str, **changed: Any) -> Iterator[Row]:
    """All stages of one set, in the order of computation."""
    parity = ParitySet(folder, name, **changed)
    for batch, sizes, images in parity.batches():
        maps = parity.maps(batch, sizes)
        features = parity.features(maps)
        yield from compare_maps(parity, maps, images)
        yield from compare_proposals(parity, features, batch, sizes, images)
        for place, image in enumerate(images):
            yield from compare_box_head(parity, features, image, place, sizes[place])
            if parity.detector.mask_head is not None:
                yield from compare_mask_head(parity, features, image, place, sizes[place])
            if parity.detector.keypoint_head is not None:
                yield from compare_keypoint_head(parity, features, image, place, sizes[place])


def compare_maps(parity: ParitySet, maps: dict[str, Any], images: list[int]) -> Iterator[Row]:
    """Preprocessing, backbone and pyramid: shape, a sample, and the corner of each stored map."""
    suffix = f"_{images[0]}" if parity.whole else ""
    for stage, values in maps.items():
        if f"{stage}_sample{suffix}" not in parity.stored:
            continue
        array = np.asarray(values)
        if array.shape != tuple(parity.stored.get(f"{stage}_shape{suffix}", array.shape)):
            raise ValueError(f"{parity.name}, {stage}: shape {array.shape}")
        theirs = parity.stored[f"{stage}_sample{suffix}"]
        ours = parity.sample(array, len(theirs))
        if f"{stage}_crop{suffix}" in parity.stored:
            ours = np.concatenate([ours, array[0, :6, :6, :32].reshape(-1)])
            theirs = np.concatenate([theirs, parity.stored[f"{stage}_crop{suffix}"].reshape(-1)])
        yield parity.compare(stage, ours, theirs, images[0] if parity.whole else None)


def compare_proposals(
    parity: ParitySet, features: list[Any], batch: np.ndarray, sizes: np.ndarray, images: list[int]
) -> Iterator[Row]:
    """Anchors, the RPN's outputs and the selection of proposals."""
    stored, detector = parity.stored, parity.detector
    logits, deltas, anchors = detector.rpn_outputs(features, batch.shape[1:3])
    if not parity.whole:
        all_anchors = np.concatenate([np.asarray(level) for level in anchors])
        if [len(level) for level in anchors] != stored["anchors_per_level"].tolist():
            raise ValueError(f"{parity.name}: {[len(level) for level in anchors]} anchors on the levels")
        rows = parity.recipe.sample_indices(len(all_anchors), 2048)
        yield parity.compare("anchors", all_anchors[rows], stored["anchors_sample"])
        first = np.stack([np.asarray(level)[: stored["cell_anchors"].shape[1]] for level in anchors])
        yield parity.compare("cell_anchors", first, stored["cell_anchors"])
        if "rpn_logits" in stored:
            yield parity.compare("rpn_logits", logits, stored["rpn_logits"])
        else:
            yield parity.compare("rpn_logits", np.asarray(logits)[:, rows], stored["rpn_logits_sample"])
        yield parity.compare("rpn_deltas", np.asarray(deltas)[:, rows], stored["rpn_deltas_sample"])
    boxes, scores, valid = (np.asarray(x) for x in detector.proposals(logits, deltas, anchors, sizes))
    for place, image in enumerate(images):
        real = valid[place]
        found = (boxes[place][real], scores[place][real], np.zeros(real.sum()))
        wanted = stored[f"proposals_{image}"], stored[f"proposal_scores_{image}"]
        share = matched_share((*wanted, np.zeros(len(wanted[0]))), found, LOGIT)
        yield Row(parity.name, "proposals", image, share=share, share_limit=MATCHED_SHARE)


def compare_box_head(parity: ParitySet, features: list[Any], image: int, place: int, size: np.ndarray) -> Iterator[Row]:
    """Levels, pooled features, logits, deltas and detections of the stored proposals."""
    stored, detector = parity.stored, parity.detector
    proposals = stored[f"proposals_{image}"]
    one = [level[place : place + 1] for level in features]
    if f"box_level_{image}" in stored:
        levels = np.asarray(_levels(parity, proposals))
        share = float((levels == stored[f"box_level_{image}"]).mean())
        yield Row(parity.name, "box levels", image, share=share, share_limit=1.0)
    if f"box_query_{image}" in stored:
        yield from _compare_query(parity, one, proposals[stored[f"box_query_{image}"]], image)
    logits, deltas = detector.box_outputs(one, ops.convert_to_tensor(proposals[None]))
    valid = ops.ones((1, len(proposals)), "bool")
    roi, conventions = detector.settings.roi, detector.conventions
    found = select_detections(logits, deltas, proposals[None], valid, size[None], roi, conventions)
    labels = np.asarray(found["labels"])[0]
    ours = tuple(np.asarray(found[key])[0][labels > 0] for key in ("boxes", "scores", "labels"))
    theirs = tuple(stored[f"det_{key}_{image}"] for key in ("boxes", "scores", "labels"))
    share = matched_share((*theirs[:2], theirs[2] + 1), ours, SCORE)
    yield Row(parity.name, "detections", image, share=share, share_limit=MATCHED_SHARE)
    if f"det_boxes_original_{image}" in stored:
        height, width = parity.info["original_sizes"][image]
        scaled = stored[f"det_boxes_{image}"] * np.tile(parity.scale(image, size), 2)
        scaled = scaled.clip(0, [width, height] * 2)
        yield parity.compare("boxes_original", scaled, stored[f"det_boxes_original_{image}"], image)


def _levels(parity: ParitySet, boxes: np.ndarray) -> Any:
    detector = parity.detector
    roi = detector.settings.roi
    return roi_levels(
        ops.convert_to_tensor(boxes),
        min_level=2,
        max_level=1 + len(detector.strides),
        canonical_size=roi.canonical_size,
        canonical_level=roi.canonical_level,
        epsilon=detector.conventions.level_epsilon,
    )


def _compare_query(parity: ParitySet, features: list[Any], boxes: np.ndarray, image: int) -> Iterator[Row]:
    """The box head at the chosen proposals, layer by layer."""
    stored, detector = parity.stored, parity.detector
    where = ops.convert_to_tensor(boxes), ops.zeros(len(boxes), "int32")
    pooled = detector.pool(features, *where, detector.settings.box_head.pool_size)
    yield parity.compare("box_pooled", parity.sample(pooled, 4096), stored[f"box_pooled_sample_{image}"], image)
    if detector.res5_head is not None:
        pooled = detector.res5_head(pooled, training=False)
        yield parity.compare("box_res5", parity.sample(pooled, 4096), stored[f"box_res5_sample_{image}"], image)
        pooled = ops.mean(pooled, axis=(1, 2), keepdims=True)
    hidden = detector.box_head.hidden(pooled[:8])
    yield parity.compare("box_hidden", hidden, stored[f"box_hidden_{image}"], image)
    logits, deltas = detector.box_head(pooled)
    yield parity.compare("box_logits", logits, stored[f"box_logits_{image}"], image)
    flat = np.asarray(deltas).reshape(len(boxes), -1)
    yield parity.compare("box_deltas", flat, stored[f"box_deltas_{image}"], image)


def compare_mask_head(
    parity: ParitySet, features: list[Any], image: int, place: int, size: np.ndarray
) -> Iterator[Row]:
    """Logits of the stored boxes, and the masks pasted at them in the original size."""
    stored, detector, rows = parity.stored, parity.detector, parity.rows(image, place)
    pooled = detector.pool(features, rows.boxes, rows.images, detector.mask_head.settings.pool_size)
    if f"mask_pooled_sample_{image}" in stored:
        theirs = stored[f"mask_pooled_sample_{image}"]
        yield parity.compare("mask_pooled", parity.sample(pooled, 4096), theirs, image)
    if f"mask_res5_sample_{image}" in stored:
        res5 = detector.res5_head(pooled, training=False)
        yield parity.compare("mask_res5", parity.sample(res5, 4096), stored[f"mask_res5_sample_{image}"], image)
    logits = np.asarray(detector.mask_logits(features, rows))
    ours, theirs = [], []
    if f"mask_query_{image}" in stored:
        ours.append(logits[stored[f"mask_query_{image}"]].reshape(-1))
        theirs.append(stored[f"mask_logits_{image}"].reshape(-1))
    if f"mask_logits_sample_{image}" in stored:
        ours.append(parity.sample(logits, 8192))
        theirs.append(stored[f"mask_logits_sample_{image}"])
    if ours:
        yield parity.compare("mask_logits", np.concatenate(ours), np.concatenate(theirs), image)
    yield _compare_pixels(parity, logits, image, size)


def _compare_pixels(parity: ParitySet, logits: np.ndarray, image: int, size: np.ndarray) -> Row:
    stored = parity.stored
    height, width = parity.info["original_sizes"][image]
    extra = parity.boxes(image)[len(stored[f"det_boxes_{image}"]) :] * np.tile(parity.scale(image, size), 2)
    extra = extra.clip(0, [width, height] * 2)
    boxes = np.concatenate([stored[f"det_boxes_original_{image}"], extra.astype(np.float32)])
    rule = parity.detector.conventions.mask_paste
    rles = paste_masks(1 / (1 + np.exp(-logits)), boxes, height, width, rule)
    wrong = sum(int((decode(rle) != stored_mask(stored, image, k, height, width)).sum()) for k, rle in enumerate(rles))
    share = 1 - wrong / int(stored[f"mask_area_{image}"].sum())
    return Row(parity.name, "mask pixels", image, share=share, share_limit=1 - MASK_PIXELS)


def compare_keypoint_head(
    parity: ParitySet, features: list[Any], image: int, place: int, size: np.ndarray
) -> Iterator[Row]:
    """Heat maps of the stored boxes, and the points decoded from them."""
    stored, detector, rows = parity.stored, parity.detector, parity.rows(image, place)
    pooled = detector.pool(features, rows.boxes, rows.images, detector.keypoint_head.settings.pool_size)
    yield parity.compare("kp_pooled", parity.sample(pooled, 4096), stored[f"kp_pooled_sample_{image}"], image)
    logits = np.asarray(detector.keypoint_logits(features, rows))
    ours, theirs = parity.sample(logits, 16384), stored[f"kp_logits_sample_{image}"]
    if f"kp_query_{image}" in stored:
        ours = np.concatenate([ours, logits[stored[f"kp_query_{image}"]].reshape(-1)])
        theirs = np.concatenate([theirs, stored[f"kp_logits_{image}"].reshape(-1)])
    yield parity.compare("kp_logits", ours, theirs, image)
    points = decode_keypoints(logits, parity.boxes(image), detector.conventions.keypoint_score)
    distance = np.abs(points[..., :2] * parity.scale(image, size) - stored[f"keypoints_{image}"][..., :2]).max(-1)
    share = float((distance <= KEYPOINT_PX).mean())
    yield Row(parity.name, "keypoints", image, share=share, share_limit=MATCHED_SHARE)
    yield parity.compare("keypoint_scores", points[..., 2], stored[f"keypoint_scores_{image}"], image)


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    sys.exit(
        record(Path(__file__).parent, "Detectron2", names or SETS, lambda name: measure(folder, name), whole=not names)
    )


if __name__ == "__main__":
    main()
