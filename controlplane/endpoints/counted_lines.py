"""A log line for what strangers can make happen at any rate: one a second at most, with a count."""

import asyncio
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 1.0


class CountedLine:
    """Counts, and says once a second how much there was, unless there was nothing. Belongs to one event loop."""

    def __init__(self, log: Callable[[int], object], seconds: float = SECONDS_BETWEEN_LINES) -> None:
        """Makes a line that is written by `log`, `seconds` after the first of what it counts."""
        self._log = log
        self._seconds = seconds
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, count: int) -> None:
        """Counts."""
        self._count += count
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self.flush)

    def flush(self) -> None:
        """Writes what was counted and not written yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        count, self._count = self._count, 0
        if count:
            self._log(count)
