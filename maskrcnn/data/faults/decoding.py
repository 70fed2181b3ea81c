"""Decoding every picture, in child processes: a decoder that crashes, hangs or prints does not harm the doctor.

A child reads one path a line (JSON) and answers one line: "" for a good picture, else what is wrong. It decodes twice:
with Pillow, which is strict, and with OpenCV, which training uses and whose libraries print what they had to guess
(«Corrupt JPEG data»); that goes to the child's stderr, a file that it looks into after each picture.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from maskrcnn.data.faults.pictures import PictureError, check_pixels, read_header

SECONDS = 60.0
"""A picture that takes longer is given up."""

CHILD = ("-P", "-m", "maskrcnn.data.faults.decoding")
"""What a child process runs."""

LARGE_PIXELS = 8_000_000
"""Larger pictures are decoded one at a time, in one child, so that memory stays bounded."""

_GUESSED = re.compile(rb"premature end|corrupt|bad huffman|crc error|invalid|truncated|not enough", re.IGNORECASE)
"""What libjpeg and libpng print when pixels had to be invented. Other lines (colour profiles) are harmless."""
_HARMLESS = re.compile(rb"extraneous bytes|iCCP|sRGB|cHRM|gAMA|tEXt|zTXt|iTXt|eXIf|known incorrect", re.IGNORECASE)


def decode_all(paths: Sequence[str], pixels: Sequence[int], done: Callable[[], None]) -> list[str]:
    """For each path, "" if all its pixels can be decoded, else why not.

    Args:
        paths: picture files.
        pixels: their numbers of pixels, to share the work and to bound memory.
        done: called after each picture, from several threads.
    """
    answers = [""] * len(paths)
    shares = _share(pixels, processes=min(_cores(), 1 + len(paths) // 8))
    threads = [
        threading.Thread(target=_work_through, args=(share, paths, answers, done), daemon=True) for share in shares
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _share(pixels: Sequence[int], processes: int) -> list[list[int]]:
    """Rows for each child; all large pictures go to the first."""
    large = [row for row, number in enumerate(pixels) if number > LARGE_PIXELS]
    small = [row for row, number in enumerate(pixels) if number <= LARGE_PIXELS]
    if large and processes > 1:
        shares = [large, *(small[first :: processes - 1] for first in range(processes - 1))]
    else:
        shares = [large, *(small[first::processes] for first in range(processes))]
        shares = [shares[0] + shares[1], *shares[2:]]
    return [share for share in shares if share]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work_through(share: list[int], paths: Sequence[str], answers: list[str], done: Callable[[], None]) -> None:
    """Gives one child after another the rows that are left; a child ends early only with a picture that ends it."""
    waiting = list(share)
    while waiting:
        with _Child() as child:
            while waiting:
                row = waiting.pop(0)
                answer = child.ask(paths[row])
                answers[row] = answer if answer is not None else "ends or blocks the decoder"
                done()
                if answer is None:
                    break


class _Child:
    """A child process that decodes pictures; `ask` gives None once it has died or passed the time limit."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        package_parent = str(Path(__file__).resolve().parents[3])
        search = os.pathsep.join([package_parent, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, *CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": search, "OPENCV_LOG_LEVEL": "ERROR"},
        )
        self._selector = selectors.DefaultSelector()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._selector.register(self._stdout, selectors.EVENT_READ)

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._selector.close()
        self._log.close()
        self._stdout.close()
        with suppress(BrokenPipeError):
            self._stdin.close()

    def ask(self, path: str) -> str | None:
        try:
            self._stdin.write(json.dumps(path).encode("ascii") + b"\n")
            self._stdin.flush()
        except BrokenPipeError:
            return None
        if not self._selector.select(timeout=SECONDS):
            return None
        line = self._stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None


def check_picture(path: str) -> str:
    """Why the picture at `path` cannot be decoded whole; "" if it can. Raises nothing that a file can cause."""
    from maskrcnn.data.images import decode_image
    from maskrcnn.errors import UserError

    try:
        read_header(path)
        check_pixels(path)
        with open(path, "rb") as file:
            decode_image(file.read(), path)
    except PictureError as error:
        return str(error)
    except UserError as error:
        return error.problem.what
    except MemoryError:
        return "cannot be decoded (out of memory)"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return ""


def complaint(log: bytes) -> str:
    """The first line of the image libraries' output that says that pixels were invented; "" for none."""
    for line in log.splitlines():
        if _GUESSED.search(line) and not _HARMLESS.search(line):
            return f"is damaged ({line.decode('utf-8', 'replace').strip()[:120]})"
    return ""


def _serve() -> Iterator[str]:
    position = 0
    for line in sys.stdin.buffer:
        answer = check_picture(json.loads(line))
        sys.stderr.flush()
        end = os.lseek(2, 0, os.SEEK_END)
        written = os.pread(2, min(end - position, 65536), position)
        position = end
        yield answer or complaint(written)


if __name__ == "__main__":
    for _answer in _serve():
        sys.stdout.buffer.write(json.dumps(_answer).encode("ascii") + b"\n")
        sys.stdout.buffer.flush()
