"""The README's commands, as they stand there: each ends well, and each Python snippet runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from maskrcnn.data.coco import write_coco
from maskrcnn.data.embedded import load_embedded

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INDENT = "    "


def indented_lines() -> list[str]:
    """Lines of the README's indented blocks, without their indentation, comments included."""
    return [line.removeprefix(INDENT) for line in README.splitlines() if line.startswith(INDENT) and line.strip()]


def commands() -> list[str]:
    return [line.split(" #")[0].strip() for line in indented_lines() if line.startswith("python -m ")]


def targets() -> list[str]:
    """Targets of `make` that the README names in its blocks or in its text."""
    return sorted(set(re.findall(r"(?:^    |`)make ([a-z-]+)", README, re.MULTILINE)))


def snippet() -> str:
    """The Python lines: from the first import to the last line of the same block."""
    block = re.search(r"^    import maskrcnn\n(?:    .*\n)+", README, re.MULTILINE)
    assert block is not None
    return "\n".join(line.removeprefix(INDENT) for line in block.group().splitlines())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with `train.json` and the images in `photos`, as the README's own-data section has them."""
    folder = tmp_path_factory.mktemp("readme")
    _, test = load_embedded(train_images=4, test_images=16, image_size=64, seed=0, cache=folder / "cache")
    (folder / "photos").mkdir()
    for record in test.images:
        shutil.copy(record.path, folder / "photos")
    records = tuple(replace(record, file_name=Path(record.path).name) for record in test.images)
    write_coco(replace(test, images=records), folder / "train.json")
    return folder


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",
        "MASKRCNN_CACHE": str(folder / "cache"),
        "MLFLOW_TRACKING_URI": "",
    }
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )


def test_make_knows_every_target_that_the_readme_names():
    known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets()
    assert set(targets()) <= set(known)


def test_make_run_is_the_plain_command():
    recipe = re.search(r"^run:.*\n\t(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    assert recipe.group(1) == "$(BIN)/python -m maskrcnn.run $(ARGS)"


def test_no_command_has_a_gap():
    assert len(commands()) >= 10
    assert not [command for command in commands() if "…" in command or "..." in command]


@pytest.mark.slow
def test_each_command_ends_well_in_the_order_of_the_readme(folder):
    """Trainings have `schedule=tiny` appended; the commands share one folder, so that `run=last` finds a run."""
    ran = sorted(commands(), key=lambda command: not command.startswith("python -m maskrcnn.run"))
    for command in ran:
        arguments = shlex.split(command)[1:]
        trains = "maskrcnn.run" in arguments and "--help" not in arguments
        ended = run([*arguments, *(["schedule=tiny"] if trains else [])], folder)
        assert ended.returncode == 0, f"{command}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
        assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_the_snippet_runs(folder):
    trained = run(["-m", "maskrcnn.run", "schedule=tiny"], folder)
    assert trained.returncode == 0, trained.stderr[-2000:]
    program = f"import numpy as np\nimage = np.zeros((96, 128, 3), np.uint8)\n{snippet()}"
    ended = run(["-c", program], folder)
    assert ended.returncode == 0, ended.stderr[-2000:]
