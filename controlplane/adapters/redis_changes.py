"""ChangeFeed on Redis: the change streams of all shards, followed without losing a change silently.

Each entry carries its shard's change number, so that a missing one is noticed. After every new connection the store's epoch and all
change numbers are compared with what was seen: another epoch or a smaller number means a restored or failed-over store.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import structlog
from redis.asyncio import Connection, Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_client import answer, connect, store_errors
from controlplane.core.errors import Unavailable
from controlplane.core.ports import ChangesLost, DomainChanged

_BLOCK_MS = 2000
_BATCH = 512
_RETRY_SECONDS = 0.5
_OVERLAP_MS = 2000
"""A resumed reader starts this much earlier: clocks of a failed-over pair differ, and seeing a change twice is harmless."""

_log = structlog.get_logger(__name__)


class RedisChangeFeed:
    """Implements `ChangeFeed`. Positions are `EPOCH:MILLISECONDS` of the store's own clock.

    Every `follow` has a connection of its own, which never reconnects unnoticed.
    """

    def __init__(self, url: str, *, ca_file: str | None = None) -> None:
        self._url = url
        self._ca_file = ca_file

    async def position(self) -> str:
        """See `ChangeFeed.position`."""
        client = self._client()
        try:
            return await self._now(client)
        finally:
            await client.aclose()

    async def follow(self, position: str = "") -> AsyncIterator[DomainChanged | ChangesLost]:
        """See `ChangeFeed.follow`."""
        reader = _Reader()
        first = True
        while True:
            connections: list[Connection] = []
            client = self._client(connections)
            try:
                if first:
                    lost = await reader.start(client, position or await self._now(client))
                    first = False
                else:
                    lost = await reader.verify(client)
                if lost:
                    yield ChangesLost(reader.position)
                while True:
                    changes = await reader.read(client, connections)
                    for change in changes:
                        yield change
            except Unavailable as error:
                _log.warning("change stream interrupted", reason=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                await client.aclose()

    def _client(self, connections: list[Connection] | None = None) -> Redis:
        """Returns a client that notes its connections: the library replaces a closed one without a word."""

        async def noted(connection: Connection) -> None:
            await connection.on_connect()
            if connections is not None:
                connections.append(connection)

        return connect(self._url, retries=0, timeout=_BLOCK_MS / 1000 + 5, ca_file=self._ca_file, on_connect=noted)

    @staticmethod
    async def _now(client: Redis) -> str:
        with store_errors():
            seconds, microseconds = await answer(client.time())
        return f"{await epoch_of(client)}:{int(seconds) * 1000 + int(microseconds) // 1000}"


async def epoch_of(client: Redis) -> str:
    """Returns the random identifier of the store's life; the first caller makes it."""
    with store_errors():
        await client.set(keys.EPOCH, secrets.token_hex(8), nx=True)
        epoch: bytes = await answer(client.get(keys.EPOCH))
    return epoch.decode()


