"""One progress line with time left on stderr, silent when stderr is not a terminal.

Lines may be nested (an evaluation inside a training): they share one console, so that the inner line stands below
the outer one.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

T = TypeVar("T")


class ProgressLine:
    """A progress line for code that is called back: `update` moves it on, `close` ends it.

    Does nothing at all (and does not import rich) when stderr is not a terminal. Also a context manager.
    """

    def __init__(self, total: int | None, label: str) -> None:
        """`total` is the number of steps, None if it is not known; `label` stands at the beginning of the line."""
        self._progress: Progress | None = _open_line() if _stderr_is_terminal() else None
        if self._progress is not None:
            self._task = self._progress.add_task(label, total=total, figures="")

    def update(self, n: int = 1, **figures: float | str) -> None:
        """Move on by `n` steps; `figures` (such as loss=0.71) replace those shown behind the count."""
        if self._progress is None:
            return
        changes: dict[str, Any] = {"figures": _format_figures(figures)} if figures else {}
        self._progress.update(self._task, advance=n, **changes)

    def close(self) -> None:
        """End the line and leave its last state on the screen; closing twice does nothing."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def progress(iterable: Iterable[T], *, total: int | None, label: str) -> Iterator[T]:
    """The items of `iterable`, with a progress line that moves on when the next item is asked for."""
    with ProgressLine(total, label) as line:
        for item in iterable:
            yield item
            line.update()


def _stderr_is_terminal() -> bool:
    isatty = getattr(sys.stderr, "isatty", None)
    return bool(isatty and isatty())


@functools.cache
def _console() -> Console:
    """The one console of all lines: rich nests lines only within a console."""
    from rich.console import Console

    return Console(stderr=True)


def _open_line() -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    line = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=_console(),
    )
    line.start()
    return line


def _format_figures(figures: dict[str, float | str]) -> str:
    return "  ".join(f"{name} {value if isinstance(value, str) else f'{value:.4g}'}" for name, value in figures.items())
