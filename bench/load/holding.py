"""A stream of delta ADS that a cheap client holds open: what it asked for, what came and when, every answer acknowledged."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from bench.load.http2 import Http2Stream
from bench.load.wire import DELTA_ADS, Answer, acknowledgement, answer, first_request


class HoldingStream:
    """One stream on a connection of its own, as an Envoy has. `done` is set when `expected` names are answered.

    `arrived` is called with each answer, its bytes and the time (`time.perf_counter`, the same clock for all processes on Linux).
    """

    def __init__(
        self,
        node_id: str,
        names: Sequence[str],
        *,
        versions: Mapping[str, str] | None = None,
        expected: int | None = None,
        arrived: Callable[[Answer, bytes, float], None] = lambda *_: None,
    ) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.resources = self.removed = self.answers = self.received_bytes = 0
        self._request = first_request(node_id, names, versions, on_demand=True)
        self._expected = len(names) if expected is None else expected
        self._arrived = arrived
        self._connection = Http2Stream(DELTA_ADS, self._receive, self.fail)

    async def connect(self, address: str) -> "HoldingStream":
        """Connects to HOST:PORT; returns itself once the server has taken the connection up."""
        host, port = address.split(":")
        await asyncio.get_running_loop().create_connection(lambda: self._connection, host, int(port))
        await self._connection.greeted
        return self

    def ask(self) -> None:
        """Begins the stream."""
        self._connection.open(self._request)

    def send(self, request: bytes) -> None:
        """Sends a further request."""
        self._connection.send(request)

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def fail(self, reason: str) -> None:
        """Ends the wait for `done`."""
        if not self.done.done():
            self.done.set_exception(AssertionError(reason))

    def _receive(self, data: bytes) -> None:
        now = time.perf_counter()
        found = answer(data)
        self.resources += found.resources
        self.removed += found.removed
        self.answers += 1
        self.received_bytes += len(data)
        self._connection.send(acknowledgement(found.nonce))
        self._arrived(found, data, now)
        if self.resources + self.removed >= self._expected and not self.done.done():
            self.done.set_result(None)


async def all_answered(streams: Sequence[HoldingStream]) -> None:
    """Asks on all streams and waits for everything."""
    for stream in streams:
        stream.ask()
    await asyncio.gather(*(stream.done for stream in streams))
