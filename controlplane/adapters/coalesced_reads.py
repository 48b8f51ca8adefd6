"""Single reads that share: those asked for in one turn of the event loop go in one call, and a key on its way is not asked for twice."""

import asyncio
from typing import Any

from controlplane.adapters.packed_reads import PackedReads


class CoalescedReads:
    """Sends packed commands, each for one caller, and returns the reply to each."""

    def __init__(self, reads: PackedReads) -> None:
        self._reads = reads
        self._boarding: dict[bytes, asyncio.Future[Any]] = {}
        self._flights: set[asyncio.Task[None]] = set()

    async def __call__(self, command: bytes) -> Any:
        """Returns the reply to a command: bytes, None, or the `ResponseError` that says that the key is of another type.

        Raises:
            Unavailable: the store does not answer.
        """
        reading = self._boarding.get(command)
        if reading is None:
            loop = asyncio.get_running_loop()
            if not self._boarding:
                loop.call_soon(self._depart)
            reading = self._boarding[command] = loop.create_future()
        # Shielded: others may wait for the same reply.
        return await asyncio.shield(reading)

    def _depart(self) -> None:
        boarding, self._boarding = self._boarding, {}
        flight = asyncio.get_running_loop().create_task(self._fly(boarding))
        self._flights.add(flight)
        flight.add_done_callback(self._flights.discard)

    async def _fly(self, boarding: dict[bytes, asyncio.Future[Any]]) -> None:
        try:
            replies = await self._reads(tuple(boarding))
        except BaseException as error:
            for reading in boarding.values():
                if isinstance(error, Exception):
                    reading.set_exception(error)
                    # Read here too: a caller that has gone leaves nobody to be told.
                    reading.exception()
                else:
                    reading.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for reading, reply in zip(boarding.values(), replies, strict=True):
            reading.set_result(reply)
