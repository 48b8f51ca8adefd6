"""Reads of single keys over one connection that all callers share, at a tenth of what the library's own calls cost.

A handshake waits for one of these, and at ten thousand handshakes a second they are most of what `serve` does. The library opens the
connections (it knows of TLS, passwords and failover), but commands are packed here, sent whatever is still on its way, and replies are
taken from the transport as they arrive: Redis answers in the order of the commands (Redis protocol specification, "Pipelining"). So a read
takes neither a connection from a pool, nor a task, nor a timer of its own: one timer a connection finds out when replies stay away.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool, DefaultParser
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - the library's own, deliberately

from controlplane.adapters.redis_client import CALL_SECONDS, answer, store_call
from controlplane.core.errors import Unavailable

_LOOKS = 5
"""How often within `CALL_SECONDS` the oldest command is looked at."""

_INCOMPLETE = object()
"""What the parser gives while the next reply has not arrived as a whole."""


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
        self._line: Line | None = None
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

    async def _connected(self) -> "Line":
        async with self._connecting:
            if self._line is not None and not self._line.is_open:
                broken, self._line = self._line, None
                await broken.give_back()
            if self._line is None:
                self._line = Line(self._pool, await answer(self._pool.get_connection()))  # type: ignore[no-untyped-call]
            return self._line


class _Asked(NamedTuple):
    """Commands on their way: who waits, for how many replies, and since when."""

    waiter: asyncio.Future[list[Any]]
    replies: int
    since: float


class Line(asyncio.Protocol):
    """A connection with commands on their way. Not used again once it is closed.

    It takes the place of the streams that the library has put on the transport, which it tells of the end only.
    """

    def __init__(self, pool: ConnectionPool, connection: AbstractConnection) -> None:
        self._pool = pool
        self._connection = connection
        self._asked: deque[_Asked] = deque()
        self._replies: list[Any] = []
        self._parser = hiredis.Reader(notEnoughData=_INCOMPLETE, replyError=DefaultParser.parse_error)
        self._loop = asyncio.get_running_loop()
        self.is_open = True
        self._late = self._loop.call_later(CALL_SECONDS / _LOOKS, self._look)
        # The library has no name for it that is public.
        self._transport = cast("asyncio.Transport", connection._writer.transport)  # type: ignore[union-attr]  # noqa: SLF001
        self._streams = self._transport.get_protocol()
        self._transport.set_protocol(self)

    def ask(self, data: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Sends commands, and returns what will be as many replies.

        The future fails with `ConnectionError` when the connection breaks, and with `Unavailable` when the store refuses a command or
        leaves it unanswered.
        """
        waiter: asyncio.Future[list[Any]] = self._loop.create_future()
        self._asked.append(_Asked(waiter, count, self._loop.time()))
        self._transport.write(data)
        return waiter

    async def give_back(self) -> None:
        """Gives the connection back to the pool, closed."""
        await self._connection.disconnect(nowait=True)
        await self._pool.release(self._connection)

    # ---- for the transport ----

    def data_received(self, data: bytes) -> None:
        """Hands over the replies that are complete."""
        replies, next_reply = self._replies, self._parser.gets
        try:
            self._parser.feed(data)
            while (reply := next_reply()) is not _INCOMPLETE:
                replies.append(reply)
                if len(replies) == self._asked[0].replies:
                    _hand_over(self._asked.popleft().waiter, replies)
                    replies = self._replies = []
        except ConnectionError as error:
            self._close(error)
        except Exception as error:
            # Whatever it is: replies that nobody has read would be taken for those of the next commands.
            self._close(ConnectionError(type(error).__name__))

    def eof_received(self) -> None:
        """Takes note that the store closes the connection."""
        self._close(ConnectionError("the connection was closed"))

    def connection_lost(self, error: Exception | None) -> None:
        """Takes note that the connection is gone."""
        self._close(ConnectionError("the connection was closed" if error is None else type(error).__name__))
        self._streams.connection_lost(error)

    # ---- the end ----

    def _look(self) -> None:
        """Gives up on a store that leaves a command unanswered: those who wait are told, and the next call takes another connection."""
        if self._asked and self._loop.time() - self._asked[0].since >= CALL_SECONDS:
            self._close(Unavailable("the store does not answer in time"))
        else:
            self._late = self._loop.call_later(CALL_SECONDS / _LOOKS, self._look)

    def _close(self, reason: Exception) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self._late.cancel()
        self._transport.abort()
        while self._asked:
            waiter = self._asked.popleft().waiter
            if not waiter.done():
                waiter.set_exception(reason)


def _hand_over(waiter: asyncio.Future[list[Any]], replies: list[Any]) -> None:
    """Gives replies to who waits for them.

    Raises:
        ConnectionError: the store says that this connection is of no use, for instance that it is loading its data.
    """
    refusal = next((each for each in replies if isinstance(each, Exception) and not str(each).startswith("WRONGTYPE")), None)
    if not waiter.done():  # else the caller has gone
        if refusal is None:
            waiter.set_result(replies)
        elif isinstance(refusal, ResponseError):
            waiter.set_exception(Unavailable(f"the store refused a command ({str(refusal)[:200]})"))
        else:
            waiter.set_exception(refusal)
    if isinstance(refusal, ConnectionError):
        raise refusal
