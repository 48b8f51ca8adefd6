"""Bounds what a client is given when strangers decide what it asks for.

An edge asks for whatever a ClientHello names, keeps every resource until it is told that it is removed, and does not fold case: each
spelling of a name is one more certificate in its memory. So a client whose node says `on_demand` is bounded (`Limits`):

    held by the client                   bound            beyond it
    resources                            max_resources    those fetched longest ago are removed in the answer that brings new ones
    resources under another spelling     max_spellings    the same, among these
      than the canonical one
    names that do not exist              max_resources    the oldest are forgotten without a word: nothing is pushed if they come to exist
    names that wait for a look-up        max_resources    those that wait longest are answered as removed

A name that is removed in this way is forgotten at once; a client that needs it asks again. Pinned names, those that the client was
configured with, neither count nor go. Nor does a name go in the answer that brings it. The order is that of this stream's requests; it
starts anew with each stream.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from controlplane.xds.held_names import REMOVED, HeldNames
from controlplane.xds.subscription import Limits

MAX_EVICTED = 200
"""Evictions in one answer: more than an answer brings, and little beside its size. What is too much yet goes with the next answer."""

EVICTION_BYTES = MAX_EVICTED * 264
"""What they take in an answer at most, in bytes: a name has 253 characters."""

_REMEMBERED_NAMES = 1024


class Room:
    """What one client holds, measured by its limits."""

    def __init__(self, names: HeldNames, limits: Limits, pinned: frozenset[bytes]) -> None:
        self._names = names
        self._limits = limits
        self._pinned = pinned
        self._pinned_told: set[bytes] = set()
        self._absent: dict[bytes, None] = {}
        self._evicted: dict[bytes, None] = {}

    def subscribed(self, names: Mapping[bytes, str]) -> Sequence[bytes]:
        """Notes names that are held and wait; returns those among them that were evicted not long ago."""
        if self._pinned_told:
            self._pinned_told.difference_update(names)
        if self._absent:
            for name in self._absent.keys() & names.keys():
                del self._absent[name]
        if not self._evicted:
            return ()
        returned = self._evicted.keys() & names.keys()
        for name in returned:
            del self._evicted[name]
        return sorted(returned)

    def told(self, names: Iterable[bytes]) -> None:
        """Notes names that the client has a version of."""
        if self._pinned:
            self._pinned_told |= self._pinned.intersection(names)
        if self._absent:
            for name in names:
                self._absent.pop(name, None)

    def removed(self, names: Iterable[bytes]) -> Sequence[bytes]:
        """Notes names that the client was told to be removed; returns those that are to be forgotten instead."""
        self._pinned_told.difference_update(names)
        self._absent.update((name, None) for name in names if name not in self._pinned)
        most = self._limits.max_resources
        return [] if most is None else list(islice(self._absent, max(len(self._absent) - most, 0)))

    def forgotten(self, names: Iterable[bytes]) -> None:
        """Notes names that are not held any more."""
        self._pinned_told.difference_update(names)
        for name in names:
            self._absent.pop(name, None)

    def recount(self) -> None:
        """Counts anew, after a refused answer."""
        self._absent = {name: None for name, told in self._names.told.items() if told == REMOVED and name not in self._pinned}
        self._pinned_told = {name for name in self._pinned if self._names.told.get(name)}

    def overdue(self) -> Sequence[bytes]:
        """Returns the names that wait for a look-up and are too many, those first that wait longest."""
        most = self._limits.max_resources
        if most is None or self._names.owed_count <= most:
            return ()
        waiting = [name for name in self._names.owed if name not in self._pinned]
        return waiting[: max(len(waiting) - most, 0)]

    def evict(self, answered: Sequence[bytes]) -> Sequence[bytes]:
        """Returns the names to be removed in an answer that brings `answered` names, and of which the client was told already."""
        most_resources, most_spellings = self._limits.max_resources, self._limits.max_spellings
        count = self._names.count - len(self._pinned_told)
        respelled = self._names.respelled
        if (most_resources is None or count <= most_resources) and (most_spellings is None or len(respelled) <= most_spellings):
            return ()
        kept = set(answered)
        evicted: dict[bytes, None] = {}
        if most_spellings is not None and len(respelled) > most_spellings and not respelled.keys().isdisjoint(kept):
            counted = [name for name in respelled if self._names.told[name] and name not in self._pinned]
            evicted.update(dict.fromkeys(islice((name for name in counted if name not in kept), max(len(counted) - most_spellings, 0))))
        if most_resources is not None and count - len(evicted) > most_resources:
            evicted.update(dict.fromkeys(self._oldest(count - len(evicted) - most_resources, kept.union(evicted))))
        chosen = list(islice(evicted, MAX_EVICTED))
        self._evicted.update(dict.fromkeys(chosen))
        for name in list(islice(self._evicted, max(len(self._evicted) - _REMEMBERED_NAMES, 0))):
            del self._evicted[name]
        return chosen

    def _oldest(self, count: int, kept: set[bytes]) -> Sequence[bytes]:
        """Returns names that were asked for longest ago; those that may not go are put behind the others, not to be seen each time."""
        passed: list[bytes] = []

        def evictable() -> Iterator[bytes]:
            for name, told in self._names.told.items():
                if told and name not in kept and name not in self._pinned:
                    yield name
                else:
                    passed.append(name)

        found = list(islice(evictable(), count))
        for name in passed:
            self._names.told[name] = self._names.told.pop(name)
        return found


class Refetches:
    """Counts how often names were asked for again, for the names to which that happened last."""

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}

    def add(self, names: Iterable[bytes]) -> None:
        """Notes names that were asked for again."""
        for name in names:
            self.counts[name] = self.counts.pop(name, 0) + 1
        for name in list(islice(self.counts, max(len(self.counts) - _REMEMBERED_NAMES, 0))):
            del self.counts[name]
