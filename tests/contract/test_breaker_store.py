"""The contract of BreakerStore."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_breaker import RedisBreakerStore
from controlplane.adapters.redis_client import connect
from controlplane.core.breaker import CLOSED, Breaker, BreakerState
from controlplane.core.ports import BreakerStore, StoredBreaker
from tests.contract.conftest import BOTH
from tests.fakes.limits import InMemoryBreakers

CA, OTHER_CA = "https://ca.example/directory", "https://other.example/directory"
OPEN = Breaker(BreakerState.OPEN, 5, 2, datetime(2026, 11, 26, 12, 0, 0, 123456, UTC))


@pytest.fixture(params=BOTH)
async def store(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[BreakerStore]:
    """Each BreakerStore in turn."""
    if request.param == "memory":
        yield InMemoryBreakers()
        return
    client = connect(redis_url)
    yield RedisBreakerStore(client)
    await client.aclose()


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    """A client of a fresh store."""
    client = connect(valkey_url)
    yield client
    await client.aclose()


async def test_breaker_that_nobody_wrote_is_closed(store: BreakerStore) -> None:
    """There is nothing to set up for a CA."""
    assert StoredBreaker(CLOSED, b"") == await store.load(CA)


@pytest.mark.parametrize(
    "breaker",
    [
        Breaker(faults=3),
        OPEN,
        Breaker(BreakerState.HALF_OPEN, 7, 3, datetime(2026, 11, 26, 12, 2, tzinfo=UTC) + timedelta(microseconds=1)),
    ],
)
async def test_breaker_comes_back_as_it_was_written(store: BreakerStore, breaker: Breaker) -> None:
    """Every field is kept, the time to the microsecond."""
    assert await store.compare_and_set(CA, b"", breaker)
    assert breaker == (await store.load(CA)).breaker


async def test_only_the_version_that_was_read_is_replaced(store: BreakerStore) -> None:
    """Of two who read the same version one writes; the other reads again."""
    read = await store.load(CA)
    assert await store.compare_and_set(CA, read.version, Breaker(faults=1))
    assert not await store.compare_and_set(CA, read.version, OPEN)
    again = await store.load(CA)
    assert Breaker(faults=1) == again.breaker
    assert await store.compare_and_set(CA, again.version, OPEN)
    assert OPEN == (await store.load(CA)).breaker


async def test_closed_breaker_is_as_if_it_had_never_been(store: BreakerStore) -> None:
    """Closing leaves nothing behind."""
    await store.compare_and_set(CA, b"", OPEN)
    assert await store.compare_and_set(CA, (await store.load(CA)).version, CLOSED)
    assert StoredBreaker(CLOSED, b"") == await store.load(CA)


async def test_authorities_are_apart(store: BreakerStore) -> None:
    """Each CA has a breaker of its own."""
    await store.compare_and_set(CA, b"", OPEN)
    assert CLOSED == (await store.load(OTHER_CA)).breaker


@pytest.mark.parametrize("data", [b"rubbish", b"OPEN 1 2", b"AJAR 1 2 3", b"OPEN x 2 3", b"OPEN 1 2 999999999999999999999", b"\xff 1 2 3"])
async def test_damaged_breaker_is_closed_and_can_be_replaced(redis: Redis, data: bytes) -> None:
    """What cannot be read holds no orders, and the next change puts it right."""
    store = RedisBreakerStore(redis)
    await redis.set(keys.breaker(CA), data)
    read = await store.load(CA)
    assert StoredBreaker(CLOSED, data) == read
    assert await store.compare_and_set(CA, read.version, OPEN)
    assert OPEN == (await store.load(CA)).breaker


async def test_breaker_is_forgotten_in_the_end(redis: Redis) -> None:
    """A deployment that ended, or a CA that is not used any more, leaves nothing for ever."""
    await RedisBreakerStore(redis).compare_and_set(CA, b"", OPEN)
    assert 7 * 86_400_000 < await redis.pttl(keys.breaker(CA)) <= 8 * 86_400_000
