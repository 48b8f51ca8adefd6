"""RateLimits on Redis: one script, by the store's clock."""

from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_client import Script, answer, store_call
from controlplane.core.ports.limits import BucketLevels
from controlplane.core.token_bucket import Bucket, BucketState, Draw, Refusal

_Row = tuple[Bucket, int, int]


class RedisRateLimits:
    """Implements `RateLimits`."""

    def __init__(self, client: Redis, *, now: Callable[[], int] | None = None) -> None:
        """Prepares the script.

        Args:
            client: of the store.
            now: microseconds since 1970, in place of the store's clock: for a time that is not the real one.
        """
        self._client = client
        self._now = now
        self._script = Script(client, "token_buckets")

    async def take(self, authority: str, draws: Sequence[Draw]) -> Sequence[int] | Refusal:
        """See `RateLimits.take`."""
        found: list[int] = await self._run("take", authority, [(draw.bucket, draw.need, draw.most) for draw in draws])
        return Refusal(found[1] - 1, found[0]) if found[0] else found[1:]

    async def count(self, authority: str, buckets: Sequence[Bucket], tokens: int) -> None:
        """See `RateLimits.count`."""
        await self._run("count", authority, [(bucket, tokens, 0) for bucket in buckets])

    async def hold(self, authority: str, buckets: Sequence[Bucket], *, empty_for: int, blocked_for: int) -> None:
        """See `RateLimits.hold`."""
        await self._run("hold", authority, [(bucket, empty_for, blocked_for) for bucket in buckets])

    async def reset(self, authority: str, buckets: Sequence[Bucket]) -> None:
        """See `RateLimits.reset`."""
        if buckets:
            async with store_call():
                await answer(self._client.delete(*(keys.bucket(authority, bucket.key) for bucket in buckets)))

    async def levels(self, authority: str, buckets: Sequence[Bucket]) -> BucketLevels:
        """See `RateLimits.levels`."""
        now, *found = await self._run("read", authority, [(bucket, 0, 0) for bucket in buckets])
        return BucketLevels(now, tuple(BucketState(full, blocked) for full, blocked in zip(found[::2], found[1::2], strict=True)))

    async def _run(self, step: str, authority: str, rows: Sequence[_Row]) -> Any:
        arguments: list[str | int] = [step, "" if self._now is None else self._now()]
        for bucket, first, second in rows:
            arguments += [bucket.capacity, bucket.interval, first, second]
        return await self._script([keys.bucket(authority, bucket.key) for bucket, _, _ in rows], arguments)
