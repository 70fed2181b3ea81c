"""Facts about machine and software, and memory of the process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from maskrcnn.tracking import environment_facts, git_facts, peak_memory_mib, process_memory_mib
from maskrcnn.tracking.environment import usable_cores


def test_the_facts_name_versions_processor_and_cores() -> None:
    facts = environment_facts(devices=["CPU:0"])
    assert facts["version/numpy"]
    assert facts["cores"] == usable_cores() >= 1
    assert facts["cpu"]
    assert facts["devices"] == ["CPU:0"]
    json.dumps(facts)


def test_the_commit_and_local_changes_are_told(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        settings = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *settings, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert git_facts(tmp_path) == {}
    git("init", "-q")
    (tmp_path / "file").write_text("1", encoding="utf-8")
    git("add", "file")
    git("commit", "-q", "-m", "x")
    assert git_facts(tmp_path) == {"git/commit": git("rev-parse", "HEAD"), "git/dirty": False}
    (tmp_path / "file").write_text("2", encoding="utf-8")
    assert git_facts(tmp_path)["git/dirty"] is True
    (tmp_path / "installed").mkdir()
    assert git_facts(tmp_path / "installed") == {}, "files that git does not hold have no commit"


def test_memory_grows_with_what_is_held() -> None:
    before = process_memory_mib()
    held = bytearray(64 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    after = process_memory_mib()
    assert before is not None
    assert after is not None
    assert after - before > 32
    assert (peak_memory_mib() or 0) >= after - 1
    assert held[0] == ord("x")


def test_importing_the_room_imports_no_mlflow() -> None:
    code = "import sys, maskrcnn.tracking; print([m for m in ('mlflow', 'tensorflow', 'keras') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
