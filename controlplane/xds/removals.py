"""Names of one client that wait to be answered as removed, whatever is known of them.

Strangers can have a client ask for such names faster than it reads the answers. They are not dropped, since their clients wait, so they are
measured: whoever reads from the client stops when there are too many (see `Subscription.is_behind`).
"""

from collections.abc import Collection, Iterable
from itertools import islice

_AT_ONCE = 4_096
"""More than an answer has room for when names are long, and a few milliseconds of work when they are short."""

_MOST_BYTES = 1024 * 1024
"""About eight thousand names of a usual length."""

_ENTRY_BYTES = 100
"""What a name takes in the table besides its characters."""


class Removals:
    """Names in the order in which they came, each once."""

    __slots__ = ("_bytes", "names")

    def __init__(self) -> None:
        self.names: dict[bytes, None] = {}
        """To be read only."""
        self._bytes = 0
        """What they take at most. A name that came twice is counted twice, until none waits."""

    @property
    def are_many(self) -> bool:
        """Whether no more should be added before some are taken."""
        return self._bytes > _MOST_BYTES

    def add(self, names: Collection[bytes]) -> None:
        """Has names answered as removed."""
        self.names.update(dict.fromkeys(names))
        self._bytes += _bytes(names)

    def drop(self, names: Iterable[bytes]) -> None:
        """Takes that back."""
        if self.names:
            for name in names:
                self.names.pop(name, None)
            self._forget_bytes()

    def take(self) -> tuple[bytes, ...]:
        """Hands out some of them, those first that came first."""
        if not self.names:
            return ()
        if len(self.names) <= _AT_ONCE:
            taken = tuple(self.names)
            self.names.clear()
        else:
            taken = tuple(islice(self.names, _AT_ONCE))
            for name in taken:
                del self.names[name]
            self._bytes -= _bytes(taken)
        self._forget_bytes()
        return taken

    def clear(self) -> None:
        """Forgets all."""
        self.names.clear()
        self._forget_bytes()

    def _forget_bytes(self) -> None:
        if not self.names:
            self._bytes = 0


def _bytes(names: Collection[bytes]) -> int:
    return sum(map(len, names)) + _ENTRY_BYTES * len(names)
