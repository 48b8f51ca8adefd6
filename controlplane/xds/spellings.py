"""One table for all streams from spelled names to their canonical names, so that a process parses and keeps each of them once.

A hundred edges ask for the same thousand names. Each stream would fold, match and keep its own copies: microseconds and a hundred bytes for
each name and stream. Streams that take names from here share the objects, and a whole request is looked up in one pass. Of the last long
requests all that was made is kept: edges that start together ask for the same names in the same order, since Envoy sorts them.

Strangers choose names too, so the table is bounded: when it is full it is emptied. That costs time and sharing, and never an answer:
streams keep what they took. A request for more names than it can hold passes it by.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from controlplane.xds.resource_names import canonical_name
from controlplane.xds.second_time import SecondTime

_MOST_NAMES = 65_536
"""About 15 MB when all of them are short."""

_LEAST_NAMES = 16
"""A request for less is not remembered as a whole."""

_MOST_REQUESTS = 8
_MOST_NAMES_OF_REQUESTS = 16_384
"""About 2 MB."""


@dataclass(frozen=True)
class Parsed:
    """The names of a request, without duplicates. Requests for the same share it: nothing of it may be changed.

    `possible` are spelled names with their canonical names, `respelled` those among them that are not spelled as the canonical one, and
    `impossible` those that have none (see `canonical_name`).
    """

    possible: dict[bytes, str]
    respelled: Sequence[bytes] = ()
    impossible: Sequence[bytes] = ()

    @cached_property
    def names(self) -> tuple[bytes, ...]:
        """The names in `possible`."""
        return tuple(self.possible)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Their canonical names, parallel."""
        return tuple(self.possible.values())

    @cached_property
    def waiting(self) -> dict[bytes, str | None]:
        """A table of them with None, to be copied: that takes a tenth of the time that a new one takes."""
        return dict.fromkeys(self.possible)


class Spellings:
    """A bounded table of spelled names and their canonical names."""

    def __init__(self, most_names: int = _MOST_NAMES) -> None:
        """Makes an empty table for so many names."""
        self._most_names = most_names
        self._entries: dict[bytes, tuple[bytes, str]] = {}
        self._respelled: set[bytes] = set()
        self._requests: dict[tuple[bytes, ...], Parsed] = {}
        self._asked_before = SecondTime()

    def __len__(self) -> int:
        return len(self._entries)

    def parse(self, names: Iterable[bytes]) -> Parsed:
        """Returns names with their canonical names; equal ones are the same objects on every call, as far as the table remembers."""
        names = tuple(names)
        if len(names) < _LEAST_NAMES:
            return self._parse(names)
        if len(names) > self._most_names:
            return _parse(names)
        parsed = self._requests.get(names)
        if parsed is None:
            parsed = self._parse(names)
            if len(parsed.possible) == len(names):
                self._remember(parsed, hash(names))
        return parsed

    def _remember(self, parsed: Parsed, digest: int) -> None:
        """Keeps a request that comes for the second time, and as many of the last ones as there is room for."""
        if not self._asked_before.is_it(digest):
            return
        self._requests[parsed.names] = parsed
        while len(self._requests) > _MOST_REQUESTS or sum(map(len, self._requests)) > _MOST_NAMES_OF_REQUESTS:
            del self._requests[next(iter(self._requests))]

    def _parse(self, names: Sequence[bytes]) -> Parsed:
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


def _parse(names: Iterable[bytes]) -> Parsed:
    """Parses names without a table."""
    possible: dict[bytes, str] = {}
    impossible: dict[bytes, None] = {}
    for name in names:
        key = canonical_name(name)
        if key is None:
            impossible[name] = None
        else:
            possible[name] = key
    return Parsed(possible, [name for name, key in possible.items() if key.encode() != name], tuple(impossible))


SPELLINGS = Spellings()
"""The table of this process."""
