"""Which precision `auto` chooses."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn.training.precision import resolve_precision

PROCESSOR = "processor\t: 0\nmodel name\t: A processor\nflags\t\t: fpu avx512f {}\n\nprocessor\t: 1\n"


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_auto_takes_bfloat16_where_the_processor_multiplies_it(tmp_path: Path, flag: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(PROCESSOR.format(flag), encoding="utf-8")
    assert resolve_precision("auto", tensorflow_on_cpu=True, cpuinfo=cpuinfo) == "mixed_bfloat16"
    assert resolve_precision("auto", tensorflow_on_cpu=False, cpuinfo=cpuinfo) == "float32"


@pytest.mark.parametrize("text", [PROCESSOR.format("avx512_vnni"), "Features\t: fp asimd bf16\n", "", None])
def test_auto_stays_at_float32_elsewhere(tmp_path: Path, text: str | None) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if text is not None:
        cpuinfo.write_text(text, encoding="utf-8")
    assert resolve_precision("auto", tensorflow_on_cpu=True, cpuinfo=cpuinfo) == "float32"


@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_named_precision_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    assert resolve_precision(name, tensorflow_on_cpu=True, cpuinfo=tmp_path / "none") == name
