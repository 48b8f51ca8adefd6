"""Reads of single keys over one connection that all callers share, at a fifth of what the library's own calls cost.

A handshake waits for one of these, and at ten thousand handshakes a second they are most of what `serve` does. The library's connections
are used as they are (they know of TLS, passwords and failover), but commands are packed here and sent whatever is still on its way: Redis
answers in the order of the commands (Redis protocol specification, "Pipelining"). So a read takes neither a connection from a pool, nor a
task, nor a timer of its own: one reader hands out the replies, and one timer a connection finds out when they stay away.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - the library's own, deliberately

from controlplane.adapters.redis_client import CALL_SECONDS, answer, store_call
from controlplane.core.errors import Unavailable

_FOREVER = float("inf")
_LOOKS = 5
"""How often within `CALL_SECONDS` the oldest command is looked at."""


def packed_get(key: str) -> bytes:
    """Returns the command GET as it goes over the wire (RESP, "Sending commands to a Redis server")."""
    encoded = key.encode()
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(encoded), encoded)


def packed_hget(key: str, field: bytes) -> bytes:
    """Returns the command HGET as it goes over the wire."""
    encoded = key.encode()
    return b"*3\r\n$4\r\nHGET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(encoded), encoded, len(field), field)


class MultiplexedReads:
    """Sends packed commands that only read, and returns their replies. Belongs to one event loop."""

    def __init__(self, client: Redis) -> None:
        """Takes a connection from the pool of a client at the first call, and keeps it; another one when it breaks."""
        self._pool = client.connection_pool
        self._line: _Line | None = None
        self._connecting = asyncio.Lock()

    async def __call__(self, commands: Sequence[bytes]) -> list[Any]:
        """Returns the reply to each command: bytes, None, or the `ResponseError` that says that a key is of another type.

        Raises:
            Unavailable: the store does not answer, for about five seconds at most, or refuses.
        """
        data = b"".join(commands)
        line = self._line
        if line is not None and line.is_open:
            try:
                return await line.ask(data, len(commands))
            except ConnectionError:
                pass  # it was closed while nobody used it; a read may be repeated
        async with store_call():
            return await (await self._connected()).ask(data, len(commands))

    async def _connected(self) -> "_Line":
        async with self._connecting:
            if self._line is None or not self._line.is_open:
                self._line = _Line(self._pool, await answer(self._pool.get_connection()))  # type: ignore[no-untyped-call]
            return self._line


class _Asked(NamedTuple):
    """Commands on their way: who waits, for how many replies, and since when."""

    waiter: asyncio.Future[list[Any]]
    replies: int
    since: float


class _Line:
    """A connection with commands on their way. Not used again once it is closed."""

    def __init__(self, pool: ConnectionPool, connection: AbstractConnection) -> None:
        self._pool = pool
        self._connection = connection
        self._asked: deque[_Asked] = deque()
        self._loop = asyncio.get_running_loop()
        self.is_open = True
        self._late = self._loop.call_later(CALL_SECONDS / _LOOKS, self._look)
        self._reading = self._loop.create_task(self._read())

    async def ask(self, data: bytes, count: int) -> list[Any]:
        """Sends commands and waits for as many replies.

        Raises:
            ConnectionError: the connection broke.
            Unavailable: the store refuses a command, or leaves it unanswered.
        """
        waiter: asyncio.Future[list[Any]] = self._loop.create_future()
        self._asked.append(_Asked(waiter, count, self._loop.time()))
        try:
            # Written before this waits for anything, so that the order is that of `_asked`.
            await self._connection.send_packed_command(data, check_health=False)
        except BaseException:
            waiter.cancel()  # nobody waits for it any more
            raise
        return await waiter

    async def _read(self) -> None:
        connection, asked = self._connection, self._asked
        reason: Exception = ConnectionError("the connection was closed")
        replies: list[Any] = []
        try:
            while True:
                try:
                    replies.append(await connection.read_response(disable_decoding=True, timeout=_FOREVER))
                except ResponseError as refusal:
                    replies.append(refusal)
                if len(replies) == asked[0].replies:
                    _hand_over(asked.popleft().waiter, replies)
                    replies = []
        except Exception as error:
            # Whatever it is: replies that nobody has read would be taken for those of the next commands.
            reason = error if isinstance(error, ConnectionError) else ConnectionError(type(error).__name__)
        finally:
            self._close(reason)
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    def _look(self) -> None:
        """Gives up on a store that leaves a command unanswered: those who wait are told, and the next call takes another connection."""
        if self._asked and self._loop.time() - self._asked[0].since >= CALL_SECONDS:
            self._close(Unavailable("the store does not answer in time"))
            self._reading.cancel()
        else:
            self._late = self._loop.call_later(CALL_SECONDS / _LOOKS, self._look)

    def _close(self, reason: Exception) -> None:
        self.is_open = False
        self._late.cancel()
        while self._asked:
            waiter = self._asked.popleft().waiter
            if not waiter.done():
                waiter.set_exception(reason)


def _hand_over(waiter: asyncio.Future[list[Any]], replies: list[Any]) -> None:
    if waiter.done():
        return  # the caller has gone
    refusal = next((each for each in replies if isinstance(each, ResponseError) and not str(each).startswith("WRONGTYPE")), None)
    if refusal is None:
        waiter.set_result(replies)
    else:
        waiter.set_exception(Unavailable(f"the store refused a command ({str(refusal)[:200]})"))
