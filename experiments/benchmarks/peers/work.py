"""What both sides of the comparison do: cases, inputs, injected proposals, and how a side answers the driver.

NumPy and the standard library alone: torchvision's interpreter need not have this package's requirements.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PARITY = Path("..", "..", "golden", "parity")
"""The weights' recipe, seen from the peers' folder (whose own script looks there too)."""
MAX_POSITIVES = 128
"""A quarter of the 512 RoIs of an image, which both sides sample at most."""
NEAR_IOU, FAR_IOU = 0.6, 0.4
"""Injected boxes keep this distance from the matching threshold of one half, so that rounding changes no side."""
JITTER = 0.1
"""Injected positives move each side by up to this share of the box."""


@dataclass(frozen=True)
class Case:
    """One kind of work: `head` mask or keypoint, `mode` train or infer, images of `short` pixels."""

    name: str
    head: str
    mode: str
    short: int
    batch: int


CASES = {
    f"{head}-{mode}-{short}": Case(f"{head}-{mode}-{short}", head, mode, short, batch)
    for mode, short, batch in (("train", 320, 2), ("infer", 512, 1), ("infer", 800, 1))
    for head in ("mask", "keypoint")
}
DEFAULT_CASES = ("mask-train-320", "keypoint-train-320", "mask-infer-512", "mask-infer-800")
ARCHITECTURES = {"mask": "maskrcnn_resnet50_fpn", "keypoint": "keypointrcnn_resnet50_fpn"}
NUM_KEYPOINTS = 17
SCORE_THRESHOLD = 0.0
"""With random weights few scores pass a common threshold; 0 leaves 100 detections (the peers' README)."""
PRECISIONS = ("float32", "mixed_bfloat16")
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-4, 0.9, 1e-4


@dataclass(frozen=True)
class Job:
    """All that a side must know of its work; travels as JSON."""

    case: str
    peers: str
    threads: int
    seed: int = 11
    instances: int = 8
    positives: int = 64
    proposals: int = 1000
    variant: str = "eager"
    precision: str = "float32"
    """mixed_bfloat16: ours by Keras' policy of that name, torchvision by its autocast."""

    def to_json(self) -> str:
        return json.dumps(self.__dict__)

    @classmethod
    def from_json(cls, text: str) -> Job:
        return cls(**json.loads(text))


def load_module(path: Path) -> Any:
    """A Python file as a module; nothing is written beside it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


def make_samples(job: Job) -> list[dict[str, np.ndarray]]:
    """The peers' synthetic samples with images of whole pixel values: uint8 RGB [H, W, 3] under `pixels`."""
    case, synthetic = CASES[job.case], load_module(Path(job.peers) / "synthetic.py")
    width = synthetic.long_side(case.short)
    samples = synthetic.batch(
        job.seed, case.batch, case.short, width, job.instances, person_only=case.head == "keypoint"
    )
    for sample in samples:
        sample["pixels"] = np.rint(sample["image"] * 255).astype(np.uint8)
    return samples


def make_state(job: Job) -> dict[str, np.ndarray]:
    """The weights, in torchvision's names and layout."""
    recipe = load_module(Path(job.peers) / PARITY / "recipe.py")
    return {name: np.array(values) for name, values in recipe.state_dict(ARCHITECTURES[CASES[job.case].head], job.seed)}


def make_proposals(job: Job, samples: list[dict[str, np.ndarray]]) -> np.ndarray:
    """Proposals [B, P, 4] of which, together with the ground truth that joins them, `positives` an image are positive.

    The rest overlaps no object by more than `FAR_IOU`, so both sides count the same positives whatever they draw.
    """
    rng = np.random.RandomState(job.seed)
    return np.stack([_proposals_of(sample, job, rng) for sample in samples])


def _proposals_of(sample: dict[str, np.ndarray], job: Job, rng: np.random.RandomState) -> np.ndarray:
    height, width = sample["pixels"].shape[:2]
    truth = sample["boxes"]
    wanted = job.positives - len(truth)
    near = _draw(wanted, lambda: _jittered(truth, rng), lambda best: best >= NEAR_IOU, truth, (height, width))
    far = _draw(
        job.proposals - wanted,
        lambda: _anywhere(height, width, rng),
        lambda best: best <= FAR_IOU,
        truth,
        (height, width),
    )
    return np.concatenate([near, far])[rng.permutation(job.proposals)].astype(np.float32)


def _draw(
    count: int,
    boxes: Callable[[], np.ndarray],
    fits: Callable[[np.ndarray], np.ndarray],
    truth: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    """The first `count` of the drawn boxes whose largest overlap with an object fits."""
    found = np.zeros((0, 4))
    while len(found) < count:
        drawn = boxes().clip(0, [size[1], size[0], size[1], size[0]])
        found = np.concatenate([found, drawn[fits(iou(drawn, truth).max(1))]])
    return found[:count]


def _jittered(truth: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    sides = np.tile(truth[:, 2:] - truth[:, :2], 2)
    return truth + sides * rng.uniform(-JITTER, JITTER, truth.shape)


def _anywhere(height: int, width: int, rng: np.random.RandomState) -> np.ndarray:
    """256 boxes of 16 pixels up to half the image."""
    sides = rng.uniform(16, [width / 2, height / 2], (256, 2))
    corners = rng.uniform(0, 1, (256, 2)) * ([width, height] - sides)
    return np.concatenate([corners, corners + sides], axis=1)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Overlaps [len(a), len(b)]."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = (high - low).clip(0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return inside / (areas[0][:, None] + areas[1][None] - inside)


# ---- a side's conversation with the driver: one JSON object a line


def serve(prepare: Callable[[Job], tuple[Callable[[], dict[str, Any]], dict[str, Any]]]) -> None:
    """Answer the driver until it closes the pipe. `prepare(job)` gives the call to be timed and facts about it.

    Requests: run → wall and processor seconds of one call and its result; reset → forget the peak memory so far;
    peak → the peak since. Whatever libraries print goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        call, facts = prepare(Job.from_json(sys.argv[1]))
        answers.write(json.dumps(facts) + "\n")
        for request in sys.stdin:
            answers.write(json.dumps(_answer(request.strip(), call)) + "\n")
    except Exception as error:
        answers.write(json.dumps({"failed": " ".join(f"{type(error).__name__}: {error}".split())[:300]}) + "\n")
        raise


def _answer(request: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if request == "reset":
        return {"reset": reset_peak()}
    if request == "peak":
        return {"peak_mib": peak_mib()}
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "result": result}


def reset_peak() -> bool:
    """Make the peak memory start anew from what is resident now; False where the system cannot.

    What preparing the case has freed (the recipe's weights) goes back to the system first.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_mib() -> float:
    """Peak resident memory since `reset_peak`; of the process's whole life where that is not known."""
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
