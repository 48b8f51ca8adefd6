"""LaneStore on Redis: counts over the due sets of all shards, and how much ended in each of the last minutes."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_client import Script, answer, from_milliseconds, milliseconds, store_call
from controlplane.core.lane import Lane
from controlplane.core.ports import LaneBacklog

_MINUTES = 10
_MINUTE_MS = 60_000
_HOUR = timedelta(hours=1)
# Of one shard at one call: a fleet that renews in time has none.
_PROMOTED_AT_ONCE = 100
_DUE_SETS: Mapping[Lane, Sequence[str]] = {lane: [keys.due(shard, lane) for shard in range(keys.SHARDS)] for lane in Lane}


class RedisLaneStore:
    """Implements `LaneStore`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._count = Script(client, "lane_backlog")
        self._promote = Script(client, "schedule", "promote_domains")

    async def backlog(self, now: datetime) -> Mapping[Lane, LaneBacklog]:
        """See `LaneStore.backlog`."""
        completed, observed = await self._completed(now)
        found: dict[Lane, LaneBacklog] = {}
        for lane in Lane:
            due, soon, earliest = await self._count(_DUE_SETS[lane], [milliseconds(now), milliseconds(now + _HOUR)])
            oldest = from_milliseconds(float(earliest)) if due else None
            found[lane] = LaneBacklog(due, oldest, soon, completed.get(lane, 0), observed)
        return found

    async def add_completed(self, now: datetime, completed: Mapping[Lane, int]) -> None:
        """See `LaneStore.add_completed`."""
        key = keys.lanes_completed(milliseconds(now) // _MINUTE_MS)
        pipeline = self._client.pipeline(transaction=False)
        for lane, count in completed.items():
            pipeline.hincrby(key, lane, count)
        pipeline.pexpire(key, (_MINUTES + 1) * _MINUTE_MS)
        async with store_call():
            await pipeline.execute()

    async def promote(self, now: datetime, end: datetime) -> int:
        """See `LaneStore.promote`."""
        moved = 0
        for shard in range(keys.SHARDS):
            moved += await self._promote(
                [keys.expiry(shard), *keys.due_sets(shard)],
                [keys.domain_prefix(shard), milliseconds(now), milliseconds(end), _PROMOTED_AT_ONCE],
            )
        return moved

    async def _completed(self, now: datetime) -> tuple[Mapping[Lane, int], timedelta]:
        """Returns what ended in the last minutes, and the time since the first of them in which anything did."""
        this_minute = milliseconds(now) // _MINUTE_MS
        minutes = range(this_minute - _MINUTES, this_minute + 1)
        pipeline = self._client.pipeline(transaction=False)
        for minute in minutes:
            pipeline.hmget(keys.lanes_completed(minute), [*Lane])
        async with store_call():
            replies: list[list[bytes | None]] = await answer(pipeline.execute())
        sums = dict.fromkeys(Lane, 0)
        first = None
        for minute, counts in zip(minutes, replies, strict=True):
            for lane, count in zip(Lane, counts, strict=True):
                if count is not None and count.isdigit():
                    sums[lane] += int(count)
                    first = minute if first is None else first
        if first is None:
            return sums, timedelta()
        return sums, now - from_milliseconds(first * _MINUTE_MS)
