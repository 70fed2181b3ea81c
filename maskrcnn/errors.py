"""What a user can do wrong: errors that the commands print as one line, without a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (file, key, image id), what (found against expected), hint (what to type)."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return " ".join(f"{line}; {self.hint}".split()) if self.hint else " ".join(line.split())


class UserError(Exception):
    """A mistake of the user's: caught in the commands, printed as one line on stderr, exit code 1."""

    exit_code = 1

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        self.problem = Problem(where, what, hint)
        super().__init__(str(self.problem))


class UsageError(UserError):
    """Wrong usage of a command (unknown key or option, a value that cannot be parsed): exit code 2."""

    exit_code = 2


class ProblemsError(UserError):
    """Several problems found at once: one line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(p) for p in problems))

    def __str__(self) -> str:
        return "\n".join(str(p) for p in self.problems)
