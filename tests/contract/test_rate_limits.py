"""The contract of RateLimits, and that the script of the store and the arithmetic of the core agree."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_limits import RedisRateLimits
from controlplane.core.ports import BucketLevels, RateLimits
from controlplane.core.token_bucket import FULL, SECOND, Bucket, BucketState, Draw, Refusal, level
from controlplane.embedded.valkey import start_valkey
from tests.contract.conftest import BOTH
from tests.fakes.limits import InMemoryRateLimits

CA, OTHER_CA = "https://ca.example/directory", "https://other.example/directory"
HOUR = 3600 * SECOND
FIVE = Bucket("five", 5, HOUR)
ONE = Bucket("one", 1, HOUR)
# Ahead of every real clock, so that the store drops no bucket before its time here.
START = 4_000_000_000 * SECOND


@dataclass
class Time:
    """A clock in microseconds that stands still."""

    now: int = START


class World(Protocol):
    """The limits, and their clock."""

    limits: RateLimits
    time: Time


@dataclass
class Made:
    """`World`."""

    limits: RateLimits
    time: Time = field(default_factory=Time)


@pytest.fixture(params=BOTH)
async def world(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[World]:
    """Each RateLimits in turn, at a time that the test sets."""
    time = Time()
    if request.param == "memory":
        yield Made(InMemoryRateLimits(now=lambda: time.now), time)
        return
    client = connect(redis_url)
    yield Made(RedisRateLimits(client, now=lambda: time.now), time)
    await client.aclose()


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    """A client of a fresh store."""
    client = connect(valkey_url)
    yield client
    await client.aclose()


async def left(world: World, *buckets: Bucket, authority: str = CA) -> list[int]:
    """How many tokens the buckets have."""
    found = await world.limits.levels(authority, buckets)
    return [level(bucket, state, found.now) for bucket, state in zip(buckets, found.states, strict=True)]


async def test_untouched_buckets_are_full(world: World) -> None:
    """A bucket that nobody used is full, and its time is the clock's."""
    assert BucketLevels(START, (FULL, FULL)) == await world.limits.levels(CA, [FIVE, ONE])


async def test_takes_from_all(world: World) -> None:
    """A take that every bucket allows is a take from all, and says what each gave."""
    assert [1, 1, 0] == list(await world.limits.take(CA, [Draw(FIVE), Draw(ONE), Draw(Bucket("guard", 2, 1), need=1, most=0)]))
    assert [4, 0, 2] == await left(world, FIVE, ONE, Bucket("guard", 2, 1))


async def test_takes_from_none_when_one_refuses(world: World) -> None:
    """One bucket without a token keeps all others untouched; the answer says which, and how long it takes."""
    await world.limits.take(CA, [Draw(ONE)])
    world.time.now += SECOND
    assert Refusal(1, HOUR - SECOND) == await world.limits.take(CA, [Draw(FIVE), Draw(ONE)])
    assert [5, 0] == await left(world, FIVE, ONE)
    world.time.now += HOUR - SECOND
    assert [1, 1] == list(await world.limits.take(CA, [Draw(FIVE), Draw(ONE)]))


async def test_takes_as_many_as_are_there(world: World) -> None:
    """A draw that needs less than it wishes for gets what is there."""
    assert [3] == list(await world.limits.take(CA, [Draw(FIVE, need=1, most=3)]))
    assert [2] == list(await world.limits.take(CA, [Draw(FIVE, need=1, most=3)]))
    assert Refusal(0, HOUR) == await world.limits.take(CA, [Draw(FIVE, need=1, most=3)])


async def test_nothing_is_taken_from_nothing(world: World) -> None:
    """Empty questions have empty answers."""
    assert [] == list(await world.limits.take(CA, []))
    await world.limits.count(CA, [], 1)
    await world.limits.hold(CA, [], empty_for=1, blocked_for=1)
    await world.limits.reset(CA, [])
    assert () == (await world.limits.levels(CA, [])).states


async def test_counts_what_happened(world: World) -> None:
    """Counting takes or gives back whatever the bucket holds, within empty and full."""
    await world.limits.count(CA, [FIVE, ONE], 3)
    assert [2, 0] == await left(world, FIVE, ONE)
    await world.limits.count(CA, [FIVE, ONE], -1)
    assert [3, 1] == await left(world, FIVE, ONE)
    await world.limits.count(CA, [FIVE], -9)
    assert [5] == await left(world, FIVE)


