"""What the checks found: faults (would crash, give a wrong number or have to be dropped) and warnings (legal)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from maskrcnn.errors import Problem, ProblemsError

NAMED = {"fault": 100_000, "warning": 1000}
"""Findings of one kind that are named one by one; further ones are counted, so that memory stays bounded."""

FATAL_KINDS = frozenset(
    {
        "unreadable annotation file",
        "not JSON",
        "not a COCO file",
        "unreadable image folder",
        "no images",
        "nothing to learn",
    }
)
"""Kinds of faults that no dropping heals."""

LISTED_FAULTS = 50
"""Faults that a refused data set lists; the check command lists all."""


@dataclass(frozen=True)
class Finding(Problem):
    """A problem with its kind, a short phrase for the counts: `broken image`, `box outside the image`."""

    kind: str = ""


@dataclass(frozen=True)
class FaultReport:
    """All findings of one annotation file in the order of the file, and how many items there were.

    Attributes:
        source: path of the annotation file.
        faults: faults, at most `NAMED["fault"]` of a kind.
        warnings: warnings, at most `NAMED["warning"]` of a kind.
        counts: images, annotations, categories …: what was read, excluded and dropped.
        kinds: how often each kind was found; keys are (level, kind) with level `fault` or `warning`.
    """

    source: str
    faults: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    kinds: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def is_fatal(self) -> bool:
        """Whether a fault concerns the data set as a whole, so that nothing is left without it."""
        return any(kind in FATAL_KINDS for level, kind in self.kinds if level == "fault")

    def count(self, level: str) -> int:
        """Number of faults or warnings (`level`: fault | warning), those that are not named included."""
        return sum(count for (found, _), count in self.kinds.items() if found == level)

    @property
    def summary(self) -> str:
        """`2 faults, 1 warning`."""
        return f"{_counted(self.count('fault'), 'fault')}, {_counted(self.count('warning'), 'warning')}"

    def lines(self) -> Iterator[str]:
        """One line for each finding, faults first."""
        yield from (f"fault: {fault}" for fault in self.faults)
        yield from (f"warning: {warning}" for warning in self.warnings)
        for (level, kind), count in self.kinds.items():
            if count > NAMED[level]:
                yield f"{level}: {kind}: {count - NAMED[level]} more, not named"

    def raise_for_faults(self) -> None:
        """Raises ProblemsError with the first faults, their number and what to do; nothing without faults."""
        if not self.faults:
            return
        shown = [Problem(f"{self.source}: {fault.where}", fault.what, fault.hint) for fault in self.faults]
        head = Problem(
            self.source,
            f"{_counted(self.count('fault'), 'fault')} in this data set",
            "python -m maskrcnn.check annotations=… images=… task=… lists all, dataset.faults=drop leaves them out",
        )
        raise ProblemsError([*shown[:LISTED_FAULTS], head])


class Findings:
    """Collects what the checks find."""

    def __init__(self) -> None:
        self._named: dict[str, list[Finding]] = {"fault": [], "warning": []}
        self._kinds: Counter[tuple[str, str]] = Counter()

    @property
    def total(self) -> int:
        """Number of findings so far."""
        return self._kinds.total()

    def fault(self, kind: str, where: str, what: str, hint: str = "") -> None:
        """Notes something that would crash, give a wrong number or has to be dropped."""
        self._note("fault", kind, where, what, hint)

    def warn(self, kind: str, where: str, what: str, hint: str = "") -> None:
        """Notes something legal but suspicious."""
        self._note("warning", kind, where, what, hint)

    def _note(self, level: str, kind: str, where: str, what: str, hint: str) -> None:
        self._kinds[level, kind] += 1
        if self._kinds[level, kind] <= NAMED[level]:
            self._named[level].append(Finding(where, what, hint, kind))

    def report(self, source: str, counts: Mapping[str, int]) -> FaultReport:
        """Everything noted so far."""
        return FaultReport(
            source, tuple(self._named["fault"]), tuple(self._named["warning"]), dict(counts), dict(self._kinds)
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
