"""The settings of a sweep: which figures a job can return, and which way is up."""

from __future__ import annotations

from collections.abc import Iterator

from maskrcnn.config.names import known, nearest
from maskrcnn.config.schema import Config
from maskrcnn.errors import Problem

_OBJECTS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
_JOINTS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl", "PCK", "OKS")
COSTS = ("seconds/total", "seconds/cpu", "seconds/training", "seconds/test", "memory/peak_mib", "model/parameters")
"""Figures of which less is better."""


def figure_names(*, masks: bool, keypoints: bool) -> list[str]:
    """The figures that a run with such a head ends with and that can be compared."""
    names = [f"box/{name}" for name in _OBJECTS]
    names += [f"mask/{name}" for name in _OBJECTS] if masks else []
    names += [f"keypoint/{name}" for name in _JOINTS] if keypoints else []
    return [*names, *COSTS]


def less_is_better(metric: str | None) -> bool:
    """Whether a sweeper should look for the smallest value of the figure."""
    return metric is not None and metric.startswith(("seconds/", "memory/", "model/"))


def check_sweep(config: Config) -> Iterator[Problem]:
    """A figure to compare that the head does not give, or that does not exist."""
    metric, head = config.sweep.metric, config.head
    if metric is None:
        return
    # The figures of one category have its name behind a second stroke: box/AP/person.
    name = "/".join(metric.split("/")[:2])
    own = figure_names(masks=head.masks, keypoints=head.keypoints)
    if name in own:
        return
    where = f"sweep.metric={metric}"
    if name in figure_names(masks=True, keypoints=True):
        yield Problem(where, f"head={head.name} gives no such figure", "such as sweep.metric=box/AP")
    else:
        near = nearest(name, own)
        yield Problem(where, "is no figure of a run", f"did you mean {near}?" if near else f"known: {known(own)}")
