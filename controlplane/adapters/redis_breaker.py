"""BreakerStore on Redis."""

from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_client import Script, answer, store_call
from controlplane.core.breaker import CLOSED, LONGEST, Breaker, BreakerState
from controlplane.core.ports.limits import StoredBreaker

_KEPT: Final = LONGEST + timedelta(days=1)
"""Longer than any Retry-After counts."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_log = structlog.get_logger(__name__)


class RedisBreakerStore:
    """Implements `BreakerStore`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._replace = Script(client, "replace_breaker")

    async def load(self, authority: str) -> StoredBreaker:
        """See `BreakerStore.load`."""
        async with store_call():
            data: bytes | None = await answer(self._client.get(keys.breaker(authority)))
        if data is None:
            return StoredBreaker(CLOSED, b"")
        try:
            return StoredBreaker(_decode(data), data)
        except (ValueError, OverflowError) as error:
            _log.error("circuit breaker record rejected", directory_url=authority, reason=str(error)[:100])
            return StoredBreaker(CLOSED, data)

    async def compare_and_set(self, authority: str, version: bytes, breaker: Breaker) -> bool:
        """See `BreakerStore.compare_and_set`."""
        replaced: int = await self._replace([keys.breaker(authority)], [version, _encode(breaker), _KEPT // timedelta(milliseconds=1)])
        return bool(replaced)


def _encode(breaker: Breaker) -> bytes:
    """Returns the stored form; nothing for a breaker that is as if it had never been."""
    if breaker == CLOSED:
        return b""
    until = 0 if breaker.until is None else (breaker.until - _EPOCH) // _MICROSECOND
    return f"{breaker.state} {breaker.faults} {breaker.openings} {until}".encode()


def _decode(data: bytes) -> Breaker:
    state, faults, openings, until = data.decode("ascii").split(" ")
    return Breaker(BreakerState(state), int(faults), int(openings), _EPOCH + int(until) * _MICROSECOND if int(until) else None)
