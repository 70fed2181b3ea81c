"""What the objects of a data set are like: their number, sizes, joints and, where it is known, visible fraction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskrcnn.data.records import Dataset

_PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class Distribution:
    """Mean and percentiles (5, 25, 50, 75, 95) of a quantity; all NaN where there is none."""

    mean: float
    percentiles: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Distribution:
        """The distribution of the values, which may be empty."""
        if not len(values):
            return cls(float("nan"), (float("nan"),) * len(_PERCENTILES))
        return cls(float(np.mean(values)), tuple(np.percentile(values, _PERCENTILES).tolist()))


@dataclass(frozen=True)
class Statistics:
    """Figures of a data set; crowds count as regions alone, everything else is about instances.

    Sizes are in pixels: `size` is the square root of the area, sides are those of the boxes. `joints` holds the
    shares of joints that are absent or outside (0), hidden (1) and visible (2), of instances with a joint.
    """

    images: int
    empty_images: int
    crowd_regions: int
    instances: int
    objects_per_image: Distribution
    size: Distribution
    long_side: Distribution
    short_side: Distribution
    visible_fraction: Distribution
    joints: tuple[float, float, float]
    category_shares: dict[str, float]


def describe(dataset: Dataset, visible_fractions: Sequence[float] = ()) -> Statistics:
    """Figures of a data set; `visible_fractions` of its objects are known to those who drew them only."""
    instances = [item for image in dataset.images for item in image.annotations if not item.is_crowd]
    sides = np.array([(item.box[2] - item.box[0], item.box[3] - item.box[1]) for item in instances]).reshape(-1, 2)
    names = Counter(dataset.category_names[item.label - 1] for item in instances)
    return Statistics(
        images=len(dataset),
        empty_images=sum(not image.annotations for image in dataset.images),
        crowd_regions=sum(item.is_crowd for image in dataset.images for item in image.annotations),
        instances=len(instances),
        objects_per_image=Distribution.of([sum(not o.is_crowd for o in image.annotations) for image in dataset.images]),
        size=Distribution.of([item.area**0.5 for item in instances]),
        long_side=Distribution.of(sides.max(axis=1).tolist()),
        short_side=Distribution.of(sides.min(axis=1).tolist()),
        visible_fraction=Distribution.of(visible_fractions),
        joints=_joint_shares([item.keypoints for item in instances if item.keypoints is not None]),
        category_shares={name: names[name] / max(1, len(instances)) for name in dataset.category_names},
    )


def _joint_shares(keypoints: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Shares of visibility 0, 1 and 2 among the joints of annotated instances; zeros for none."""
    annotated = [values[:, 2].astype(int) for values in keypoints if values[:, 2].any()]
    counts = np.bincount(np.concatenate(annotated), minlength=3)[:3] if annotated else np.zeros(3)
    absent, hidden, visible = (counts / max(1, counts.sum())).tolist()
    return absent, hidden, visible
