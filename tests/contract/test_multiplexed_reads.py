"""Reads that share a connection, on a real Valkey: replies never get mixed up."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import uvloop
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from controlplane.adapters import multiplexed_reads
from controlplane.adapters.multiplexed_reads import MultiplexedReads, packed_get, packed_hget
from controlplane.adapters.redis_client import connect
from controlplane.core.errors import Unavailable
from tests.fakes.tiny_pki import TinyPki


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


@contextlib.asynccontextmanager
async def scripted(replies: Sequence[bytes], tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, Callable[[], int]]]:
    """Runs a store that gives these replies to GET, whatever the key, and says OK to all else.

    Yields its URL, and what returns how many connections it took.
    """
    left, talks = list(replies), []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while line := await reader.readline():
                words = [(await reader.readexactly(int((await reader.readline())[1:]) + 2))[:-2] for _ in range(int(line[1:]))]
                for piece in left.pop(0).split(b"|") if words[0] == b"GET" else (b"+OK\r\n",):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)

    async with await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls) as server:
        yield f"{'rediss' if tls else 'redis'}://127.0.0.1:{server.sockets[0].getsockname()[1]}", lambda: len(talks)
        await asyncio.gather(*talks)


async def test_a_reply_that_comes_in_pieces_is_put_together() -> None:
    """Wherever it is cut; what follows in the same piece is the next caller's."""
    async with scripted([b"$5\r|\nhe|llo\r\n$-|1\r\n", b""]) as (url, _):
        client = connect(url)
        reads = MultiplexedReads(client)
        assert [[b"hello"], [None]] == await asyncio.gather(reads([packed_get("a")]), reads([packed_get("b")]))
        await client.aclose()


@pytest.mark.parametrize(
    "useless", [b"-LOADING Redis is loading the dataset in memory\r\n", b"-NOAUTH Authentication required.\r\n", b"no protocol\r\n"]
)
async def test_a_connection_that_is_of_no_use_is_replaced(useless: bytes) -> None:
    """The store loads its data, does not know who this is, or is no store: the read is tried once more, on another connection."""
    async with scripted([b"$1\r\n1\r\n", useless, b"$1\r\n2\r\n"]) as (url, connections):
        client = connect(url)
        reads = MultiplexedReads(client)
        assert [[b"1"], [b"2"]] == [await reads([packed_get("a")]) for _ in range(2)]
        assert (2, 1) == (connections(), len(client.connection_pool._in_use_connections))
        await client.aclose()


async def test_a_reply_that_nobody_asked_for_is_nobodys() -> None:
    """It would be taken for the next one: that connection is not used again."""
    async with scripted([b"$1\r\n1\r\n$5\r\nwrong\r\n", b"$1\r\n2\r\n"]) as (url, connections):
        client = connect(url)
        reads = MultiplexedReads(client)
        assert [b"1"] == await reads([packed_get("a")])
        assert ([b"2"], 2) == (await reads([packed_get("a")]), connections())
        await client.aclose()


async def test_a_client_that_is_closed_closes_the_connection(valkey_url: str) -> None:
    """At once, though the library's own streams do not read from it any more."""
    client = connect(valkey_url)
    reads = MultiplexedReads(client)
    await reads([packed_get("a")])
    line = reads._line
    async with asyncio.timeout(1):
        await client.aclose()
    assert line is not None
    assert not line.is_open


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_any_transport_of_any_loop_will_do(tmp_path: Path, encrypted: bool, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Replies come, a broken connection is replaced, and a client is closed, over TLS as without."""
    pki = TinyPki(tmp_path)
    server = pki.issue("127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if encrypted else None
    if tls:
        tls.load_cert_chain(server.cert_file, server.key_file)

    async def talk() -> None:
        large = b"x" * 100_000
        async with scripted([b"$100000\r\n%b\r\n" % large, b"no protocol\r\n", b"$1\r\n2\r\n"], tls) as (url, connections):
            client = connect(url, ca_file=str(pki.ca_file))
            reads = MultiplexedReads(client)
            assert [[large], [b"2"]] == [await reads([packed_get("a")]) for _ in range(2)]
            assert 2 == connections()
            async with asyncio.timeout(1):
                await client.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(talk())
