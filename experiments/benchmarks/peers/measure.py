"""The comparison itself: both sides alive at once, called in turn, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from experiments.benchmarks.peers.work import CASES, Job
from maskrcnn.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
OURS, THEIRS = "experiments.benchmarks.peers.ours", "experiments.benchmarks.peers.theirs"


class Side:
    """A process that holds one model and answers requests."""

    def __init__(self, python: str, module: str, job: Job) -> None:
        self.name = f"{module.rpartition('.')[2]}, {job.case}, {job.variant}"
        self._process = subprocess.Popen(
            [python, "-m", module, job.to_json()],
            cwd=ROOT,
            env=quiet_environment(job.threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Side:
        try:
            self.facts = self._read()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, request: str) -> dict[str, Any]:
        """The answer to run, reset or peak.

        Raises:
            UserError: the side has failed; its last words.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise UserError("has ended unexpectedly", self.name) from None
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"failed": f"ended with code {self._process.wait()}"}
        if "failed" in answer:
            raise UserError(answer["failed"], self.name)
        return answer


def quiet_environment(threads: int) -> dict[str, str]:
    """The same number of threads on both sides, and threads that sleep while they wait.

    Spinning threads would count as work of a side that waits for its turn.
    """
    fixed = {"OMP_WAIT_POLICY": "PASSIVE", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    # Keeps the driver's own environment from choosing another device or another folder of modules.
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONDONTWRITEBYTECODE": "1", **fixed, **counts}


@dataclass
class Samples:
    """What one side gave: seconds of each timed call, peak memory, the last result."""

    facts: Mapping[str, Any]
    first_s: float = 0.0
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    first_result: Mapping[str, Any] = field(default_factory=dict)

    def add(self, answer: Mapping[str, Any]) -> None:
        self.wall_s.append(answer["wall_s"])
        self.cpu_s.append(answer["cpu_s"])


def compare(job: Job, peer_python: str, variants: Sequence[str], *, repeats: int, warmup: int) -> dict[str, Any]:
    """One row of the benchmark: ours beside the fastest of torchvision's variants.

    Raises:
        UserError: a side failed; of the variants only if all did.
    """
    with ExitStack() as stack:
        ours = stack.enter_context(Side(sys.executable, OURS, job))
        sides, failed = {"ours": ours}, {}
        for variant in variants:
            try:
                sides[variant] = stack.enter_context(Side(peer_python, THEIRS, replace(job, variant=variant)))
            except UserError as error:
                failed[variant] = error
        if len(sides) == 1:
            raise next(iter(failed.values()))
        samples = take_turns(sides, repeats=repeats, warmup=warmup)
    return to_row(job, samples) | ({"failed": {k: str(v) for k, v in failed.items()}} if failed else {})


def take_turns(sides: Mapping[str, Side], *, repeats: int, warmup: int) -> dict[str, Samples]:
    """All sides in turn, `repeats` times, so that a slow minute of the machine slows all of them."""
    samples = {name: Samples(side.facts) for name, side in sides.items()}
    for name, side in sides.items():
        for k in range(warmup):
            answer = side.ask("run")
            if k == 0:
                samples[name].first_s, samples[name].first_result = answer["wall_s"], answer["result"]
        side.ask("reset")
    for _ in range(repeats):
        for name, side in sides.items():
            samples[name].add(side.ask("run"))
    for name, side in sides.items():
        samples[name].peak_mib = side.ask("peak")["peak_mib"]
    return samples


def to_row(job: Job, samples: Mapping[str, Samples]) -> dict[str, Any]:
    """The JSON line of a case: minima, their ratios, and what shows that both sides did the same work."""
    ours = samples["ours"]
    variant = min((name for name in samples if name != "ours"), key=lambda name: min(samples[name].wall_s))
    theirs = samples[variant]
    positives = [side.first_result["positives"] for side in (ours, theirs)]
    return {
        "what": job.case,
        "ours_s": round(min(ours.wall_s), 4),
        "torchvision_s": round(min(theirs.wall_s), 4),
        "ratio": round(min(ours.wall_s) / min(theirs.wall_s), 4),
        "ours_cpu_s": round(min(ours.cpu_s), 4),
        "torchvision_cpu_s": round(min(theirs.cpu_s), 4),
        "cpu_ratio": round(min(ours.cpu_s) / min(theirs.cpu_s), 4),
        "memory_ratio": round(ours.peak_mib / theirs.peak_mib, 4),
        "ours_peak_mib": round(ours.peak_mib, 1),
        "torchvision_peak_mib": round(theirs.peak_mib, 1),
        "positives": positives[0],
        "torchvision_positives": positives[1],
        "variant": variant,
        "variants_s": {name: round(min(s.wall_s), 4) for name, s in samples.items() if name != "ours"},
        "variants_cpu_s": {name: round(min(s.cpu_s), 4) for name, s in samples.items() if name != "ours"},
        "first_call_s": {name: round(s.first_s, 2) for name, s in samples.items()},
        "first_result": {name: s.first_result for name, s in samples.items()},
        "trainable_parameters": {name: s.facts["trainable_parameters"] for name, s in samples.items()},
        "precision": job.precision,
        "threads": job.threads,
        "repeats": len(ours.wall_s),
        "batch": CASES[job.case].batch,
    }


def rows(
    jobs: Sequence[Job], peer_python: str, variants: Sequence[str], *, repeats: int, warmup: int
) -> Iterator[dict[str, Any]]:
    """One row a job, each when it is done."""
    for job in jobs:
        yield compare(job, peer_python, variants, repeats=repeats, warmup=warmup)
