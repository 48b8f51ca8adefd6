"""One table for all streams from spelled names to their canonical names, so that a process parses and keeps each of them once.

A hundred edges ask for the same thousand names. Each stream would fold, match and keep its own copies: microseconds and a hundred bytes for
each name and stream. Streams that take names from here share the objects, and a whole request is looked up in one pass.

Strangers choose names too, so the table is bounded: when it is full it is emptied. That costs time and sharing, and never an answer:
streams keep what they took.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controlplane.xds.resource_names import canonical_name

_MOST_NAMES = 65_536
"""About 15 MB when all of them are short."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The names of a request, without duplicates.

    `possible` are spelled names with their canonical names, `respelled` those among them that are not spelled as the canonical one, and
    `impossible` those that have none (see `canonical_name`).
    """

    possible: dict[bytes, str]
    respelled: Sequence[bytes] = ()
    impossible: Sequence[bytes] = ()


class Spellings:
    """A bounded table of spelled names and their canonical names."""

    def __init__(self, most_names: int = _MOST_NAMES) -> None:
        """Makes an empty table for so many names."""
        self._most_names = most_names
        self._entries: dict[bytes, tuple[bytes, str]] = {}
        self._respelled: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def parse(self, names: Iterable[bytes]) -> Parsed:
        """Returns names with their canonical names; equal ones are the same objects on every call, as far as the table remembers."""
        names = tuple(names)
        try:
            possible = dict(map(self._entries.__getitem__, names))
        except KeyError:
            return self._parse_new(names)
        if self._respelled and not self._respelled.isdisjoint(possible):
            return Parsed(possible, [name for name in possible if name in self._respelled])
        return Parsed(possible)

    def _parse_new(self, names: Sequence[bytes]) -> Parsed:
        possible: dict[bytes, str] = {}
        respelled: dict[bytes, None] = {}
        impossible: dict[bytes, None] = {}
        for name in names:
            entry = self._entries.get(name) or self._add(name)
            if entry is None:
                impossible[name] = None
                continue
            shared, key = entry
            possible[shared] = key
            if shared in self._respelled:
                respelled[shared] = None
        return Parsed(possible, tuple(respelled), tuple(impossible))

    def _add(self, name: bytes) -> tuple[bytes, str] | None:
        key = canonical_name(name)
        if key is None:
            return None
        if len(self._entries) >= self._most_names:
            self._entries.clear()
            self._respelled.clear()
        entry = self._entries[name] = name, key
        if key.encode() != name:
            self._respelled.add(name)
        return entry


SPELLINGS = Spellings()
"""The table of this process."""
