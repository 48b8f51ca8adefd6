"""How many orders a worker has open at a time, and who of those that wait for one goes first."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from prometheus_client import Gauge

from controlplane.core.lane import Lane
from controlplane.core.lane_shares import SHARES, LaneShares, Share

_WAITING = Gauge("certplane_order_slots_waiting", "Attempts that have passed their pre-flight and wait to place an order.", ["lane"])


class OrderSlots:
    """A semaphore that the lanes share by weight, as they share the places of attempts: see `LaneShares`.

    In a lane it is first come, first served.
    """

    def __init__(self, slots: int, shares: Mapping[Lane, Share] = SHARES) -> None:
        """Begins with all slots free.

        Raises:
            ValueError: there is no slot.
        """
        self._shares = LaneShares(slots, shares)
        self._waiting: dict[Lane, deque[asyncio.Future[None]]] = {lane: deque() for lane in shares}

    @asynccontextmanager
    async def taken(self, lane: Lane) -> AsyncIterator[None]:
        """Waits for a slot and has it until the block ends."""
        await self._acquire(lane)
        try:
            yield
        finally:
            self._give_back(lane)

    def in_use(self, lane: Lane) -> int:
        """Returns how many slots the lane has."""
        return self._shares.taken(lane)

    async def _acquire(self, lane: Lane) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[lane].append(granted)
        self._grant()
        _WAITING.labels(lane).set(len(self._waiting[lane]))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                # It was granted in the moment in which its owner went.
                self._give_back(lane)
            else:
                self._waiting[lane].remove(granted)
                _WAITING.labels(lane).set(len(self._waiting[lane]))
            raise

    def _give_back(self, lane: Lane) -> None:
        self._shares.give_back(lane)
        self._grant()

    def _grant(self) -> None:
        while (lane := self._shares.take_next([lane for lane, waiting in self._waiting.items() if waiting])) is not None:
            self._waiting[lane].popleft().set_result(None)
            _WAITING.labels(lane).set(len(self._waiting[lane]))
