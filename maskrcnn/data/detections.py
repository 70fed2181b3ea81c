"""What a detector found in one image, in the image's original pixels."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from maskrcnn.data import rle


@dataclass(eq=False)
class Detections:
    """Objects found in one image of `height` x `width` pixels, sorted by falling score.

    Attributes:
        boxes: float32 [D, 4], x1, y1, x2, y2.
        scores: float32 [D], 0…1.
        labels: int32 [D], 1…C.
        masks: D compressed RLEs of the image's size; None without a mask head.
        keypoints: float32 [D, K, 3], x, y, score; None without a keypoint head.
        keypoint_offset: where `keypoints` count the middle of the first pixel, as `Conventions.keypoint_offset`.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: list[dict[str, Any]] | None
    keypoints: np.ndarray | None
    height: int
    width: int
    keypoint_offset: float = 0.5

    @classmethod
    def empty(cls, height: int, width: int, *, masks: bool = False, num_keypoints: int = 0) -> Detections:
        """No object, with the fields of the heads that there are."""
        return cls(
            boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            labels=np.zeros(0, np.int32),
            masks=[] if masks else None,
            keypoints=np.zeros((0, num_keypoints, 3), np.float32) if num_keypoints else None,
            height=height,
            width=width,
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, name: str) -> Any:
        if name not in {field.name for field in fields(self)}:
            raise KeyError(name)
        return getattr(self, name)

    def bool_masks(self) -> np.ndarray:
        """Masks bool [D, H, W]; [0, H, W] without objects. Raises ValueError without a mask head."""
        if self.masks is None:
            raise ValueError("these detections have no masks")
        if not self.masks:
            return np.zeros((0, self.height, self.width), bool)
        return np.stack([rle.decode(mask).astype(bool) for mask in self.masks])

    def indexed_keypoints(self) -> np.ndarray:
        """Keypoints float64 [D, K, 3] as COCO's files count them: the middle of the first pixel is 0.

        Raises ValueError without a keypoint head.
        """
        if self.keypoints is None:
            raise ValueError("these detections have no keypoints")
        joints = np.array(self.keypoints, np.float64)
        joints[..., :2] -= self.keypoint_offset
        return joints

    def take(self, rows: np.ndarray) -> Detections:
        """The detections at `rows` (indices or a bool mask [D]), in that order."""
        chosen = np.arange(len(self))[rows]
        return Detections(
            boxes=self.boxes[chosen],
            scores=self.scores[chosen],
            labels=self.labels[chosen],
            masks=None if self.masks is None else [self.masks[row] for row in chosen.tolist()],
            keypoints=None if self.keypoints is None else self.keypoints[chosen],
            height=self.height,
            width=self.width,
            keypoint_offset=self.keypoint_offset,
        )
