"""How far an exported model's detections are from the original's, on the same pixels."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from maskrcnn.ops.keypoints import decode_keypoints
from maskrcnn.prediction.network import Network, Outputs
from maskrcnn.prediction.tta import ViewBatch

LIMIT = 1e-3
"""Of scores, mask probabilities and (relative to their range) heat maps."""
LIMIT_PX = 0.05
"""Of boxes."""
SAME_BOX_PX = 1.0
"""Detections of one label whose corners are within this are the same detection."""


UNMATCHED_SHARE = 0.01
"""Two boxes at the very threshold of the NMS, or a score at its own, may fall on either side."""


@dataclass
class Comparison:
    """Largest differences over all detections, and times.

    Attributes:
        differences: boxes (pixels), scores, masks, heatmaps (share of the map's range), keypoints (pixels).
        detections: of the original.
        unmatched: detections that only one of the two has.
        original_s, exported_s: seconds per image, without the first, which includes compilation.
    """

    differences: dict[str, float] = field(default_factory=dict)
    images: int = 0
    detections: int = 0
    unmatched: int = 0
    original_s: float = 0.0
    exported_s: float = 0.0

    @property
    def passed(self) -> bool:
        """Within the limits; decoded joints are told but not judged, since two nearly equal cells may change places."""
        judged = {name: value for name, value in self.differences.items() if name != "keypoints"}
        within = all(value <= (LIMIT_PX if name == "boxes" else LIMIT) for name, value in judged.items())
        return within and self.unmatched <= UNMATCHED_SHARE * self.detections

    def __str__(self) -> str:
        parts = [f"{name} {value:.1e}{' px' * (name in _PIXELS)}" for name, value in self.differences.items()]
        lost = f", {self.unmatched} detections without a partner" if self.unmatched else ""
        return f"{', '.join(parts)} over {self.detections} detections in {self.images} images{lost}"


_PIXELS = ("boxes", "keypoints")


def compare(original: Network, exported: Network, batches: Iterable[ViewBatch]) -> Comparison:
    """Runs both on the same batches of one image each."""
    result, seconds = Comparison(), []
    for images, sizes in batches:
        started = time.perf_counter()
        wanted = original(images, sizes)
        halfway = time.perf_counter()
        found = exported(images, sizes)
        seconds.append((halfway - started, time.perf_counter() - halfway))
        result.images += len(images)
        for image in range(len(images)):
            _add(result, _of_image(wanted, image), _of_image(found, image))
    counted = seconds[1:] or seconds
    if counted:
        result.original_s, result.exported_s = (float(np.median(column)) for column in zip(*counted, strict=True))
    return result


def _of_image(outputs: Outputs, image: int) -> Outputs:
    """The real detections of one image."""
    there = np.flatnonzero(outputs["labels"][image] > 0)
    return {name: value[image][there] for name, value in outputs.items()}


def _add(result: Comparison, wanted: Outputs, found: Outputs) -> None:
    rows = _partners(wanted, found)
    kept = rows >= 0
    result.detections += len(rows)
    result.unmatched += len(rows) + len(found["labels"]) - 2 * int(np.count_nonzero(kept))
    pairs = {name: (wanted[name][kept], found[name][rows[kept]]) for name in wanted}
    for name, value in _differences(pairs).items():
        result.differences[name] = max(result.differences.get(name, 0.0), value)


def _partners(wanted: Outputs, found: Outputs) -> np.ndarray:
    """Row in `found` of each detection in `wanted`, -1 for none: same label, nearest box, each taken once."""
    rows = np.full(len(wanted["labels"]), -1)
    free = np.ones(len(found["labels"]), bool)
    for row, (label, box) in enumerate(zip(wanted["labels"], wanted["boxes"], strict=True)):
        distance = np.abs(found["boxes"] - box).max(axis=1, initial=0.0)
        distance = np.where(free & (found["labels"] == label), distance, np.inf)
        if len(distance) and distance.min() <= SAME_BOX_PX:
            rows[row] = int(distance.argmin())
            free[rows[row]] = False
    return rows


def _differences(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    found = {name: _largest(*pairs[name]) for name in ("boxes", "scores", "masks") if name in pairs}
    if "keypoint_logits" in pairs:
        maps = pairs["keypoint_logits"]
        reach = max(1.0, float(np.ptp(maps[0])) if maps[0].size else 1.0)
        found["heatmaps"] = _largest(*maps) / reach
        # Both are decoded at the original's boxes: the maps alone are compared.
        boxes = pairs["boxes"][0]
        joints = [decode_keypoints(part, boxes, "softmax")[..., :2] for part in maps]
        found["keypoints"] = _largest(*joints)
    return found


def _largest(wanted: np.ndarray, found: np.ndarray) -> float:
    return float(np.abs(wanted.astype(np.float64) - found).max(initial=0.0))
