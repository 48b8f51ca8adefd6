"""Finds writes that a client holds up by not reading, without a timer for each write.

gRPC lets a write wait while the client's flow control window is used up (RFC 9113 section 5.2), for ever if need be. A timer for each
write would cost as much as the rest of an answer, so all writes are looked at a few times within the deadline: one that is found unfinished
at each look of a whole deadline is held up. It is found at the earliest after the deadline, and a quarter of it later at the latest.
"""

import asyncio
from typing import Protocol

_LOOKS = 4


class Writer(Protocol):
    """Somebody who writes to a client."""

    @property
    def write_under_way(self) -> int:
        """The number of the write that is under way, another one for each; 0 for none."""
        ...

    def held_up(self) -> None:
        """Called once, on the event loop, when a write was held up for the whole deadline; must return at once and not raise."""
        ...


class WriteDeadline:
    """Watches writers. Belongs to one event loop."""

    def __init__(self, seconds: float) -> None:
        """Makes a watch for writes that take `seconds` or longer."""
        self._pause = seconds / _LOOKS
        self._looks: dict[Writer, tuple[int, int]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, writer: Writer) -> None:
        """Watches a writer until `forget`, or until it is held up."""
        self._looks[writer] = (0, 0)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._pause, self._look)

    def forget(self, writer: Writer) -> None:
        """Takes that back."""
        self._looks.pop(writer, None)
        if not self._looks and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._look)
        held_up = []
        for writer, (write, looks) in self._looks.items():
            now = writer.write_under_way
            looks_now = looks + 1 if now == write else 0
            self._looks[writer] = (now, looks_now)
            if now and looks_now == _LOOKS:
                held_up.append(writer)
        for writer in held_up:
            self.forget(writer)
            writer.held_up()
