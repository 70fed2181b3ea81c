"""torchvision's side: the peers' own model with the driver's proposals injected and its positives counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.benchmarks.peers import work

Call = Callable[[], dict[str, Any]]


def prepare(job: work.Job) -> tuple[Call, dict[str, Any]]:
    """The call of the job, and how many parameters train."""
    torch.set_num_threads(job.threads)
    case = work.CASES[job.case]
    peer = work.load_module(Path(job.peers) / "bench_torchvision.py")
    options = {"head": case.head, "short": case.short}
    model = peer.build(options, "recipe", job.seed, work.SCORE_THRESHOLD)
    if job.variant == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    if job.variant == "compile":
        compile_dense_parts(model, case)
    samples = work.make_samples(job)
    images = [torch.from_numpy(np.ascontiguousarray(s["pixels"].transpose(2, 0, 1))).float() / 255 for s in samples]
    if case.mode == "infer":
        return autocast(inference(model, images), job), {"trainable_parameters": 0}
    trainable = [p for p in model.parameters() if p.requires_grad]
    proposals = torch.from_numpy(work.make_proposals(job, samples))
    model.forward = autocast(model.forward, job)
    call = training(model, images, targets_of(samples, case.head), proposals, trainable)
    return call, {"trainable_parameters": sum(p.numel() for p in trainable)}


def autocast(function: Callable[..., Any], job: work.Job) -> Callable[..., Any]:
    """The function in the job's precision: PyTorch chooses what computes in bfloat16."""
    return torch.autocast("cpu", torch.bfloat16, enabled=job.precision != "float32")(function)


def compile_dense_parts(model: Any, case: work.Case) -> None:
    """As the peers' variant: the parts with fixed shapes; selecting proposals and pasting stay eager."""
    model.backbone = torch.compile(model.backbone)
    model.rpn.head = torch.compile(model.rpn.head)
    if case.mode == "infer":
        heads = model.roi_heads
        heads.box_head = torch.compile(heads.box_head, dynamic=False)
        name = "mask_head" if case.head == "mask" else "keypoint_head"
        setattr(heads, name, torch.compile(getattr(heads, name), dynamic=False))


def targets_of(samples: list[dict[str, np.ndarray]], head: str) -> list[dict[str, Any]]:
    keys = ("boxes", "labels", "masks" if head == "mask" else "keypoints")
    return [{key: torch.from_numpy(sample[key]) for key in keys} for sample in samples]


def training(model: Any, images: list[Any], targets: list[Any], proposals: Any, trainable: list[Any]) -> Call:
    """One step of SGD; the RPN's selection is replaced by `proposals`, its losses stay."""
    model.train()
    scores = [torch.ones(len(boxes)) for boxes in proposals]
    model.rpn.filter_proposals = lambda *_: (list(proposals), scores)
    positives = count_positives(model.roi_heads)
    optimizer = torch.optim.SGD(
        trainable, lr=work.LEARNING_RATE, momentum=work.MOMENTUM, weight_decay=work.WEIGHT_DECAY
    )

    def step() -> dict[str, Any]:
        optimizer.zero_grad(set_to_none=True)
        total = sum(model(images, targets).values())
        total.backward()
        optimizer.step()
        return {"loss": float(total.detach()), "positives": positives[-1] / len(images)}

    return step


def count_positives(heads: Any) -> list[int]:
    """A list that grows by the number of positive RoIs at each step."""
    counts: list[int] = []
    select = heads.select_training_samples

    def counted(*args: Any) -> Any:
        chosen = select(*args)
        counts.append(sum(int((labels > 0).sum()) for labels in chosen[2]))
        return chosen

    heads.select_training_samples = counted
    return counts


def inference(model: Any, images: list[Any]) -> Call:
    """Detections with masks at the image's size, as bool; or with joints."""
    model.eval()

    @torch.no_grad()
    def predict() -> dict[str, Any]:
        found = model(images)[0]
        result: dict[str, Any] = {"positives": len(found["boxes"])}
        if "masks" in found:
            result["mask_pixels"] = int((found["masks"] >= 0.5).sum())
        else:
            result["mean_joint"] = float(found["keypoints"][..., :2].mean())
        return result

    return predict


if __name__ == "__main__":
    work.serve(prepare)
