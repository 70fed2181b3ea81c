"""Which number format a training computes in: `training.precision=auto` chooses by the machine.

Variables, losses, boxes, RoIAlign and statistics stay float32 under every policy; only layers compute in 16 bits.
"""

from __future__ import annotations

from pathlib import Path

NATIVE_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
"""Processor flags, as Linux names them, of bfloat16 products in hardware. Elsewhere they are emulated, and slower."""


def resolve_precision(name: str, *, tensorflow_on_cpu: bool, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The Keras dtype policy for the setting `name`; `auto`: mixed_bfloat16 on a CPU that multiplies it, else float32.

    Under `auto` GPUs and JAX stay at float32: how 16 bits do there was not measured.
    """
    if name != "auto":
        return name
    wins = tensorflow_on_cpu and bool(NATIVE_BFLOAT16 & _processor_flags(cpuinfo))
    return "mixed_bfloat16" if wins else "float32"


def _processor_flags(cpuinfo: Path) -> frozenset[str]:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system than Linux
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return frozenset(flags.split())
