"""The one way a command ends: mistakes of the user as one line on stderr, everything else with its traceback."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import NoReturn

from maskrcnn.errors import UserError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells give it."""


def run_command(main: Callable[[list[str]], int]) -> NoReturn:
    """Runs `main` with the command line's arguments and exits with its code.

    A `UserError` goes to stderr (its lines) and gives its own code: 1, or 2 for wrong usage; Ctrl-C gives 130. A reader
    that goes away (`| head`) ends the command quietly. Other exceptions are our bugs and keep their traceback.
    """
    _print_any_text()
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        code = error.exit_code
        _complain(str(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
        _complain("interrupted")
    except BrokenPipeError:
        code = _forget_stdout()
    sys.exit(code)


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Holds back what libraries write to the stderr descriptor while they are imported; shows it if that fails.

    TensorFlow 2.21 reports oneDNN and missing GPU drivers before its log level counts: no variable silences it.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        before = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(before, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)


def _print_any_text() -> None:
    """File names may hold letters that the terminal's encoding lacks: they are escaped and do not end the command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _complain(text: str) -> None:
    try:
        sys.stdout.flush()
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        _forget_stdout()


def _forget_stdout() -> int:
    """Python would complain again when it flushes at exit, unless the stream leads nowhere. Code: 128 + SIGPIPE."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return 141
