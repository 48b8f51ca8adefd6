"""What every part of the benchmark gives back: tables for people, limits that are kept or missed, and every number as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.tables import ratio, table


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise about a measured ratio: `value` must be at most `bound`, or at least when `at_least`."""

    what: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def cells(self) -> tuple[str, str, str, str]:
        """Returns the row of the table of promises."""
        return (self.what, ratio(self.value), f"{'≥' if self.at_least else '≤'} {ratio(self.bound)}", "kept" if self.kept else "**missed**")


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the first column says what, the others are text. `meaning` says in a sentence or two what the numbers mean for a user."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    meaning: str = ""

    def markdown(self) -> str:
        """Returns the table, and its meaning under it."""
        text = table(self.title, self.head, self.rows)
        return f"{text}\n{self.meaning}\n" if self.meaning else text


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the benchmark. `raw` is JSON: every single measurement, durations in seconds, memory in bytes."""

    title: str
    tables: Sequence[Table]
    promises: Sequence[Promise] = ()
    raw: Any = field(default_factory=dict)

    def markdown(self) -> str:
        """Returns all tables, the promises last."""
        parts = [f"## {self.title}", "", *(each.markdown() for each in self.tables)]
        if self.promises:
            parts.append(table("Promises", ("what", "measured", "bound", ""), [promise.cells() for promise in self.promises]))
        return "\n".join(parts)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks of every section.

    `quick` is for seeing that everything works, not for numbers; `repeats` is how often what is compared takes turns;
    `domains` is how many domains there are where a section does not need a number of its own.
    """

    quick: bool = False
    repeats: int = 3
    domains: int = 3000
