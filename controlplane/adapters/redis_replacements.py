"""ReplacementStore on Redis: three keys in one slot, whatever the size of the fleet."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_client import Script, answer, from_milliseconds, milliseconds, store_call
from controlplane.adapters.replacement_codec import decode_replacement, encode_replacement
from controlplane.core.errors import LeaseLost, RecordRejected
from controlplane.core.replacement import Replacement

MOST_REMEMBERED: Final = 500
"""Replacements; a tenth is forgotten at a time."""

_log = structlog.get_logger(__name__)


class RedisReplacementStore:
    """Implements `ReplacementStore`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._take = Script(client, "take_job")
        self._leave = Script(client, "leave_job")
        self._save = Script(client, "save_replacement")

    async def create(self, replacement: Replacement) -> Replacement:
        """See `ReplacementStore.create`."""
        async with store_call():
            created = await answer(self._client.hsetnx(keys.REPLACEMENTS, replacement.id, encode_replacement(replacement)))
        if not created:
            return await self.get(replacement.id) or replacement
        async with store_call():
            count: int = await answer(self._client.hlen(keys.REPLACEMENTS))
        if count > MOST_REMEMBERED:
            await self._forget()
        return replacement

    async def _forget(self) -> None:
        oldest = [each.id for each in await self.list_all() if not each.running][-(MOST_REMEMBERED // 10) :]
        if oldest:
            async with store_call():
                await answer(self._client.hdel(keys.REPLACEMENTS, *oldest))

    async def get(self, identifier: str) -> Replacement | None:
        """See `ReplacementStore.get`."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hget(keys.REPLACEMENTS, identifier)
        pipeline.hget(keys.REPLACEMENTS_STOPPED, identifier)
        async with store_call():
            data, stopped = await pipeline.execute()
        return None if data is None else decode_replacement(data, _time(stopped))

    async def list_all(self) -> Sequence[Replacement]:
        """See `ReplacementStore.list_all`. What cannot be read is logged and left out."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hgetall(keys.REPLACEMENTS)
        pipeline.hgetall(keys.REPLACEMENTS_STOPPED)
        async with store_call():
            records, stopped = await pipeline.execute()
        found = []
        for identifier, data in records.items():
            try:
                found.append(decode_replacement(data, _time(stopped.get(identifier))))
            except RecordRejected as error:
                _log.error("replacement record rejected", replacement=identifier.decode(errors="replace"), reason=str(error))
        return sorted(found, key=lambda each: (each.create_time, each.id), reverse=True)

    async def stop(self, identifier: str, at: datetime) -> None:
        """See `ReplacementStore.stop`."""
        async with store_call():
            await answer(self._client.hsetnx(keys.REPLACEMENTS_STOPPED, identifier, milliseconds(at)))

    async def stopped(self) -> frozenset[str]:
        """See `ReplacementStore.stopped`."""
        async with store_call():
            found: list[bytes] = await answer(self._client.hkeys(keys.REPLACEMENTS_STOPPED))
        return frozenset(identifier.decode(errors="replace") for identifier in found)

    async def take_job(self, owner: str, ttl: timedelta) -> bool:
        """See `ReplacementStore.take_job`."""
        return bool(await self._take([keys.REPLACEMENTS_JOB], [owner, ttl // timedelta(milliseconds=1)]))

    async def leave_job(self, owner: str) -> None:
        """See `ReplacementStore.leave_job`."""
        await self._leave([keys.REPLACEMENTS_JOB], [owner])

    async def save(self, owner: str, replacement: Replacement, ttl: timedelta) -> None:
        """See `ReplacementStore.save`."""
        kept: int = await self._save(
            [keys.REPLACEMENTS_JOB, keys.REPLACEMENTS],
            [owner, ttl // timedelta(milliseconds=1), replacement.id, encode_replacement(replacement)],
        )
        if not kept:
            raise LeaseLost("the job of replacements is another replica's now")


class RedisStoppedReplacements:
    """Implements `StoppedReplacements`: one small read in `max_age`, however many domains a worker has in hand."""

    def __init__(self, client: Redis, max_age: timedelta = timedelta(seconds=2)) -> None:
        self._store = RedisReplacementStore(client)
        self._max_age = max_age.total_seconds()
        self._known: frozenset[str] = frozenset()
        self._read_at = float("-inf")

    async def current(self) -> frozenset[str]:
        """See `StoppedReplacements.current`."""
        now = time.monotonic()
        if now - self._read_at >= self._max_age:
            self._known = await self._store.stopped()
            self._read_at = now
        return self._known


def _time(stored: bytes | None) -> datetime | None:
    return from_milliseconds(float(stored)) if stored is not None and stored.isdigit() else None
