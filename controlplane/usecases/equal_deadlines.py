"""Deadlines for many short waits that may take equally long: they end in the order in which they began, so one timer does for all.

`asyncio.timeout` takes a timer of the event loop for each, which costs as much as a whole look-up in the store.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class _Wait:
    """A task that waits until `ends` (loop time) at most; without a task it is over."""

    __slots__ = ("cancelling", "ends", "missed", "task")

    def __init__(self, task: asyncio.Task[Any], ends: float) -> None:
        self.task: asyncio.Task[Any] | None = task
        self.ends = ends
        self.cancelling = task.cancelling()
        self.missed = False


class EqualDeadlines:
    """Keeps waits of tasks within so many seconds each. Belongs to one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waits: deque[_Wait] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def keep(self, work: Awaitable[T]) -> T:
        """Returns what `work` returns; call it in a task.

        Raises:
            TimeoutError: it took too long, and was cancelled.
        """
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline is kept for a task")
        wait = _Wait(task, loop.time() + self._seconds)
        waits = self._waits
        while waits and waits[0].task is None:
            waits.popleft()
        waits.append(wait)
        if self._timer is None:
            self._timer = loop.call_at(wait.ends, self._look)
        try:
            return await work
        except asyncio.CancelledError:
            # Somebody else may have cancelled the task, too (see `asyncio.Timeout`).
            if wait.missed and task.uncancel() <= wait.cancelling:
                raise TimeoutError from None
            raise
        finally:
            wait.task = None

    def _look(self) -> None:
        """Cancels those whose time is over, and looks again when that of the next one is."""
        waits, loop = self._waits, asyncio.get_running_loop()
        now = loop.time()
        while waits and (waits[0].task is None or waits[0].ends <= now):
            wait = waits.popleft()
            if wait.task is not None:
                wait.missed = True
                wait.task.cancel()
        self._timer = loop.call_at(waits[0].ends, self._look) if waits else None
