"""Notices what comes for the second time.

Keeping pays only for what comes again: what is made once and freed at once is still in the processor's cache, which is much faster than
freeing it later. So the first time a digest is noted, and nothing else is kept.
"""

_MOST_SEEN = 1_024


class SecondTime:
    """The digests of the last things that came. Two things with one digest count as the same, so a hit may cost a keeping too many."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def is_it(self, digest: int) -> bool:
        """Returns whether a digest was noted before; notes it."""
        if digest in self._seen:
            return True
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen.add(digest)
        return False

    def clear(self) -> None:
        """Forgets all."""
        self._seen.clear()
