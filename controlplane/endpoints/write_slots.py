"""Bounds how many large answers a process holds at a time.

An answer of a hundred secrets is a quarter of a megabyte, and gRPC copies it. When a thousand Envoys start together, each of their streams
would hold one for as long as it takes to write to all of them. So large answers take turns: one is made when it has a slot, and gives the
slot back when gRPC has sent it.

Nobody waits for a client that does not read: its slot lapses, and from then on it shares a few slots with others of its kind, until it
reads again. What such clients hold up comes on top of the bound, an answer each; `write_deadline` is there for them.
"""

import asyncio
from collections import deque

SLOTS = 16
"""Enough for gRPC to have something to do always."""

SLOTS_FOR_SLOW = 4

LENT_SECONDS = 0.25
"""Ten times as long as it takes to write to all who have a slot and read."""


class Slot:
    """The right to make and write one answer."""

    __slots__ = ("_lapse", "_owner", "lapsed")

    def __init__(self, owner: "WriteSlots", seconds: float) -> None:
        self.lapsed = False
        self._owner = owner
        self._lapse = asyncio.get_running_loop().call_later(seconds, self._let_lapse)

    def give_back(self) -> None:
        """Ends it. To be called once, also when it has lapsed."""
        if not self.lapsed:
            self._lapse.cancel()
            self._owner.pass_on()

    def _let_lapse(self) -> None:
        self.lapsed = True
        self._owner.pass_on()


class WriteSlots:
    """Some slots; whoever comes first is served first. Belongs to one event loop."""

    def __init__(self, count: int, seconds: float = LENT_SECONDS) -> None:
        """Makes so many, each lent for so many seconds at most."""
        self._free = count
        self._seconds = seconds
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> Slot:
        """Returns a slot when there is one."""
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():
                    self.pass_on()  # it was this one's turn already
                raise
        return Slot(self, self._seconds)

    def pass_on(self) -> None:
        """Gives a slot to the next one who waits. For slots only."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class WriteTurns:
    """The slots of a process: for clients that read, and for those that did not read their last large answer in time."""

    def __init__(self, count: int = SLOTS, for_slow: int = SLOTS_FOR_SLOW, seconds: float = LENT_SECONDS) -> None:
        self._usual, self._for_slow = WriteSlots(count, seconds), WriteSlots(for_slow, seconds)

    def of(self, *, slow: bool) -> WriteSlots:
        """Returns the slots for one of both kinds of clients."""
        return self._for_slow if slow else self._usual
