"""Differences between imported detectors and torchvision, stage by stage, on the parity sets.

    PYTHONPATH=. python experiments/001-parity-torchvision/measure.py FOLDER [NAME ...]

    PYTHONPATH=. python experiments/001-parity-torchvision/measure.py FOLDER --end-to-end
    PYTHONPATH=. python experiments/001-parity-torchvision/measure.py FOLDER --sensitivity

FOLDER holds `recipe.py` and NAME.npz / NAME.json; its README says what they are and which limits are sound. Each
stage gets the stored inputs of that stage where there are some. Writes `results.json` beside this file, and the
table into `README.md`; the second form predicts whole images, the third changes one convention after the
other and writes which stages notice.
`tests/weights/test_parity.py` runs the same measurements.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import Model, ops

from experiments.benchmarks.parity import Row, matched_share, open_set, record, stored_mask, write_section
from maskrcnn.data.collate import pad_images
from maskrcnn.data.detections import Detections
from maskrcnn.data.resize import resize_image, resized_size
from maskrcnn.data.rle import decode
from maskrcnn.models.positives import RoIRows
from maskrcnn.models.postprocess import select_detections
from maskrcnn.ops.keypoints import decode_keypoints
from maskrcnn.prediction.paste import paste_masks
from maskrcnn.prediction.predictor import Predictor
from maskrcnn.weights import import_model

DEFAULT_SETS = ("mask_r50_fpn", "faster_r50_fpn", "mask_r18_fpn", "keypoint_r50_fpn", "mask_r50_fpn_v2")
HERE = Path(__file__).parent
SENSITIVITY_SET = "mask_r50_fpn"
SENSITIVITY_SETS = {"anchor_stride": "faster_r50_fpn"}
"""Where another set is needed: no stored anchor of the first one is on P6, whose stride is the only one to differ."""
SENSITIVITY: dict[str, Any] = {
    "bn_epsilon": 1e-5,
    "channel_order": "bgr",
    "resize": "opencv",
    "pad_multiple": 128,
    "anchor_rounding": "none",
    "anchor_stride": "nominal",
    "proposal_score": "logit",
    "roi_aligned": True,
    "roi_sampling_ratio": 0,
    "level_epsilon": "inside",
    "detection_min_side": 0.0,
    "mask_paste": "bilinear",
}
"""Conventions and the value of another source, tried one at a time (Detectron2's, but for padding)."""
RMS_LIMIT = 1e-3
"""Of the standard deviation of the stage's values, for every stage."""
LIMITS = {
    "batch": 2e-4,
    "stem": 5e-4,
    "c2": 5e-4,
    **dict.fromkeys(("c3", "c4", "c5", "p2", "p3", "p4", "p5", "p6"), 0.004),
    "anchors": 1e-4,
    "rpn_logits": 6e-3,
    "rpn_deltas": 1e-3,
    "box_pooled": 4e-3,
    "box_hidden": 4e-3,
    "box_logits": 6e-3,
    "box_deltas": 6e-3,
    "mask_pooled": 4e-3,
    "mask_logits": 6e-3,
    "kp_pooled": 4e-3,
    "kp_logits": 2e-2,
    "keypoint_scores": 2e-2,
}
"""Largest difference allowed (the folder's README; pooled and hidden features: as the maps they come from)."""
MATCHED_SHARE = 0.98
MASK_PIXELS = 1e-3
KEYPOINT_PX = 0.01
BOX_PX, SCORE, MASK_IOU, MASK_MIN_PIXELS = 0.05, 1e-3, 0.97, 200
"""End to end."""


class ParitySet:
    """One stored set, the detector that its weights give, and the features that this detector computes."""

    def __init__(self, folder: Path, name: str, **changed: Any) -> None:
        """`changed`: conventions to put in place of the imported ones."""
        self.name = name
        self.recipe, self.info, self.stored, self.images, state = open_set(folder, name)
        epsilon = changed.pop("bn_epsilon", self.info["bn_eps"])
        self.detector = import_model(state, **self.info["settings"], bn_eps=epsilon).detector
        for key, value in changed.items():
            setattr(self.detector.conventions, key, value)
        self.batch, self.sizes = self._make_batch()
        self.maps = self._make_maps()
        self.features = [self.maps[f"p{k}"] for k in range(2, 6)]

    def _make_batch(self) -> tuple[np.ndarray, np.ndarray]:
        """The network's input before normalisation, and the sizes without padding."""
        image, rule = self.detector.metadata["image"], self.detector.conventions.resize
        sides = [resized_size(*x.shape[:2], image["short_side"], image["long_side"], rule) for x in self.images]
        resized = [resize_image(x, *side, rule) for x, side in zip(self.images, sides, strict=True)]
        return pad_images(resized, self.detector.conventions.pad_multiple), np.array(sides, np.int32)

    def _make_maps(self) -> dict[str, Any]:
        detector = self.detector
        maps = {"batch": detector.normalize(self.batch, self.sizes)}
        body = Model(detector.backbone.input, detector.backbone.get_layer("stem_pool").output)
        maps["stem"] = body(maps["batch"], training=False)
        maps |= detector.backbone(maps["batch"], training=False)
        pyramid = detector.features(maps["batch"])
        maps |= {f"p{k}": level for k, level in enumerate(pyramid, start=2)}
        maps["p6"] = pyramid[-1][:, ::2, ::2]
        return maps

    def rows(self, image: int) -> RoIRows:
        """The stored detections, then the extra boxes, as rows of the mask and keypoint heads."""
        boxes = self.boxes(image)
        labels = self.stored[f"query_labels_{image}"] if f"query_labels_{image}" in self.stored else np.ones(len(boxes))
        zeros = np.zeros(len(boxes), np.int32)
        return RoIRows(
            ops.convert_to_tensor(boxes),
            ops.convert_to_tensor(zeros + image),
            ops.convert_to_tensor(zeros),
            ops.convert_to_tensor(labels.astype(np.int32)),
            ops.ones(len(boxes)),
            ops.convert_to_tensor(zeros),
        )

    def boxes(self, image: int) -> np.ndarray:
        return np.concatenate([self.stored[f"det_boxes_{image}"], self.stored[f"extra_boxes_{image}"]])

    def sample(self, values: np.ndarray, count: int) -> np.ndarray:
        return values.reshape(-1)[self.recipe.sample_indices(values.size, count)]

    def compare(self, stage: str, ours: Any, theirs: np.ndarray, image: int | None = None) -> Row:
        ours, theirs = np.asarray(ours, np.float64), theirs.astype(np.float64)
        if ours.shape != theirs.shape:
            raise ValueError(f"{self.name}, {stage}: shape {ours.shape}, stored {theirs.shape}")
        difference = ours - theirs
        return Row(
            self.name,
            stage,
            image,
            largest=float(np.abs(difference).max()),
            limit=LIMITS[stage],
            rms=float(np.sqrt(np.mean(difference**2)) / theirs.std()),
            rms_limit=RMS_LIMIT,
            source_float64=self._noise(stage, image),
        )

    def _noise(self, stage: str, image: int | None) -> float | None:
        key = {"box_deltas": "box_reg"}.get(stage, stage)
        noise = self.info["float64_difference"].get(key if image is None else f"{key}_{image}", {})
        return noise.get("max_abs")


def measure(folder: Path, name: str, **changed: Any) -> Iterator[Row]:
    """All stages of one set, in the order of computation."""
    parity = ParitySet(folder, name, **changed)
    yield from compare_maps(parity)
    yield from compare_proposals(parity)
    for image in range(len(parity.images)):
        yield from compare_box_head(parity, image)
        if parity.detector.mask_head is not None:
            yield from compare_mask_head(parity, image)
        if parity.detector.keypoint_head is not None:
            yield from compare_keypoint_head(parity, image)


def compare_maps(parity: ParitySet) -> Iterator[Row]:
    """Preprocessing, backbone and pyramid: a sample of each map, and the corner of each."""
    for stage, values in parity.maps.items():
        array = np.asarray(values)
        if array.shape != tuple(parity.stored[f"{stage}_shape"]):
            raise ValueError(f"{parity.name}, {stage}: shape {array.shape}")
        ours = np.concatenate([parity.sample(array, 2048), array[0, :6, :6, :32].reshape(-1)])
        theirs = np.concatenate([parity.stored[f"{stage}_sample"], parity.stored[f"{stage}_crop"].reshape(-1)])
        yield parity.compare(stage, ours, theirs)


def compare_proposals(parity: ParitySet) -> Iterator[Row]:
    stored, detector = parity.stored, parity.detector
    logits, deltas, anchors = detector.rpn_outputs(parity.features, parity.batch.shape[1:3])
    all_anchors = np.concatenate([np.asarray(level) for level in anchors])
    rows = parity.recipe.sample_indices(len(all_anchors), 2048)
    yield parity.compare("anchors", all_anchors[rows], stored["anchors_sample"])
    if "rpn_logits" in stored:
        yield parity.compare("rpn_logits", logits, stored["rpn_logits"])
    else:
        yield parity.compare("rpn_logits", np.asarray(logits)[:, rows], stored["rpn_logits_sample"])
    yield parity.compare("rpn_deltas", np.asarray(deltas)[:, rows], stored["rpn_deltas_sample"])
    boxes, scores, valid = (np.asarray(x) for x in detector.proposals(logits, deltas, anchors, parity.sizes))
    for image, real in enumerate(valid):
        found = (boxes[image][real], scores[image][real], np.zeros(real.sum()))
        wanted = stored[f"proposals_{image}"], stored[f"proposal_scores_{image}"]
        share = matched_share((*wanted, np.zeros(len(wanted[0]))), found, SCORE)
        yield Row(parity.name, "proposals", image, share=share, share_limit=MATCHED_SHARE)


def compare_box_head(parity: ParitySet, image: int) -> Iterator[Row]:
    """Pooled features, logits, deltas and detections of the stored proposals."""
    stored, detector = parity.stored, parity.detector
    proposals = stored[f"proposals_{image}"]
    features = [level[image : image + 1] for level in parity.features]
    chosen = proposals[stored[f"box_query_{image}"]]
    pooled = detector.pool(features, ops.convert_to_tensor(chosen), ops.zeros(len(chosen), "int32"), 7)
    yield parity.compare(
        "box_pooled", parity.sample(np.asarray(pooled), 4096), stored[f"box_pooled_sample_{image}"], image
    )
    yield parity.compare("box_hidden", detector.box_head.hidden(pooled[:8]), stored[f"box_hidden_{image}"], image)
    logits, deltas = detector.box_head(pooled)
    yield parity.compare("box_logits", logits, stored[f"box_logits_{image}"], image)
    flat = np.asarray(deltas).reshape(len(chosen), -1)
    yield parity.compare("box_deltas", flat, stored[f"box_deltas_{image}"][:, 4:], image)  # ours have no background
    logits, deltas = detector.box_outputs(features, ops.convert_to_tensor(proposals[None]))
    valid = ops.ones((1, len(proposals)), "bool")
    size = parity.sizes[image : image + 1]
    found = select_detections(logits, deltas, proposals[None], valid, size, detector.settings.roi, detector.conventions)
    ours = tuple(np.asarray(found[key])[0][np.asarray(found["labels"])[0] > 0] for key in ("boxes", "scores", "labels"))
    theirs = tuple(stored[f"det_{key}_{image}"] for key in ("boxes", "scores", "labels"))
    share = matched_share(theirs, ours, SCORE)
    yield Row(parity.name, "detections", image, share=share, share_limit=MATCHED_SHARE)


def compare_mask_head(parity: ParitySet, image: int) -> Iterator[Row]:
    """Logits of the stored boxes, and the masks pasted at them."""
    stored, detector, rows = parity.stored, parity.detector, parity.rows(image)
    pooled = detector.pool(parity.features, rows.boxes, rows.images, 14)
    yield parity.compare(
        "mask_pooled", parity.sample(np.asarray(pooled), 4096), stored[f"mask_pooled_sample_{image}"], image
    )
    logits = np.asarray(detector.mask_logits(parity.features, rows))
    queried = logits[stored[f"mask_query_{image}"]].reshape(-1)
    ours = np.concatenate([queried, parity.sample(logits, 8192)])
    theirs = np.concatenate([stored[f"mask_logits_{image}"].reshape(-1), stored[f"mask_logits_sample_{image}"]])
    yield parity.compare("mask_logits", ours, theirs, image)
    height, width = parity.images[image].shape[:2]
    scale = np.tile([width / parity.sizes[image][1], height / parity.sizes[image][0]], 2)
    extra = (stored[f"extra_boxes_{image}"] * scale).astype(np.float32)
    boxes = np.concatenate([stored[f"det_boxes_original_{image}"], extra])
    rles = paste_masks(1 / (1 + np.exp(-logits)), boxes, height, width, detector.conventions.mask_paste)
    wrong = sum(int((decode(rle) != stored_mask(stored, image, k, height, width)).sum()) for k, rle in enumerate(rles))
    share = 1 - wrong / int(stored[f"mask_area_{image}"].sum())
    yield Row(parity.name, "mask pixels", image, share=share, share_limit=1 - MASK_PIXELS)


def compare_keypoint_head(parity: ParitySet, image: int) -> Iterator[Row]:
    """Heat maps of the stored boxes, and the points decoded from them."""
    stored, detector, rows = parity.stored, parity.detector, parity.rows(image)
    pooled = detector.pool(parity.features, rows.boxes, rows.images, 14)
    yield parity.compare(
        "kp_pooled", parity.sample(np.asarray(pooled), 4096), stored[f"kp_pooled_sample_{image}"], image
    )
    logits = np.asarray(detector.keypoint_logits(parity.features, rows))
    yield parity.compare("kp_logits", parity.sample(logits, 16384), stored[f"kp_logits_sample_{image}"], image)
    points = decode_keypoints(logits, parity.boxes(image), detector.conventions.keypoint_score)
    height, width = parity.images[image].shape[:2]
    scale = np.array([width / parity.sizes[image][1], height / parity.sizes[image][0]])
    distance = np.abs(points[..., :2] * scale - stored[f"keypoints_{image}"][..., :2]).max(-1)
    share = float((distance <= KEYPOINT_PX).mean())
    yield Row(parity.name, "keypoints", image, share=share, share_limit=MATCHED_SHARE)
    yield parity.compare("keypoint_scores", points[..., 2], stored[f"keypoint_scores_{image}"], image)


def end_to_end(folder: Path, names: Sequence[str]) -> str:
    """One line for each image, whole: images in, detections out."""
    lines = [
        "| set | image | matched | largest box difference (px) | largest score difference | masks of 200 px and more "
        "| IoU above 0.97 | of the others: whole-pixel box differs |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in names:
        parity = ParitySet(folder, name)
        found = Predictor(parity.detector).predict_images(parity.images)
        lines += [_whole_image(parity, image, detections) for image, detections in enumerate(found)]
    return "\n".join(lines)


def _whole_image(parity: ParitySet, image: int, found: Detections) -> str:
    stored = parity.stored
    boxes, scores, labels = (stored[f"det_{key}_{image}"] for key in ("boxes_original", "scores", "labels"))
    distance = np.abs(found.boxes[None] - boxes[:, None]).max(-1)
    distance[labels[:, None] != found.labels[None]] = np.inf
    rows = distance.argmin(1)
    near = distance.min(1)
    good = (near <= BOX_PX) & (np.abs(found.scores[rows] - scores) <= SCORE)
    cells = [f"{good.mean():.3f}", f"{near[good].max():.4f}", f"{np.abs(found.scores[rows] - scores)[good].max():.1e}"]
    if found.masks is not None:
        ious, moved = [], []
        for k in np.flatnonzero(good):
            want = stored_mask(stored, image, k, found.height, found.width).astype(bool)
            have = decode(found.masks[rows[k]]).astype(bool)
            if want.sum() >= MASK_MIN_PIXELS:
                ious.append((want & have).sum() / (want | have).sum())
                moved.append(whole_pixels(boxes[k]) != whole_pixels(found.boxes[rows[k]]))
        low = np.array(ious) <= MASK_IOU
        cells += [f"{len(ious)}", f"{(~low).sum()}", f"{np.array(moved)[low].sum()} of {low.sum()}"]
    return f"| {parity.name} | {image} | {' | '.join([*cells, '', '', ''][:6])} |"


def whole_pixels(box: np.ndarray) -> tuple[int, ...]:
    """Corners of the box as torchvision pastes into it: widened by 30/28 about its centre, cut to whole numbers."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * np.float32(30 / 28)
    return tuple(np.concatenate([centre - half, centre + half]).astype(int))


def sensitivity(folder: Path) -> str:
    """One line for each changed convention: the stages that are then outside the limits."""
    lines = ["| set | convention | instead | stages outside the limits |", "|---|---|---|---|"]
    conventions = ParitySet(folder, SENSITIVITY_SET).detector.conventions
    for key, value in SENSITIVITY.items():
        name = SENSITIVITY_SETS.get(key, SENSITIVITY_SET)
        try:
            rows = list(measure(folder, name, **{key: value}))
            failed = ", ".join(dict.fromkeys(row.stage for row in rows if not row.passed)) or "none"
        except ValueError as error:  # another shape
            failed = f"stops at {error}"
        lines.append(f"| {name} | {key} = {getattr(conventions, key)} | {value} | {failed} |")
    return "\n".join(lines)


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    readme = HERE / "README.md"
    if names == ["--sensitivity"]:
        write_section(readme, "sensitivity", sensitivity(folder))
    elif names == ["--end-to-end"]:
        write_section(readme, "end to end", end_to_end(folder, DEFAULT_SETS))
    else:
        sys.exit(
            record(HERE, "torchvision", names or DEFAULT_SETS, lambda name: measure(folder, name), whole=not names)
        )


if __name__ == "__main__":
    main()
