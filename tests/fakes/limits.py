"""Rate limits and circuit breakers in memory."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from controlplane.core.breaker import CLOSED, Breaker
from controlplane.core.errors import Unavailable
from controlplane.core.ports.limits import BucketLevels, StoredBreaker
from controlplane.core.token_bucket import (
    FULL,
    Bucket,
    BucketState,
    Draw,
    Refusal,
    block_until,
    learn_empty_until,
    take,
    take_all,
)


def _microseconds() -> int:
    return time.time_ns() // 1000


@dataclass
class InMemoryRateLimits:
    """`RateLimits` in memory, by a clock in microseconds. `calls` counts what was asked of it; `away` makes it Unavailable."""

    now: Callable[[], int] = _microseconds
    states: dict[tuple[str, str], BucketState] = field(default_factory=dict)
    calls: int = 0
    away: bool = False

    async def take(self, authority: str, draws: Sequence[Draw]) -> Sequence[int] | Refusal:
        """See `RateLimits.take`."""
        self._answer()
        states = [self._state(authority, draw.bucket) for draw in draws]
        taken = take_all(draws, states, self.now())
        if isinstance(taken, Refusal):
            return taken
        for draw, state in zip(draws, taken.states, strict=True):
            self._save(authority, draw.bucket, state)
        return taken.tokens

    async def count(self, authority: str, buckets: Sequence[Bucket], tokens: int) -> None:
        """See `RateLimits.count`."""
        self._answer()
        for bucket in buckets:
            self._save(authority, bucket, take(bucket, self._state(authority, bucket), self.now(), tokens))

    async def hold(self, authority: str, buckets: Sequence[Bucket], *, empty_for: int, blocked_for: int) -> None:
        """See `RateLimits.hold`."""
        self._answer()
        for bucket in buckets:
            state = self._state(authority, bucket)
            if empty_for:
                state = learn_empty_until(bucket, state, self.now() + empty_for)
            if blocked_for:
                state = block_until(state, self.now() + blocked_for)
            self._save(authority, bucket, state)

    async def reset(self, authority: str, buckets: Sequence[Bucket]) -> None:
        """See `RateLimits.reset`."""
        self._answer()
        for bucket in buckets:
            self.states.pop((authority, bucket.key), None)

    async def levels(self, authority: str, buckets: Sequence[Bucket]) -> BucketLevels:
        """See `RateLimits.levels`."""
        self._answer()
        return BucketLevels(self.now(), tuple(self._state(authority, bucket) for bucket in buckets))

    def _state(self, authority: str, bucket: Bucket) -> BucketState:
        return self.states.get((authority, bucket.key), FULL)

    def _save(self, authority: str, bucket: Bucket, state: BucketState) -> None:
        if max(state.full_at, state.blocked_until) > self.now():
            self.states[authority, bucket.key] = state
        else:
            self.states.pop((authority, bucket.key), None)

    def _answer(self) -> None:
        self.calls += 1
        if self.away:
            raise Unavailable("the store is away")


@dataclass
class InMemoryBreakers:
    """`BreakerStore` in memory; `away` makes it Unavailable, `lost` is how many of the next writes somebody else comes before."""

    breakers: dict[str, Breaker] = field(default_factory=dict)
    away: bool = False
    lost: int = 0

    async def load(self, authority: str) -> StoredBreaker:
        """See `BreakerStore.load`."""
        self._answer()
        breaker = self.breakers.get(authority, CLOSED)
        return StoredBreaker(breaker, self._version(breaker))

    async def compare_and_set(self, authority: str, version: bytes, breaker: Breaker) -> bool:
        """See `BreakerStore.compare_and_set`."""
        self._answer()
        if self.lost:
            self.lost -= 1
            return False
        if version != self._version(self.breakers.get(authority, CLOSED)):
            return False
        self.breakers[authority] = breaker
        return True

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the store is away")

    @staticmethod
    def _version(breaker: Breaker) -> bytes:
        return b"" if breaker == CLOSED else repr(breaker).encode()
