"""Reads that go past the library's pipelines, on a real Valkey: replies never get mixed up."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from controlplane.adapters.packed_reads import PackedReads, packed_get, packed_hget
from controlplane.adapters.redis_client import connect
from controlplane.core.errors import Unavailable


@pytest.fixture
def reads(client: Redis) -> PackedReads:
    """The reads under test."""
    return PackedReads(client)


async def test_each_command_has_its_reply(client: Redis, reads: PackedReads) -> None:
    """In order: values, nothing, and what a command was refused with, whatever bytes they hold."""
    await client.set("a", b"\r\n$-1\r\n\x00\xff")
    await client.hset("h", mapping={"f": b"", "g": b"x" * 100_000})
    value, nothing, empty, large, refused, last = await reads(
        [packed_get("a"), packed_get("b"), packed_hget("h", b"f"), packed_hget("h", b"g"), packed_get("h"), packed_get("a")]
    )
    assert (b"\r\n$-1\r\n\x00\xff", None, b"", b"x" * 100_000) == (value, nothing, empty, large)
    assert (True, value) == (isinstance(refused, ResponseError), last)


async def test_calls_at_the_same_time_get_their_own_replies(client: Redis, reads: PackedReads) -> None:
    """Each has a connection for itself while it lasts."""
    for number in range(50):
        await client.set(f"k{number}", number)
    found = await asyncio.gather(*(reads([packed_get(f"k{number}"), packed_get("nothing")]) for number in range(50)))
    assert [[str(number).encode(), None] for number in range(50)] == found


async def test_a_call_that_is_given_up_leaves_no_reply_to_the_next(client: Redis, reads: PackedReads) -> None:
    """Its connection is not used again."""
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


async def test_a_connection_that_was_closed_meanwhile_is_replaced(client: Redis, reads: PackedReads) -> None:
    """A store that was restarted, or that closes idle connections, is asked again at once."""
    await client.set("a", b"1")
    await asyncio.gather(*(reads([packed_get("a")]) for _ in range(3)))
    await client.client_kill_filter(_type="normal", skipme=True)
    assert [b"1"] == await reads([packed_get("a")])


async def test_a_store_that_is_away_is_unavailable() -> None:
    """At the first call as at a later one."""
    client = connect("redis://127.0.0.1:1", retries=0)
    with pytest.raises(Unavailable):
        await PackedReads(client)([packed_get("a")])
    await client.aclose()


async def test_other_refusals_are_those_of_the_store(client: Redis, valkey_url: str) -> None:
    """A user who may not read is no damaged key: nothing is known of any of them."""
    await client.acl_setuser("nobody", enabled=True, nopass=True, commands=["+ping", "+client", "+hello"])
    other = connect(valkey_url)
    other.connection_pool.connection_kwargs |= {"username": "nobody", "password": "x"}
    with pytest.raises(Unavailable):
        await PackedReads(other)([packed_get("a"), packed_get("b")])
    await other.aclose()


async def test_a_burst_takes_a_few_connections(client: Redis, reads: PackedReads) -> None:
    """Calls wait for one another, and each connection is used again."""
    for _ in range(2):
        await asyncio.gather(*(reads([packed_get("a")]) for _ in range(40)))
    assert 8 == len(client.connection_pool._in_use_connections)


async def test_a_broken_connection_is_given_back(client: Redis, reads: PackedReads) -> None:
    """However often it happens, there is one for the next call."""
    for _ in range(20):
        await reads([packed_get("a")])
        await client.client_kill_filter(_type="normal", skipme=True)
    assert [None] == await reads([packed_get("a")])