class _Reader:
    """Where one reader stands in every shard."""

    def __init__(self) -> None:
        self._epoch = ""
        self._last_ids: dict[bytes, bytes] = {}
        self._numbers: dict[bytes, int] = {}
        self._shards = [keys.changes(shard).encode() for shard in range(keys.SHARDS)]
        self.position = ""

    async def start(self, client: Redis, position: str) -> bool:
        """Takes up reading at a position. Returns whether changes since then may be lost."""
        epoch, _, time = position.partition(":")
        self._epoch = await epoch_of(client)
        if epoch != self._epoch or not time.isdigit():
            await self._take_up_now(client)
            return True
        since = max(int(time) - _OVERLAP_MS, 0)
        self.position = position
        self._last_ids = dict.fromkeys(self._shards, f"{since}-0".encode())
        self._numbers = {}
        return await self._trimmed(client, since)

    async def _trimmed(self, client: Redis, since: int) -> bool:
        pipeline = client.pipeline(transaction=False)
        for stream in self._shards:
            pipeline.xrange(stream, "-", "+", count=1)
        with store_errors():
            oldest: list[list[tuple[bytes, dict[bytes, bytes]]]] = await pipeline.execute()
        # The oldest entry that is left is newer than the position, and there were entries before it.
        return any(found and int(found[0][0].split(b"-")[0]) > since and int(found[0][1][b"q"]) > 1 for found in oldest)

    async def verify(self, client: Redis) -> bool:
        """Compares the store with what was seen, after a new connection. Returns whether changes may be lost."""
        epoch = await epoch_of(client)
        numbers = await self._store_numbers(client)
        if epoch == self._epoch and all(numbers[stream] >= seen for stream, seen in self._numbers.items()):
            return False
        _log.error("the store went back in time; everything held is read again", epoch=epoch, epoch_before=self._epoch)
        self._epoch = epoch
        await self._take_up_now(client)
        return True

    async def _store_numbers(self, client: Redis) -> dict[bytes, int]:
        pipeline = client.pipeline(transaction=False)
        for shard in range(keys.SHARDS):
            pipeline.get(keys.sequence(shard))
        with store_errors():
            values = await pipeline.execute()
        return {stream: int(value or 0) for stream, value in zip(self._shards, values, strict=True)}

    async def _take_up_now(self, client: Redis) -> None:
        pipeline = client.pipeline(transaction=False)
        for stream in self._shards:
            pipeline.xrevrange(stream, "+", "-", count=1)
        with store_errors():
            newest: list[list[tuple[bytes, dict[bytes, bytes]]]] = await pipeline.execute()
            seconds, microseconds = await answer(client.time())
        self.position = f"{self._epoch}:{int(seconds) * 1000 + int(microseconds) // 1000}"
        self._last_ids = {stream: found[0][0] if found else b"0-0" for stream, found in zip(self._shards, newest, strict=True)}
        self._numbers = {stream: int(found[0][1][b"q"]) for stream, found in zip(self._shards, newest, strict=True) if found}

    async def read(self, client: Redis, connections: Sequence[Connection]) -> list[DomainChanged | ChangesLost]:
        """Waits for changes, `_BLOCK_MS` at most, and returns them in order.

        Raises:
            Unavailable: the connection broke, or was replaced before the store was verified anew.
        """
        with store_errors():
            # The annotations of xread name str keys only; bytes are what the server returns.
            streams: Any = self._last_ids
            reply: list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]] | None
            reply = await answer(client.xread(streams, count=_BATCH, block=_BLOCK_MS))
        if len(connections) > 1:
            raise Unavailable("the connection to the store was replaced")
        changes: list[DomainChanged | ChangesLost] = []
        newest, complete = 0, True
        for stream, entries in reply or []:
            complete = complete and len(entries) < _BATCH
            for identifier, fields in entries:
                number, seen = int(fields[b"q"]), self._numbers.get(stream)
                self._last_ids[stream], self._numbers[stream] = identifier, number
                newest = max(newest, int(identifier.split(b"-")[0]))
                if seen is not None and number != seen + 1:
                    _log.warning("change stream has a gap", stream=stream.decode(), seen=seen, found=number)
                    changes.append(ChangesLost(self.position))
                changes.append(self._decode(fields))
        # Only who has taken the whole batch may resume behind it, and only if no shard has more to read.
        if changes and complete and newest > int(self.position.partition(":")[2]):
            self.position = f"{self._epoch}:{newest}"
            changes[-1] = replace(changes[-1], position=self.position)
        return changes

    def _decode(self, fields: dict[bytes, bytes]) -> DomainChanged:
        kind = fields[b"k"].decode()
        return DomainChanged(
            fqdn=fields[b"n"].decode(),
            names=tuple(fields[b"a"].decode().split(",")),
            certificate=kind == "certificate",
            deleted=kind == "deleted",
            position=self.position,
        )
