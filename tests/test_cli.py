"""How commands end: exit codes and streams, in real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _run(body: str) -> subprocess.CompletedProcess[str]:
    program = f"from maskrcnn.cli import run_command\nfrom maskrcnn.errors import *\n{body}\nrun_command(main)"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [("UserError('what', 'where', 'hint')", 1), ("UsageError('what', 'where', 'hint')", 2)],
)
def test_a_mistake_of_the_users_is_one_line_on_stderr(error, code):
    done = _run(f"def main(arguments): raise {error}")
    assert done.returncode == code
    assert done.stderr == "where: what; hint\n"
    assert done.stdout == ""


def test_the_code_of_the_command_is_the_exit_code():
    assert _run("def main(arguments): return 3").returncode == 3


def test_ctrl_c_gives_130_without_a_traceback():
    done = _run("def main(arguments): raise KeyboardInterrupt")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_a_bug_keeps_its_traceback():
    done = _run("def main(arguments): return 1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_reader_that_goes_away_ends_the_command_quietly():
    program = (
        "from maskrcnn.cli import run_command\n"
        "def main(arguments):\n"
        "    for number in range(100_000): print(number)\n"
        "    return 0\n"
        "run_command(main)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    child.stdout.readline()
    child.stdout.close()
    assert child.stderr.read() == ""
    child.stderr.close()
    child.wait(timeout=60)


def test_letters_that_the_terminal_lacks_are_escaped():
    body = "def main(arguments): print('Stra\\u00dfe', '\\ud800'); return 0"
    program = f"from maskrcnn.cli import run_command\n{body}\nrun_command(main)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout == b"Stra\\xdfe \\ud800\n"


def test_what_imports_write_is_held_back_unless_they_fail():
    body = (
        "import os, sys\n"
        "from maskrcnn.cli import quiet_imports\n"
        "def main(arguments):\n"
        "    with quiet_imports(): os.write(2, b'noise')\n"
        "    print('word', file=sys.stderr)\n"
        "    with quiet_imports():\n"
        "        os.write(2, b'reason\\n')\n"
        "        raise UserError('failed')"
    )
    done = _run(body)
    assert done.returncode == 1
    assert done.stderr == "word\nreason\nfailed\n"
