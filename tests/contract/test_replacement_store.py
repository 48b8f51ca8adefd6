"""What every ReplacementStore keeps to."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters import redis_replacements
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_replacements import RedisReplacementStore, RedisStoppedReplacements
from controlplane.core.errors import LeaseLost, RecordRejected
from controlplane.core.ports.replacements import ReplacementStore
from controlplane.core.replacement import Replacement, ReplacementState
from tests.fakes.replacements import InMemoryReplacements

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TTL = timedelta(seconds=30)


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[ReplacementStore]:
    """Each ReplacementStore in turn."""
    if request.param == "memory":
        yield InMemoryReplacements()
        return
    client = connect(redis_url)
    yield RedisReplacementStore(client)
    await client.aclose()


def replacement(number: int = 1, **fields: object) -> Replacement:
    """A replacement with every field set that the store keeps."""
    full = {
        "reason": "a key was lost",
        "over": timedelta(hours=20),
        "state": ReplacementState.ASKING,
        "cursor": "after:shop.example.com",
        "matched": 7,
        "in_window": 3,
        "urgencies": {490000: 3, 490001: 4},
        "asked": 5,
        "skipped": 1,
        "pending": 4,
        "failing": 2,
        "seen_pending": 3,
        "seen_failing": 1,
        "seen_in_window": 2,
        "start_time": NOW,
        "spread": timedelta(hours=21),
        "estimate": timedelta(),
        "estimated_complete_time": NOW + timedelta(hours=21),
        "next_step_time": NOW + timedelta(minutes=1),
        "complete_time": NOW + timedelta(hours=22),
    }
    return Replacement(f"{number:012x}", 'tenant = "acme"', NOW + timedelta(microseconds=number), **(full | fields))  # type: ignore[arg-type]


async def test_everything_comes_back(store: ReplacementStore) -> None:
    """A replacement is read as it was written, by itself and in the list; one that there is not is none."""
    for written in (replacement(1), Replacement("a" * 12, "", NOW)):
        assert written == await store.create(written)
        assert written == await store.get(written.id)
    assert [replacement(1), Replacement("a" * 12, "", NOW)] == await store.list_all()
    assert None is await store.get("f" * 12)


async def test_identifier_is_taken_once(store: ReplacementStore) -> None:
    """Of two that are created with the same identifier the first stands, and is returned."""
    first = await store.create(replacement(reason="first"))
    assert first == await store.create(replacement(reason="second"))
    assert first == await store.get(first.id)


async def test_the_newest_comes_first(store: ReplacementStore) -> None:
    """The list is in the order of creation, backwards."""
    for number in (2, 3, 1):
        await store.create(replacement(number))
    assert [3, 2, 1] == [int(each.id, 16) for each in await store.list_all()]


async def test_stop_stands(store: ReplacementStore) -> None:
    """What the job writes does not undo a stop, nor does a second stop move it; nothing else is stopped."""
    await store.create(replacement(1))
    await store.create(replacement(2))
    assert await store.take_job("a", TTL)
    assert frozenset() == await store.stopped()
    await store.stop(replacement(1).id, NOW)
    await store.stop(replacement(1).id, NOW + TTL)
    await store.save("a", replacement(1, asked=6), TTL)
    found, other = await store.get(replacement(1).id), await store.get(replacement(2).id)
    assert found is not None
    assert other is not None
    assert (NOW, 6, False, ReplacementState.STOPPED) == (found.stop_time, found.asked, found.running, found.shown_state)
    assert (None, True) == (other.stop_time, other.running)
    assert frozenset({replacement(1).id}) == await store.stopped()


async def test_job_is_one_owners(store: ReplacementStore) -> None:
    """Only one has the job, for as long as it prolongs it; only that one writes; who leaves it leaves nothing of another's."""
    await store.create(replacement())
    with pytest.raises(LeaseLost):
        await store.save("a", replacement(), TTL)
    assert (True, True, False) == (await store.take_job("a", TTL), await store.take_job("a", TTL), await store.take_job("b", TTL))
    with pytest.raises(LeaseLost):
        await store.save("b", replacement(asked=9), TTL)
    await store.leave_job("b")
    await store.save("a", replacement(asked=8), TTL)
    await store.leave_job("a")
    assert await store.take_job("b", TTL)
    with pytest.raises(LeaseLost):
        await store.save("a", replacement(asked=9), TTL)
    found = await store.get(replacement().id)
    assert found is not None
    assert 8 == found.asked


async def test_job_runs_out(client: Redis) -> None:
    """A replica that was killed is followed by another; what it writes later is refused. A save prolongs the job."""
    store = RedisReplacementStore(client)
    await store.create(replacement())
    assert await store.take_job("a", timedelta(milliseconds=20))
    await store.save("a", replacement(), TTL)
    await asyncio.sleep(0.03)
    assert not await store.take_job("b", TTL)
    assert await store.take_job("a", timedelta(milliseconds=20))
    await asyncio.sleep(0.03)
    assert await store.take_job("b", TTL)
    with pytest.raises(LeaseLost):
        await store.save("a", replacement(), TTL)


async def test_old_ones_are_forgotten(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many the oldest that are over are forgotten, never one that runs, and never that one was stopped."""
    monkeypatch.setattr(redis_replacements, "MOST_REMEMBERED", 20)
    store = RedisReplacementStore(client)
    await store.create(replacement(1))
    for number in range(2, 21):
        await store.create(replacement(number, state=ReplacementState.DONE))
    await store.stop(replacement(2).id, NOW)
    await store.create(replacement(21))
    left = [int(each.id, 16) for each in await store.list_all()]
    assert [21, *range(20, 3, -1), 1] == left
    assert frozenset({replacement(2).id}) == await store.stopped()


async def test_damaged_record_hides_no_other(client: Redis) -> None:
    """What cannot be read is left out of the list, and refused by itself."""
    store = RedisReplacementStore(client)
    await store.create(replacement())
    await client.hset(keys.REPLACEMENTS, "b" * 12, b"\xff\xff")
    with structlog.testing.capture_logs() as log:
        assert [replacement()] == await store.list_all()
    assert ["replacement record rejected"] == [line["event"] for line in log]
    with pytest.raises(RecordRejected):
        await store.get("b" * 12)


async def test_workers_see_a_stop_within_seconds(client: Redis) -> None:
    """A worker's view is read again when it is too old, and not before."""
    store, view = RedisReplacementStore(client), RedisStoppedReplacements(client, max_age=timedelta(milliseconds=50))
    assert frozenset() == await view.current()
    await store.stop("a" * 12, NOW)
    assert frozenset() == await view.current()
    await asyncio.sleep(0.06)
    assert frozenset({"a" * 12}) == await view.current()
