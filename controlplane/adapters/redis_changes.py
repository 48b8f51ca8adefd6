"""ChangeFeed on Redis: the change streams of all shards, followed without losing a change silently.

Each entry carries its shard's change number, so that a missing one is noticed. After every new connection the store's epoch and all
change numbers are compared with what was seen: another epoch or a smaller number means a restored or failed-over store.

A write also rings a bell: a message on a channel that names its stream and the kind of change, with the entry in it. So a reader hears
only what concerns it. It takes an entry from the bell if it is the very next of its stream, else it reads the stream; and it reads all
streams every two seconds, since a bell may be missed and a stream entry may not.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import AbstractConnection

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_client import CALL_SECONDS, answer, connect, store_call
from controlplane.core.errors import Unavailable
from controlplane.core.ports import ALL_KINDS, ChangeKind, ChangesLost, DomainChanged

_ALL_SECONDS = 2.0
_BATCH = 512
_RETRY_SECONDS = 0.5
_CONNECTIONS = 2
_OVERLAP_MS = 10_000
"""A resumed reader starts this much earlier: streams are read one after the other, clocks of a failed-over pair differ, and seeing a
change twice is harmless."""

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

    async def follow(
        self, position: str = "", *, kinds: frozenset[ChangeKind] = ALL_KINDS, current: Callable[[bool], None] = lambda _: None
    ) -> AsyncIterator[DomainChanged | ChangesLost]:
        """See `ChangeFeed.follow`."""
        reader = _Reader()
        first = True
        while True:
            connections: list[AbstractConnection] = []
            client = self._client(connections)
            bell = client.pubsub()
            try:
                async with store_call():
                    await bell.psubscribe(*(keys.bell_pattern(kind) for kind in kinds))
                if first:
                    lost = await reader.start(client, position or await self._now(client))
                    first = False
                else:
                    lost = await reader.verify(client)
                current(True)
                if lost:
                    yield ChangesLost(reader.position)
                read_all = 0.0
                behind: Collection[bytes] = ()
                while True:
                    # One connection for the bell and one for commands: more mean that one was replaced.
                    if len(connections) > _CONNECTIONS:
                        raise Unavailable("a connection to the store was replaced")
                    if time.monotonic() - read_all >= _ALL_SECONDS:
                        behind, read_all = reader.streams, time.monotonic()
                    for change in await reader.read(client, behind):
                        if isinstance(change, ChangesLost) or change.kind in kinds:
                            yield change
                    heard, behind = reader.hear(await _rung(bell))
                    for change in heard:
                        yield change
            except Unavailable as error:
                current(False)
                _log.warning("change stream interrupted", reason=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                await bell.aclose()  # type: ignore[no-untyped-call]
                await client.aclose()

    def _client(self, connections: list[AbstractConnection] | None = None) -> Redis:
        """Returns a client that notes its connections: the library replaces a closed one without a word."""

        async def noted(connection: AbstractConnection) -> None:
            await connection.on_connect()
            if connections is not None:
                connections.append(connection)

        return connect(self._url, retries=0, ca_file=self._ca_file, on_connect=noted)

    @staticmethod
    async def _now(client: Redis) -> str:
        async with store_call():
            seconds, microseconds = await answer(client.time())
        return f"{await epoch_of(client)}:{int(seconds) * 1000 + int(microseconds) // 1000}"


async def _rung(bell: PubSub) -> Sequence[tuple[bytes, bytes]]:
    """Waits for the bell, two seconds at most, and returns stream and entry of each ring; none when it was silent.

    Raises:
        Unavailable: the connection broke.
    """
    rung: list[tuple[bytes, bytes]] = []
    timeout = _ALL_SECONDS
    async with store_call(_ALL_SECONDS + CALL_SECONDS):
        while (message := await bell.get_message(ignore_subscribe_messages=True, timeout=timeout)) is not None:
            rung.append((keys.stream_of_bell(message["channel"]), message["data"]))
            timeout = 0.0
    return rung


def _number(fields: dict[bytes, bytes]) -> int:
    """Returns an entry's change number; 0 for an entry that has none."""
    number = fields.get(b"q", b"")
    return int(number) if number.isdigit() else 0


def _place(identifier: bytes) -> tuple[int, int]:
    """Returns what orders the entries of a stream: the two parts of an identifier, `MILLISECONDS-NUMBER`."""
    milliseconds, _, number = identifier.partition(b"-")
    return int(milliseconds), int(number)


async def epoch_of(client: Redis) -> str:
    """Returns the random identifier of the store's life; the first caller makes it."""
    async with store_call():
        await client.set(keys.EPOCH, secrets.token_hex(8), nx=True)
        epoch: bytes = await answer(client.get(keys.EPOCH))
    return epoch.decode(errors="replace")


