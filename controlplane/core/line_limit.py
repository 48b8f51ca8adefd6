"""How often a log line is written for what others can make happen at any rate: nobody must be able to fill a disk."""


class LineLimit:
    """Lets a line through, or a burst of them, and then one in a while, each of which knows for how many it stands.

    For what happens in an event loop and must be told of to the last, see `endpoints.counted_lines`.
    """

    __slots__ = ("_burst", "_count", "_left", "_seconds", "_since")

    def __init__(self, seconds: float, burst: int = 1) -> None:
        """Lets `burst` lines through at once, and one more in each `seconds`."""
        self._seconds = seconds
        self._burst = float(burst)
        self._left = self._burst
        self._since: float | None = None
        self._count = 0

    def due(self, now: float) -> int:
        """Counts; returns for how many the line stands that may be written now, 0 when none may.

        Args:
            now: Seconds, by a clock of one's own choice. One that is set back only delays the next line.
        """
        self._count += 1
        if self._since is not None:
            self._left = min(self._left + max(now - self._since, 0.0) / self._seconds, self._burst)
        self._since = now
        if self._left < 1.0:
            return 0
        self._left -= 1.0
        count, self._count = self._count, 0
        return count
