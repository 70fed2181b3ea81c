"""The program starts from a bare checkout and from the wheel, in any folder, with its configuration files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("maskrcnn", "conf", "pyproject.toml", "LICENSE")


def copy_sources(folder: Path) -> Path:
    """The files that make the wheel, copied, since building writes beside them."""
    folder.mkdir()
    (folder / "README.md").write_text("Its text does not matter here.\n")
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def run(arguments: list[str], *, cwd: Path, path: Path) -> subprocess.CompletedProcess:
    cwd.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)


def check_answers(path: Path, elsewhere: Path) -> None:
    """Help, configuration, an experiment and a mistake, with the package at `path`, started `elsewhere`."""
    page = run(["maskrcnn.run", "--help"], cwd=elsewhere, path=path)
    assert page.returncode == 0, page.stderr
    assert "coco_person_cpu" in page.stdout
    printed = run(["maskrcnn.run", "--cfg", "job", "experiment=coco_person_cpu"], cwd=elsewhere, path=path)
    assert printed.returncode == 0, printed.stderr
    assert "name: mobilenetv2" in printed.stdout
    refused = run(["maskrcnn.run", "backbone=resnet51_fpn"], cwd=elsewhere, path=path)
    assert refused.returncode == 2
    assert "did you mean backbone=resnet50_fpn?" in refused.stderr
    contradicted = run(["maskrcnn.run", "backbone.norm=frozen"], cwd=elsewhere, path=path)
    assert contradicted.returncode == 1, contradicted.stderr
    assert not list(elsewhere.iterdir())


def imported_from(path: Path, elsewhere: Path) -> Path:
    """Where Python finds the package: no other copy may answer in its place."""
    program = "import maskrcnn, sys; sys.stdout.write(maskrcnn.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True)
    return Path(ended.stdout)


def test_every_package_is_listed_for_the_wheel():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        str(file.parent.relative_to(ROOT)).replace(os.sep, ".") for file in (ROOT / "maskrcnn").rglob("__init__.py")
    }
    assert listed == found | {"maskrcnn.conf"}


def test_every_folder_with_modules_is_a_package():
    folders = {file.parent for file in (ROOT / "maskrcnn").rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_a_bare_checkout_answers_in_another_folder(tmp_path):
    sources = copy_sources(tmp_path / "checkout")
    (tmp_path / "elsewhere").mkdir()
    assert imported_from(sources, tmp_path / "elsewhere").is_relative_to(sources)
    check_answers(sources, tmp_path / "elsewhere")


@pytest.mark.slow
def test_the_wheel_answers_in_another_folder(tmp_path):
    sources = copy_sources(tmp_path / "checkout")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(build, cwd=sources, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    for file in (ROOT / "conf").rglob("*.yaml"):
        assert (installed / "maskrcnn" / "conf" / file.relative_to(ROOT / "conf")).is_file()
    (tmp_path / "elsewhere").mkdir()
    assert imported_from(installed, tmp_path / "elsewhere").is_relative_to(installed)
    check_answers(installed, tmp_path / "elsewhere")