class _Reader:
    """Where one reader stands in every shard."""

    def __init__(self) -> None:
        self._epoch = ""
        self._last_ids: dict[bytes, bytes] = {}
        self._numbers: dict[bytes, int] = {}
        self._standing: dict[bytes, int] = {}
        self.streams = [keys.changes(shard).encode() for shard in range(keys.SHARDS)]
        self.position = ""

    async def start(self, client: Redis, position: str) -> bool:
        """Takes up reading at a position. Returns whether changes since then may be lost."""
        epoch, _, since_text = position.partition(":")
        self._epoch = await epoch_of(client)
        if epoch != self._epoch or not since_text.isdigit():
            await self._take_up_now(client)
            return True
        since = max(int(since_text) - _OVERLAP_MS, 0)
        # Before anything is read: a stream of which nothing is read then still stands at this number.
        self._standing = await self._store_numbers(client)
        self.position = position
        self._last_ids = dict.fromkeys(self.streams, f"{since}-0".encode())
        self._numbers = {}
        return await self._trimmed(client, since)

    async def _trimmed(self, client: Redis, since: int) -> bool:
        pipeline = client.pipeline(transaction=False)
        for stream in self.streams:
            pipeline.xrange(stream, "-", "+", count=1)
        async with store_call():
            oldest: list[list[tuple[bytes, dict[bytes, bytes]]]] = await pipeline.execute()
        # The oldest entry that is left is newer than the position, and there were entries before it.
        return any(found and int(found[0][0].split(b"-")[0]) > since and _number(found[0][1]) > 1 for found in oldest)

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
        async with store_call():
            values = await pipeline.execute()
        return {stream: (int(value) if value and value.isdigit() else 0) for stream, value in zip(self.streams, values, strict=True)}

    async def _take_up_now(self, client: Redis) -> None:
        pipeline = client.pipeline(transaction=False)
        for stream in self.streams:
            pipeline.xrevrange(stream, "+", "-", count=1)
        async with store_call():
            newest: list[list[tuple[bytes, dict[bytes, bytes]]]] = await pipeline.execute()
            seconds, microseconds = await answer(client.time())
        self.position = f"{self._epoch}:{int(seconds) * 1000 + int(microseconds) // 1000}"
        self._last_ids = {stream: found[0][0] if found else b"0-0" for stream, found in zip(self.streams, newest, strict=True)}
        self._numbers = {stream: _number(found[0][1]) for stream, found in zip(self.streams, newest, strict=True) if found}

    async def read(self, client: Redis, streams: Collection[bytes]) -> list[DomainChanged | ChangesLost]:
        """Reads what is new in some of the streams, and returns the changes in order.

        Raises:
            Unavailable: the connection broke.
        """
        # The annotations of xread name str keys only; bytes are what the server returns.
        asked: Any = {stream: self._last_ids[stream] for stream in streams if stream in self._last_ids}
        if not asked:
            return []
        async with store_call():
            reply: list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]] | None
            reply = await answer(client.xread(asked, count=_BATCH))
        if len(asked) == len(self.streams) and self._standing:
            quiet = self._standing.keys() - {stream for stream, _ in reply or []} - self._numbers.keys()
            self._numbers |= {stream: self._standing[stream] for stream in quiet}
            self._standing = {}
        changes: list[DomainChanged | ChangesLost] = []
        newest, complete = 0, True
        for stream, entries in reply or []:
            complete = complete and len(entries) < _BATCH
            for identifier, fields in entries:
                self._last_ids[stream] = identifier
                newest = max(newest, int(identifier.split(b"-")[0]))
                try:
                    number, change = int(fields[b"q"]), self._decode(fields)
                except (KeyError, ValueError):
                    # Not ours, or of a newer version: what it says is not known, and it must not be met again.
                    _log.error("change stream entry rejected", stream=stream.decode(), entry=identifier.decode())
                    changes.append(ChangesLost(self.position))
                    continue
                seen, self._numbers[stream] = self._numbers.get(stream), number
                if seen is not None and number != seen + 1:
                    _log.warning("change stream has a gap", stream=stream.decode(), seen=seen, found=number)
                    changes.append(ChangesLost(self.position))
                changes.append(change)
        # Only who has taken the whole batch may resume behind it, and only if no shard has more to read.
        if changes and complete and self._advance(newest):
            changes[-1] = replace(changes[-1], position=self.position)
        return changes

    def _advance(self, milliseconds: int) -> bool:
        """Moves the position on; an entry of another stream that is behind by less than the overlap does no harm."""
        if milliseconds <= int(self.position.partition(":")[2]):
            return False
        self.position = f"{self._epoch}:{milliseconds}"
        return True

    def hear(self, rung: Sequence[tuple[bytes, bytes]]) -> tuple[list[DomainChanged], set[bytes]]:
        """Takes the entries that are the very next of their streams; returns them, and the streams that must be read."""
        heard: list[DomainChanged] = []
        behind: set[bytes] = set()
        for stream, message in rung:
            seen = self._numbers.get(stream)
            try:
                identifier, number, name, names, kind = message.split(b"\n")
                change = self._decode({b"n": name, b"a": names, b"k": kind})
                following = stream not in behind and seen is not None and int(number) == seen + 1
                # Numbers that begin anew, in a store that was emptied, are no numbers that were seen.
                known = seen is not None and int(number) <= seen and _place(identifier) <= _place(self._last_ids[stream])
            except (KeyError, ValueError):
                following = known = False
            if following:
                self._last_ids[stream], self._numbers[stream] = identifier, int(number)
                heard.append(change)
            elif not known and stream in self._last_ids:
                behind.add(stream)
        if heard and self._advance(max(int(self._last_ids[stream].split(b"-")[0]) for stream, _ in rung if stream in self._last_ids)):
            heard[-1] = replace(heard[-1], position=self.position)
        return heard, behind

    def _decode(self, fields: dict[bytes, bytes]) -> DomainChanged:
        return DomainChanged(
            fqdn=fields[b"n"].decode(),
            names=tuple(fields[b"a"].decode().split(",")),
            kind=ChangeKind(fields[b"k"].decode()),
            position=self.position,
        )