async def test_learned_empty(world: World) -> None:
    """A bucket that a refusal emptied has its first token when that said, and a shorter lesson later changes nothing."""
    await world.limits.hold(CA, [FIVE], empty_for=2 * HOUR, blocked_for=0)
    await world.limits.hold(CA, [FIVE], empty_for=HOUR, blocked_for=0)
    assert Refusal(0, 2 * HOUR) == await world.limits.take(CA, [Draw(FIVE)])
    assert [0] == list(await world.limits.take(CA, [Draw(FIVE, need=0, most=0)]))
    world.time.now += 2 * HOUR
    assert [1] == await left(world, FIVE)


async def test_blocked(world: World) -> None:
    """A block refuses everybody while it lasts and keeps the tokens; counting goes on."""
    await world.limits.hold(CA, [FIVE], empty_for=0, blocked_for=90 * SECOND)
    assert Refusal(0, 90 * SECOND) == await world.limits.take(CA, [Draw(FIVE, need=0, most=0)])
    assert Refusal(0, 90 * SECOND) == await world.limits.take(CA, [Draw(FIVE)])
    await world.limits.count(CA, [FIVE], 1)
    assert [4] == await left(world, FIVE)
    world.time.now += 90 * SECOND
    assert [1] == list(await world.limits.take(CA, [Draw(FIVE)]))


async def test_reset(world: World) -> None:
    """A reset bucket is full and not blocked."""
    await world.limits.hold(CA, [FIVE], empty_for=HOUR, blocked_for=HOUR)
    await world.limits.reset(CA, [FIVE, ONE])
    assert [1] == list(await world.limits.take(CA, [Draw(FIVE)]))


async def test_authorities_are_apart(world: World) -> None:
    """The same bucket of another CA is another bucket."""
    await world.limits.take(CA, [Draw(ONE)])
    assert [1] == await left(world, ONE, authority=OTHER_CA)
    assert [1] == list(await world.limits.take(OTHER_CA, [Draw(ONE)]))


async def test_largest_numbers_are_exact(world: World) -> None:
    """The slowest buckets of a profile are exact to the microsecond for centuries."""
    slow = Bucket("slow", 1152, 86_400 * SECOND + 1)
    world.time.now = 6_000_000_000 * SECOND + 7
    await world.limits.count(CA, [slow], 1152)
    assert Refusal(0, 86_400 * SECOND + 1) == await world.limits.take(CA, [Draw(slow)])
    world.time.now += 86_400 * SECOND
    assert Refusal(0, 1) == await world.limits.take(CA, [Draw(slow)])


BUCKETS = [Bucket("a", 1, 7), Bucket("b", 3, 1_000), Bucket("c", 50, 12_096 * SECOND), Bucket("d", 20, 333)]
CHOSEN = st.lists(st.sampled_from(BUCKETS), min_size=1, max_size=4, unique=True)
LENGTHS = st.one_of(st.integers(0, 3_000), st.integers(0, 100_000 * SECOND))


@st.composite
def draws(draw: st.DrawFn) -> list[Draw]:
    """Draws from different buckets."""
    return [Draw(bucket, draw(st.integers(0, min(3, bucket.capacity))), draw(st.integers(0, 60))) for bucket in draw(CHOSEN)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), draws()),
        st.tuples(st.just("count"), CHOSEN, st.integers(-5, 60)),
        st.tuples(st.just("hold"), CHOSEN, LENGTHS, LENGTHS),
        st.tuples(st.just("reset"), CHOSEN),
        st.tuples(st.just("pass"), LENGTHS),
    ),
    max_size=30,
)


async def perform(limits: RateLimits, time: Time, step: tuple) -> object:
    """One step; returns what it said."""
    match step:
        case ("take", wanted):
            found = await limits.take(CA, wanted)
            return found if isinstance(found, Refusal) else tuple(found)
        case ("count", buckets, tokens):
            await limits.count(CA, buckets, tokens)
        case ("hold", buckets, empty, blocked):
            await limits.hold(CA, buckets, empty_for=empty, blocked_for=blocked)
        case ("reset", buckets):
            await limits.reset(CA, buckets)
        case ("pass", length):
            time.now += length
    return None


def visible(levels: BucketLevels) -> list[tuple[int, int]]:
    """What buckets say: how far ahead their times lie. Past times say nothing."""
    return [(max(0, state.full_at - levels.now), max(0, state.blocked_until - levels.now)) for state in levels.states]


