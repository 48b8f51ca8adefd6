"""A calendar queue: what is to happen, in slots of so many seconds. An entry costs an append, and a slot one sort of a few entries."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

Action = Callable[[Any, datetime], None]
Entry = tuple[datetime, Any, Action | None]
"""When, what, and what happens to it; None: it is due for an attempt."""

_TIME = itemgetter(0)
_SECOND = timedelta(seconds=1)


class Schedule:
    """Entries from `start` to `end`; later ones are dropped, and what lies before the slot under way joins that."""

    def __init__(self, start: datetime, end: datetime, slot: timedelta) -> None:
        self._start = start
        self._slot = slot
        self._seconds = slot // _SECOND
        self._slots: list[list[Entry] | None] = [None] * ((end - start) // slot)
        self._current = 0

    def put(self, when: datetime, what: Any, action: Action | None = None) -> None:
        """Adds an entry."""
        passed, slots = when - self._start, self._slots
        index = (passed.days * 86_400 + passed.seconds) // self._seconds
        if index < self._current:
            index = self._current
        if index >= len(slots):
            return
        entries = slots[index]
        if entries is None:
            slots[index] = [(when, what, action)]
        else:
            entries.append((when, what, action))

    def slots(self) -> Iterator[tuple[datetime, datetime]]:
        """Goes through the slots; yields their beginnings and ends."""
        begin = self._start
        for index in range(len(self._slots)):
            self._current = index
            end = begin + self._slot
            yield begin, end
            begin = end

    def take(self) -> list[Entry]:
        """Takes the entries of the slot under way, in the order of time: what was added meanwhile is there the next time."""
        entries = self._slots[self._current]
        if entries is None:
            return []
        self._slots[self._current] = None
        if len(entries) > 1:
            entries.sort(key=_TIME)
        return entries
