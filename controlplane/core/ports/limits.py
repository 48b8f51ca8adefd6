"""What all workers know together of a CA: its buckets, and its circuit breaker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.core.breaker import Breaker
from controlplane.core.token_bucket import Bucket, BucketState, Draw, Refusal


@dataclass(frozen=True, slots=True)
class BucketLevels:
    """Buckets as they stand at the time `now` of the store's clock, in the order asked for."""

    now: int
    states: tuple[BucketState, ...]


class RateLimits(Protocol):
    """Token buckets, shared by all processes, by one clock: the store's. See `core.token_bucket` for what each step does.

    `authority` is a CA's directory URL: the same key at another CA is another bucket. A call changes all of its buckets in one step or,
    when it raises, none; each bucket appears once in a call. A bucket that is full and not blocked leaves nothing behind. One of which
    what is kept cannot be read counts as full.
    """

    async def take(self, authority: str, draws: Sequence[Draw]) -> Sequence[int] | Refusal:
        """Takes from all buckets or from none. Returns how many tokens each draw got, or which bucket refuses and for how long."""
        ...

    async def count(self, authority: str, buckets: Sequence[Bucket], tokens: int) -> None:
        """Takes `tokens` from each bucket, or gives them back when below zero, whatever it holds."""
        ...

    async def hold(self, authority: str, buckets: Sequence[Bucket], *, empty_for: int, blocked_for: int) -> None:
        """Makes each bucket empty with its first token after `empty_for`, and blocks it for `blocked_for`, microseconds; 0: does not."""
        ...

    async def reset(self, authority: str, buckets: Sequence[Bucket]) -> None:
        """Makes each bucket full and ends its block."""
        ...

    async def levels(self, authority: str, buckets: Sequence[Bucket]) -> BucketLevels:
        """Returns how the buckets stand."""
        ...


@dataclass(frozen=True, slots=True)
class StoredBreaker:
    """A breaker as it is stored. `version` names what was read; empty when nothing was."""

    breaker: Breaker
    version: bytes


class BreakerStore(Protocol):
    """The circuit breaker of each CA, by its directory URL. One that nobody changed for eight days is closed."""

    async def load(self, authority: str) -> StoredBreaker:
        """Returns the breaker; what cannot be read counts as closed, and can be replaced."""
        ...

    async def compare_and_set(self, authority: str, version: bytes, breaker: Breaker) -> bool:
        """Writes the breaker if it still is the version that was read; returns whether."""
        ...
