"""What became of every tensor of an imported file, as a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from maskrcnn.weights.assign import Assignment

MOST_NAMES = 20
"""Names that are listed for each kind that was not loaded; the rest is counted."""
OWN = "maskrcnn"
"""The source of a model file of this program."""


@dataclass(frozen=True)
class ImportReport:
    """The result of an import.

    Attributes:
        source: torchvision, …; `OWN` for a model file of this program.
        assignment: loaded, missing, unused and mismatched tensors.
        ignored: tensors of the source that have no effect on outputs.
        sizes: numbers in each tensor.
    """

    source: str
    assignment: Assignment
    ignored: tuple[str, ...]
    sizes: Mapping[str, int]

    def to_text(self) -> str:
        """A line for each part of the detector, then what was not loaded, by name."""
        rows = [("part", "tensors", "numbers"), *self._parts()]
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        lines = [f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}" for row in rows]
        assignment = self.assignment
        for what, names in (
            ("skipped: no effect on outputs", self.ignored),
            ("skipped: the architecture does not have them", assignment.unused),
            ("missing: stay random", assignment.missing),
            ("mismatched: stay random", assignment.mismatched),
        ):
            lines += _listed(what, names)
        return "\n".join(lines)

    def _parts(self) -> list[tuple[str, str, str]]:
        words = 1 if self.source == OWN else 2
        counts: dict[str, list[int]] = {}
        for name in self.assignment.loaded:
            count = counts.setdefault(part_of(name, words), [0, 0])
            count[0] += 1
            count[1] += self.sizes.get(name, 0)
        total = [sum(count[k] for count in counts.values()) for k in range(2)]
        counts["loaded"] = total
        return [(part, str(tensors), f"{numbers:,}") for part, (tensors, numbers) in counts.items()]


def part_of(name: str, words: int) -> str:
    """The part of a detector that a tensor belongs to: the first words of its name."""
    return ".".join(name.replace("/", ".").split(".")[:words])


def _listed(what: str, names: Iterable[str]) -> list[str]:
    listed = list(names)
    if not listed:
        return []
    more = [f"  and {len(listed) - MOST_NAMES} more"] if len(listed) > MOST_NAMES else []
    return [f"{what} ({len(listed)})", *(f"  {name}" for name in listed[:MOST_NAMES]), *more]