@pytest.fixture(scope="module")
def steps_of_the_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Redis], Awaitable[None]]], None]:
    """Runs something on a Valkey that lives as long as the module, in an event loop of its own."""
    loop = asyncio.new_event_loop()
    valkey = loop.run_until_complete(start_valkey(tmp_path_factory.mktemp("twin")))
    client = connect(valkey.url)

    def run(what: Callable[[Redis], Awaitable[None]]) -> None:
        async def flushed() -> None:
            await client.flushall()
            await what(client)

        loop.run_until_complete(flushed())

    yield run
    with contextlib.closing(loop):
        loop.run_until_complete(client.aclose())
        loop.run_until_complete(valkey.stop())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_script_and_core_agree(steps_of_the_store: Callable, steps: list[tuple]) -> None:
    """Whatever is taken, counted, held and reset at whatever times: the script answers as the core does, and leaves the same."""

    async def compare(client: Redis) -> None:
        time = Time()
        stored, pure = RedisRateLimits(client, now=lambda: time.now), InMemoryRateLimits(now=lambda: time.now)
        for step in steps:
            # Each with the time of before, and only the second moves it.
            unmoved = Time(time.now)
            assert await perform(pure, unmoved, step) == await perform(stored, time, step)
            assert visible(await pure.levels(CA, BUCKETS)) == visible(await stored.levels(CA, BUCKETS))

    steps_of_the_store(compare)


async def test_store_keeps_the_time(redis: Redis) -> None:
    """Without a clock of ours, buckets refill by the store's."""
    limits, bucket = RedisRateLimits(redis), Bucket("quick", 1, 500_000)
    assert [1] == list(await limits.take(CA, [Draw(bucket)]))
    refused = await limits.take(CA, [Draw(bucket)])
    assert isinstance(refused, Refusal)
    assert 0 < refused.wait <= 500_000
    await asyncio.sleep(0.51)
    assert [1] == list(await limits.take(CA, [Draw(bucket)]))
    seconds, microseconds = await redis.time()
    assert abs((await limits.levels(CA, [])).now - (seconds * SECOND + microseconds)) < 60 * SECOND


async def test_full_buckets_leave_nothing_behind(redis: Redis) -> None:
    """A key is gone once its bucket is full and not blocked, and not before."""
    limits, quick, slow = RedisRateLimits(redis), Bucket("quick", 2, 400_000), Bucket("slow", 2, HOUR)
    await limits.take(CA, [Draw(quick), Draw(slow)])
    assert 2 == await redis.dbsize()
    assert HOUR // 1000 - 5000 < await redis.pttl(keys.bucket(CA, "slow")) <= HOUR // 1000 + 10
    await asyncio.sleep(0.5)
    assert [keys.bucket(CA, "slow").encode()] == await redis.keys("*")
    await limits.hold(CA, [quick], empty_for=0, blocked_for=HOUR)
    assert HOUR // 1000 - 5000 < await redis.pttl(keys.bucket(CA, "quick")) <= HOUR // 1000 + 10
    await limits.count(CA, [slow], -2)
    await asyncio.sleep(0.01)
    assert [keys.bucket(CA, "quick").encode()] == await redis.keys("*")


async def test_buckets_of_a_ca_share_a_slot(redis: Redis) -> None:
    """All keys of a CA have one hash tag, so that one script may change them in a cluster; another CA has another."""
    await RedisRateLimits(redis).take(CA, [Draw(FIVE), Draw(ONE)])
    await RedisRateLimits(redis).take(OTHER_CA, [Draw(ONE)])
    tags = {key.partition(b"{")[2].partition(b"}")[0] for key in await redis.keys("*")}
    assert 2 == len(tags)
    assert keys.breaker(CA).partition("{")[2].partition("}")[0].encode() in tags


@pytest.mark.parametrize("value", ["rubbish", "1", "-1 2", "1e99 2", "9" * 40 + " 0", "0 " + "9" * 17])
async def test_damaged_bucket_counts_as_full(redis: Redis, value: str) -> None:
    """What somebody else wrote in place of a bucket stops nobody, and is replaced."""
    await redis.set(keys.bucket(CA, "one"), value)
    limits = RedisRateLimits(redis)
    assert (FULL,) == (await limits.levels(CA, [ONE])).states
    assert [1] == list(await limits.take(CA, [Draw(ONE)]))
    assert BucketState() != (await limits.levels(CA, [ONE])).states[0]
