"""An event loop whose clock skips to the next thing that happens: hours of waiting pass at once, and the same way each time."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

START = datetime(2026, 11, 26, 12, tzinfo=UTC)
Result = TypeVar("Result")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Does no IO, and sleeps without sleeping."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        """The virtual time in seconds, from 0."""
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            # A little late, as by any clock: the base class calls what is due within its resolution, when it is not quite the time yet.
            self._now = max(self._now, self._scheduled[0].when() + 1e-6)
        super()._run_once()


def run_virtually(main: Coroutine[Any, Any, Result]) -> Result:
    """Runs to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def virtual_clock() -> datetime:
    """The virtual time as a date."""
    return START + timedelta(seconds=asyncio.get_running_loop().time())
