"""The progress line: nothing off-terminal, count and figures on a terminal."""

import io
import subprocess
import sys

import pytest

import maskrcnn.progress
from maskrcnn.progress import ProgressLine, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def to_terminal(monkeypatch):
    """A function that makes stderr a terminal; called inside the test, since pytest sets its own stderr before."""

    def replace() -> Terminal:
        maskrcnn.progress._console.cache_clear()
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setattr(sys, "stderr", Terminal())
        return sys.stderr

    return replace


def test_items_pass_through_unchanged():
    assert list(progress(iter("abc"), total=3, label="letters")) == ["a", "b", "c"]


def test_nothing_is_written_and_rich_not_imported_off_terminal():
    code = (
        "import sys; from maskrcnn.progress import ProgressLine\n"
        "with ProgressLine(2, 'x') as line: line.update(2, loss=1.0)\n"
        "assert 'rich' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_terminal_shows_label_count_figures_and_time_left(to_terminal):
    terminal = to_terminal()
    with ProgressLine(4, "train [fast]") as line:
        line.update(3, loss=0.123456, phase="warm-up")
    text = terminal.getvalue()
    assert [part for part in ("train [fast]", "3/4", "loss 0.1235", "phase warm-up", "left") if part not in text] == []


def test_lines_may_be_nested(to_terminal):
    terminal = to_terminal()
    for _ in progress(range(2), total=2, label="outer"):
        list(progress(range(2), total=2, label="inner"))
    assert [label for label in ("outer", "inner") if label not in terminal.getvalue()] == []


def test_closing_twice_and_updating_after_it_are_allowed(to_terminal):
    to_terminal()
    line = ProgressLine(1, "once")
    line.close()
    line.close()
    line.update()


def test_an_error_inside_the_loop_ends_the_line(to_terminal):
    terminal = to_terminal()
    lines = progress(range(3), total=3, label="loop")
    next(lines)
    lines.close()  # what Python does to a loop's generator when the loop is left
    list(progress(range(2), total=2, label="next"))
    assert terminal.getvalue().rstrip().splitlines()[-1].find("loop") == -1
