"""Reads of many keys in one round trip, at a third of what the library's pipelines cost.

A handshake waits for one of these, and at ten thousand handshakes a second they are most of what `serve` does. The library's connections
are used as they are (they know of TLS, passwords and failover), but what goes through them is packed here, and a connection that has just
answered is used again without a round through the pool.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - the library's own, deliberately

from controlplane.adapters.redis_client import answer, store_call

_FOREVER = float("inf")
_CONNECTIONS = 8
"""More would bring nothing: the store answers one command after the other, and so does this process."""


def packed_get(key: str) -> bytes:
    """Returns the command GET as it goes over the wire (RESP, "Sending commands to a Redis server")."""
    encoded = key.encode()
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(encoded), encoded)


def packed_hget(key: str, field: bytes) -> bytes:
    """Returns the command HGET as it goes over the wire."""
    encoded = key.encode()
    return b"*3\r\n$4\r\nHGET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(encoded), encoded, len(field), field)


class PackedReads:
    """Sends packed commands that only read, and returns their replies."""

    def __init__(self, client: Redis) -> None:
        """Takes a few connections from the pool of a client, and keeps them; calls beyond that wait for one."""
        self._pool = client.connection_pool
        self._free = asyncio.Semaphore(_CONNECTIONS)
        self._idle: list[AbstractConnection] = []

    async def __call__(self, commands: Sequence[bytes]) -> list[Any]:
        """Returns the reply to each command: bytes, None, or the `ResponseError` that says that a key is of another type.

        Raises:
            Unavailable: the store does not answer.
        """
        data = b"".join(commands)
        async with store_call(), self._free:
            while self._idle:
                try:
                    return await self._exchange(self._idle.pop(), data, len(commands))
                except ConnectionError:
                    continue  # it was closed while nobody used it; a read may be repeated
            connection = await answer(self._pool.get_connection())  # type: ignore[no-untyped-call]
            return await self._exchange(connection, data, len(commands))

    async def _exchange(self, connection: AbstractConnection, data: bytes, count: int) -> list[Any]:
        replies: list[Any] = []
        try:
            await connection.send_packed_command(data, check_health=False)
            while len(replies) < count:
                try:
                    replies.append(await connection.read_response(disable_decoding=True, timeout=_FOREVER))
                except ResponseError as error:
                    if not str(error).startswith("WRONGTYPE"):
                        raise
                    replies.append(error)
        except BaseException:
            # Replies that nobody has read would be taken for those of the next call.
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)
            raise
        self._idle.append(connection)
        return replies
