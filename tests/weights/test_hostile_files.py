"""N of N hostile and broken files are refused in one line; nothing runs, nothing is written, memory stays small."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrcnn.errors import UserError
from maskrcnn.weights.files import read_weights

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = runpy.run_path(str(Path(__file__).with_name("hostile.py")))
MOST_MIB = 2048
"""Issue 11: memory of whatever is refused."""


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("canary") / "canary"
    yield path
    assert not path.exists(), "code of a file was run"


@pytest.fixture(scope="module")
def folder(canary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile")
    for name, data in HOSTILE["all_files"](canary).items():
        (path / name.replace("/", "_")).write_bytes(data)
    return path


NAMES = sorted(name.replace("/", "_") for name in HOSTILE["all_files"](Path("canary")))


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_file_is_refused_in_one_line(name: str, folder: Path, canary: Path) -> None:
    with pytest.raises(UserError) as refused:
        read_weights(folder / name)
    text = str(refused.value)
    assert "\n" not in text
    assert len(text) < 500 + len(str(folder))
    assert name in text
    assert not canary.exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell peak memory")
def test_all_refusals_together_need_little_memory_and_write_nothing(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    program = (
        "import json, pathlib, sys\n"
        "from maskrcnn.errors import UserError\n"
        "from maskrcnn.weights.files import read_weights\n"
        "refused = 0\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try: read_weights(path)\n"
        "    except UserError: refused += 1\n"
        # getrusage would count what the parent held when it made this process.
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(json.dumps([refused, int(status.split('VmHWM:')[1].split()[0]) // 1024]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    refused, peak_mib = json.loads(done.stdout)
    assert refused == len(NAMES) >= 200
    assert peak_mib < MOST_MIB
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_folder_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder, not a file"):
        read_weights(tmp_path)
    with pytest.raises(UserError, match="there is no such file"):
        read_weights(tmp_path / "none.pth")
