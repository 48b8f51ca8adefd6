"""Token buckets as arithmetic on whole microseconds (the generic cell rate algorithm, GCRA).

A bucket holds up to `capacity` tokens and gets one more every `interval`. All that is kept of it is the time at which it will be full
again: a token taken moves that time one interval on, and a bucket is empty when it lies `capacity` intervals ahead. So a bucket that
nobody uses needs no memory, nothing has to refill it, and a fraction of a token is never lost.

`adapters/lua/token_buckets.lua` is the twin of this file, for a store that several processes share: the same numbers in, the same out.
All times are microseconds since 1970, all waits microseconds; below 2^53, so that Lua's numbers hold them exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SECOND = 1_000_000
"""Microseconds."""

LONGEST_WAIT = 366 * 86_400 * SECOND
"""What a CA may make us wait; more is taken as this."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket: `key` says which, and the rest how it works. `interval` is the microseconds in which one token comes."""

    key: str
    capacity: int
    interval: int

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.interval < 1:
            raise ValueError("a bucket holds at least one token, and a token takes at least a microsecond")


@dataclass(frozen=True, slots=True)
class BucketState:
    """What is kept of a bucket: when it is full, and until when nothing may be taken whatever it holds. Both may be past."""

    full_at: int = 0
    blocked_until: int = 0


FULL = BucketState()
"""A bucket of which nothing is kept."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A wish: at least `need` tokens, and as many of `most` as are there.

    With `need` at 1 and `most` at 0 it only asks that a token is there; with both at 0 only that the bucket is not blocked.
    """

    bucket: Bucket
    need: int = 1
    most: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.need <= self.bucket.capacity or self.most < 0:
            raise ValueError(f"no bucket of {self.bucket.capacity} ever gives {self.need}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing was taken. `index` is the draw that waits longest, `wait` for how long: microseconds, at least one."""

    index: int
    wait: int


@dataclass(frozen=True, slots=True)
class Taken:
    """Everything was taken: the new states, and how many tokens each draw got."""

    states: tuple[BucketState, ...]
    tokens: tuple[int, ...]


def level(bucket: Bucket, state: BucketState, now: int) -> int:
    """Returns how many tokens are there, whether or not they may be taken now."""
    return max(0, now + bucket.capacity * bucket.interval - max(state.full_at, now)) // bucket.interval


def wait(bucket: Bucket, state: BucketState, now: int, tokens: int = 1) -> int:
    """Returns after how long so many tokens could have been taken, 0 when they can be now.

    More than the capacity is meant as taken one after the other, each as soon as it is there.
    """
    return max(0, state.blocked_until - now, max(state.full_at, now) + (tokens - bucket.capacity) * bucket.interval - now)


def take(bucket: Bucket, state: BucketState, now: int, tokens: int = 1) -> BucketState:
    """Returns the state after so many tokens more or, below zero, fewer were used, whether or not they were there.

    No bucket goes below empty or above full: the CA has refused what would, and has counted nothing.
    """
    used = max(state.full_at, now) + tokens * bucket.interval
    return BucketState(min(max(used, now), max(state.full_at, now + bucket.capacity * bucket.interval)), state.blocked_until)


def block_until(state: BucketState, until: int) -> BucketState:
    """Returns the state in which nothing may be taken before `until`; a longer block stays. The tokens are kept."""
    return BucketState(state.full_at, max(state.blocked_until, until))


def learn_empty_until(bucket: Bucket, state: BucketState, until: int) -> BucketState:
    """Returns the state of a bucket that turned out to be empty, with its first token at `until`; one that is emptier stays."""
    return BucketState(max(state.full_at, until + (bucket.capacity - 1) * bucket.interval), state.blocked_until)


def take_all(draws: Sequence[Draw], states: Sequence[BucketState], now: int) -> Taken | Refusal:
    """Takes from all buckets, or from none when one refuses. Each bucket may appear once."""
    refusal: Refusal | None = None
    new: list[BucketState] = []
    tokens: list[int] = []
    for index, (draw, state) in enumerate(zip(draws, states, strict=True)):
        # A draw that needs no token is refused by a block alone.
        needed = wait(draw.bucket, state, now, draw.need) if draw.need else max(0, state.blocked_until - now)
        if needed > 0 and (refusal is None or needed > refusal.wait):
            refusal = Refusal(index, needed)
        got = min(draw.most, level(draw.bucket, state, now))
        tokens.append(got)
        new.append(take(draw.bucket, state, now, got) if got else state)
    return refusal or Taken(tuple(new), tuple(tokens))
