"""ChangeFeed on a real Valkey: nothing is missed, and what may be missed is said."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.record_hmac import RecordHmac
from controlplane.adapters.redis_changes import RedisChangeFeed
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import ChangesLost, DomainChanged
from controlplane.embedded.valkey import start_valkey
from tests.fakes import samples
from tests.fakes.eventually import eventually

DEADLINE = 15


async def take(feed: AsyncIterator[DomainChanged | ChangesLost], count: int) -> list[DomainChanged | ChangesLost]:
    """The next `count` changes."""
    async with asyncio.timeout(DEADLINE):
        return [await anext(feed) for _ in range(count)]


async def test_every_kind_of_change_is_seen(valkey_url: str, authenticator: RecordHmac) -> None:
    """Creation, status, certificate, renewal request and deletion each give one change with all names."""
    client = connect(valkey_url)
    domains, work = RedisDomainStore(client), RedisWorkStore(client, authenticator)
    source = RedisChangeFeed(valkey_url)
    feed = source.follow(await source.position())
    name = DomainName("shop.example.com")
    await domains.create(samples.spec("shop.example.com", "www.shop.example.com"), DomainStatus())
    lease = await work.acquire(name, "one", timedelta(seconds=30))
    assert lease is not None
    await work.load(lease)
    await work.save_status(lease, DomainStatus(), None)
    await work.save_certificate(lease, samples.certificate("shop.example.com"), DomainStatus(DomainState.ACTIVE), None)
    await domains.request_renewal(name, samples.now())
    await domains.delete(name, "")
    changes = await take(feed, 5)
    assert all(isinstance(change, DomainChanged) and change.names == ("shop.example.com", "www.shop.example.com") for change in changes)
    kinds = [change.kind.value for change in changes if isinstance(change, DomainChanged)]
    assert ["spec", "status", "certificate", "spec", "deleted"] == kinds
    await feed.aclose()
    await client.aclose()


async def test_resuming_misses_nothing(valkey_url: str) -> None:
    """Changes between a position and the moment of following are yielded."""
    client = connect(valkey_url)
    source = RedisChangeFeed(valkey_url)
    position = await source.position()
    for index in range(30):
        await RedisDomainStore(client).create(samples.spec(f"d{index}.example.com"), DomainStatus())
    feed = source.follow(position)
    changes = await take(feed, 30)
    assert {f"d{index}.example.com" for index in range(30)} == {change.fqdn for change in changes if isinstance(change, DomainChanged)}
    await feed.aclose()
    await client.aclose()


async def test_trimmed_stream_is_lost(valkey_url: str) -> None:
    """Resuming behind what the stream still holds is said to be lost."""
    client = connect(valkey_url)
    source = RedisChangeFeed(valkey_url)
    await RedisDomainStore(client).create(samples.spec("shop.example.com"), DomainStatus())
    old = f"{(await source.position()).partition(':')[0]}:1"
    await RedisDomainStore(client).request_renewal(DomainName("shop.example.com"), samples.now())
    await client.xtrim(keys.changes(keys.shard_of("shop.example.com")), maxlen=1, approximate=False)
    feed = source.follow(old)
    assert isinstance((await take(feed, 1))[0], ChangesLost)
    await feed.aclose()
    await client.aclose()


async def test_missing_entry_is_a_gap(valkey_url: str) -> None:
    """A change number that jumps is yielded as lost changes, before the change itself."""
    client: Redis = connect(valkey_url)
    source = RedisChangeFeed(valkey_url)
    domains, name = RedisDomainStore(client), DomainName("shop.example.com")
    feed = source.follow(await source.position())
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    await take(feed, 1)
    await client.incr(keys.sequence(keys.shard_of("shop.example.com")))
    await domains.request_renewal(name, samples.now())
    lost, change = await take(feed, 2)
    assert isinstance(lost, ChangesLost)
    assert isinstance(change, DomainChanged)
    await feed.aclose()
    await client.aclose()


async def test_restart_of_the_store_loses_nothing(tmp_path: Path) -> None:
    """A store that comes back with its data goes on without a gap; one that comes back empty is said to be lost."""
    valkey = await start_valkey(tmp_path)
    source = RedisChangeFeed(valkey.url)
    client = connect(valkey.url)
    feed = source.follow(await source.position())
    await RedisDomainStore(client).create(samples.spec("a.example.com"), DomainStatus())
    assert getattr((await take(feed, 1))[0], "fqdn", None) == "a.example.com"
    await valkey.stop()
    valkey = await start_valkey(tmp_path)
    await RedisDomainStore(client).create(samples.spec("b.example.com"), DomainStatus())
    assert getattr((await take(feed, 1))[0], "fqdn", None) == "b.example.com"
    await client.flushall()
    await valkey.stop()
    valkey = await start_valkey(tmp_path)
    assert isinstance((await take(feed, 1))[0], ChangesLost)
    await RedisDomainStore(client).create(samples.spec("c.example.com"), DomainStatus())
    assert getattr((await take(feed, 1))[0], "fqdn", None) == "c.example.com"
    await feed.aclose()
    await client.aclose()
    await valkey.stop()


async def test_an_interruption_is_said(tmp_path: Path) -> None:
    """When changes cannot be read for the time being, and when they are again, before what happened meanwhile."""
    valkey = await start_valkey(tmp_path)
    source = RedisChangeFeed(valkey.url)
    client = connect(valkey.url)
    told: list[bool] = []
    feed = source.follow(await source.position(), current=told.append)
    await RedisDomainStore(client).create(samples.spec("a.example.com"), DomainStatus())
    await take(feed, 1)
    assert [True] == told
    await valkey.stop()
    waiting = asyncio.ensure_future(take(feed, 1))
    await eventually(lambda: len(told) > 1)
    assert {False} == set(told[1:])
    valkey = await start_valkey(tmp_path)
    await RedisDomainStore(client).create(samples.spec("b.example.com"), DomainStatus())
    await waiting
    assert (True, 1) == (told[-1], told[1:].count(True))
    await feed.aclose()
    await client.aclose()
    await valkey.stop()


async def test_entry_of_a_stranger_is_skipped_and_said(valkey_url: str) -> None:
    """An entry that cannot be understood is yielded as lost changes once, and what follows it is seen."""
    client = connect(valkey_url)
    source = RedisChangeFeed(valkey_url)
    feed = source.follow(await source.position())
    stream = keys.changes(keys.shard_of("shop.example.com"))
    await client.xadd(stream, {"x": "y"})
    await client.xadd(stream, {"q": 1, "n": "a.example.com", "a": "a.example.com", "k": "kind-of-tomorrow"})
    await RedisDomainStore(client).create(samples.spec("shop.example.com"), DomainStatus())
    first, second, third = await take(feed, 3)
    assert isinstance(first, ChangesLost)
    assert isinstance(second, ChangesLost)
    assert "shop.example.com" == getattr(third, "fqdn", None)
    await feed.aclose()
    again = source.follow(await source.position())
    await take(again, 3)
    await again.aclose()
    await client.aclose()


async def test_position_moves_on_with_what_is_heard(valkey_url: str) -> None:
    """Every change carries a position behind which a later reader does not see changes of long before again."""
    client = connect(valkey_url)
    source = RedisChangeFeed(valkey_url)
    start = await source.position()
    feed = source.follow(start)
    first = asyncio.ensure_future(anext(feed))
    # The reader stands at the bell now, so what follows is heard and not read.
    await asyncio.sleep(0.5)
    await RedisDomainStore(client).create(samples.spec("shop.example.com"), DomainStatus())
    change = await first
    assert int(change.position.partition(":")[2]) > int(start.partition(":")[2])
    await feed.aclose()
    await client.aclose()


async def test_a_store_that_is_emptied_before_our_eyes_is_lost(valkey_url: str) -> None:
    """Change numbers that begin anew on a connection that stays are said to be lost, before what they bring, however many come at once."""
    client = connect(valkey_url)
    source = RedisChangeFeed(valkey_url)
    domains, name = RedisDomainStore(client), DomainName("shop.example.com")
    feed = source.follow(await source.position())
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    await domains.request_renewal(name, samples.now())
    await take(feed, 2)
    following = asyncio.ensure_future(take(feed, 5))
    # The reader stands at the bell now.
    await asyncio.sleep(0.5)
    await client.flushall()
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    for _ in range(3):
        await domains.request_renewal(name, samples.now())
    lost, *changes = await following
    assert isinstance(lost, ChangesLost)
    assert ["spec"] * 4 == [change.kind.value for change in changes if isinstance(change, DomainChanged)]
    await feed.aclose()
    await client.aclose()
