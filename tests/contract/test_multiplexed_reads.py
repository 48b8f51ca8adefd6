"""Reads that share a connection, on a real Valkey: replies never get mixed up."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from controlplane.adapters import multiplexed_reads
from controlplane.adapters.multiplexed_reads import MultiplexedReads, packed_get, packed_hget
from controlplane.adapters.redis_client import connect
from controlplane.core.errors import Unavailable


@pytest.fixture
def reads(client: Redis) -> MultiplexedReads:
    """The reads under test."""
    return MultiplexedReads(client)


async def test_each_command_has_its_reply(client: Redis, reads: MultiplexedReads) -> None:
    """In order: values, nothing, and what a command was refused with, whatever bytes they hold."""
    await client.set("a", b"\r\n$-1\r\n\x00\xff")
    await client.hset("h", mapping={"f": b"", "g": b"x" * 100_000})
    value, nothing, empty, large, refused, last = await reads(
        [packed_get("a"), packed_get("b"), packed_hget("h", b"f"), packed_hget("h", b"g"), packed_get("h"), packed_get("a")]
    )
    assert (b"\r\n$-1\r\n\x00\xff", None, b"", b"x" * 100_000) == (value, nothing, empty, large)
    assert (True, value) == (isinstance(refused, ResponseError), last)


async def test_calls_at_the_same_time_get_their_own_replies(client: Redis, reads: MultiplexedReads) -> None:
    """However many are on their way."""
    for number in range(50):
        await client.set(f"k{number}", number)
    found = await asyncio.gather(*(reads([packed_get(f"k{number}"), packed_get("nothing")]) for number in range(50)))
    assert [[str(number).encode(), None] for number in range(50)] == found


async def test_a_call_that_is_given_up_leaves_no_reply_to_the_next(client: Redis, reads: MultiplexedReads) -> None:
    """Its reply still comes, and is nobody's."""
    await client.set("slow", b"slow")
    await client.set("next", b"next")
    await reads([packed_get("next")])
    await client.client_pause(200)
    call = asyncio.create_task(reads([packed_get("slow")]))
    for _ in range(3):
        await asyncio.sleep(0)
    call.cancel()
    assert [b"next"] == await reads([packed_get("next")])
    assert [b"slow", b"next"] == await reads([packed_get("slow"), packed_get("next")])


async def test_a_connection_that_was_closed_meanwhile_is_replaced(client: Redis, reads: MultiplexedReads) -> None:
    """A store that was restarted, or that closes idle connections, is asked again at once."""
    await client.set("a", b"1")
    await asyncio.gather(*(reads([packed_get("a")]) for _ in range(3)))
    await client.client_kill_filter(_type="normal", skipme=True)
    assert [b"1"] == await reads([packed_get("a")])


async def test_a_store_that_is_away_is_unavailable() -> None:
    """At the first call as at a later one."""
    client = connect("redis://127.0.0.1:1", retries=0)
    with pytest.raises(Unavailable):
        await MultiplexedReads(client)([packed_get("a")])
    await client.aclose()


async def test_other_refusals_are_those_of_the_store(client: Redis, valkey_url: str) -> None:
    """A user who may not read is no damaged key: nothing is known of any of them."""
    await client.acl_setuser("nobody", enabled=True, nopass=True, commands=["+ping", "+client", "+hello"])
    other = connect(valkey_url)
    other.connection_pool.connection_kwargs |= {"username": "nobody", "password": "x"}
    with pytest.raises(Unavailable):
        await MultiplexedReads(other)([packed_get("a"), packed_get("b")])
    await other.aclose()


async def test_a_burst_takes_one_connection(client: Redis, reads: MultiplexedReads) -> None:
    """Calls do not wait for one another, and none opens a connection of its own, be it the first."""
    for _ in range(2):
        await asyncio.gather(*(reads([packed_get("a")]) for _ in range(40)))
    assert 1 == len(client.connection_pool._in_use_connections)


async def test_a_broken_connection_is_given_back(client: Redis, reads: MultiplexedReads) -> None:
    """However often it happens, there is one for the next call."""
    for _ in range(20):
        await reads([packed_get("a")])
        await client.client_kill_filter(_type="normal", skipme=True)
    assert [None] == await reads([packed_get("a")])


async def test_a_store_that_stays_silent_is_unavailable(client: Redis, reads: MultiplexedReads, monkeypatch: pytest.MonkeyPatch) -> None:
    """All who wait are told after the time for a call, and the next call takes another connection."""
    monkeypatch.setattr(multiplexed_reads, "CALL_SECONDS", 0.2)
    await client.set("a", b"1")
    await reads([packed_get("a")])
    await client.client_pause(600)
    results = await asyncio.gather(*(reads([packed_get("a")]) for _ in range(3)), return_exceptions=True)
    assert [Unavailable] * 3 == [type(result) for result in results]
    await asyncio.sleep(0.6)
    assert [b"1"] == await reads([packed_get("a")])


async def test_a_store_that_is_away_is_told_to_all() -> None:
    """Each of several callers at once is told that the store does not answer."""
    reads = MultiplexedReads(connect("unix:///nowhere.sock", retries=0))
    results = await asyncio.gather(*(reads([packed_get("a")]) for _ in range(3)), return_exceptions=True)
    assert [Unavailable] * 3 == [type(result) for result in results]


async def test_a_caller_that_goes_away_harms_no_other(client: Redis, reads: MultiplexedReads) -> None:
    """A cancelled read leaves another one its reply, on the same connection."""
    await client.set("a", "1")
    await reads([packed_get("a")])
    leaving, staying = (asyncio.create_task(reads([packed_get("a")])) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert [b"1"] == await staying
    assert 1 == len(client.connection_pool._in_use_connections)
