"""Single reads that share one call, on a real Valkey."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from controlplane.adapters.coalesced_reads import CoalescedReads
from controlplane.adapters.packed_reads import PackedReads, packed_get
from controlplane.adapters.redis_client import connect
from controlplane.core.errors import Unavailable


@pytest.fixture
def reads(client: Redis) -> CoalescedReads:
    """Reads of a fresh store."""
    return CoalescedReads(PackedReads(client))


async def test_each_caller_gets_its_own_reply(client: Redis, reads: CoalescedReads) -> None:
    """Many reads at once, present, missing and of another type, are answered each with its own key's value."""
    await client.set("a", "1")
    await client.set("b", "2")
    await client.lpush("list", "x")
    commands = [packed_get(key) for key in ("a", "b", "missing", "a", "list")]
    *found, mistyped = await asyncio.gather(*map(reads, commands))
    assert [b"1", b"2", None, b"1"] == found
    assert isinstance(mistyped, ResponseError)


async def test_reads_of_one_turn_are_one_call(client: Redis, reads: CoalescedReads) -> None:
    """A hundred reads of two keys in one turn of the loop ask the store twice."""
    await client.set("a", "1")
    before = (await client.info("commandstats")).get("cmdstat_get", {"calls": 0})["calls"]
    await asyncio.gather(*(reads(packed_get("ab"[number % 2])) for number in range(100)))
    assert 2 == (await client.info("commandstats"))["cmdstat_get"]["calls"] - before


async def test_a_caller_that_goes_away_harms_no_other(client: Redis, reads: CoalescedReads) -> None:
    """A cancelled read leaves another one of the same key its reply."""
    await client.set("a", "1")
    leaving, staying = (asyncio.create_task(reads(packed_get("a"))) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert b"1" == await staying


async def test_a_store_that_is_away_is_told_to_all() -> None:
    """Each caller of a call that fails is told that the store does not answer."""
    reads = CoalescedReads(PackedReads(connect("unix:///nowhere.sock", retries=0)))
    results = await asyncio.gather(*(reads(packed_get("a")) for _ in range(3)), return_exceptions=True)
    assert [Unavailable] * 3 == [type(result) for result in results]
