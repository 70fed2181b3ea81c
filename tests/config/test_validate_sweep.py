"""The figure that a sweep compares: it must be one that the head gives."""

from __future__ import annotations

import pytest

from maskrcnn.config.compose import compose
from maskrcnn.config.validate_sweep import check_sweep, figure_names, less_is_better
from maskrcnn.evaluation.coco import KEYPOINT_FIGURES, OBJECT_FIGURES


@pytest.mark.parametrize("metric", ["box/AP", "mask/AP50", "box/AP/person", "seconds/total", "null"])
def test_figures_of_the_head_are_accepted(metric: str) -> None:
    assert list(check_sweep(compose([f"sweep.metric={metric}"]))) == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["head=box", "sweep.metric=mask/AP"], "head=box gives no such figure; such as sweep.metric=box/AP"),
        (["sweep.metric=keypoint/OKS"], "head=mask gives no such figure"),
        (["sweep.metric=box/ap"], "is no figure of a run; did you mean box/AP?"),
        (["sweep.metric=loss"], "is no figure of a run; known: box/AP"),
    ],
)
def test_others_are_refused_with_a_hint(overrides: list[str], message: str) -> None:
    (problem,) = check_sweep(compose(overrides))
    assert message in str(problem)


def test_every_figure_of_the_evaluation_can_be_chosen() -> None:
    names = figure_names(masks=True, keypoints=True)
    kinds = {"box": OBJECT_FIGURES, "mask": OBJECT_FIGURES, "keypoint": KEYPOINT_FIGURES}
    assert {f"{kind}/{name}" for kind, figures in kinds.items() for name in figures} <= set(names)


def test_time_and_memory_are_to_be_small_and_precision_large() -> None:
    assert [less_is_better(name) for name in ("seconds/total", "memory/peak_mib", "box/AP", None)] == [
        True, True, False, False,
    ]  # fmt: skip
