"""DomainStore on a real Valkey: creation, claims of additional names, pages, deletion."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_client import connect, from_milliseconds, milliseconds
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.core.errors import AlreadyExists, InvalidArgument, NotFound, RecordRejected, Unavailable
from controlplane.core.managed_domain import DomainState, DomainStatus, Revocation
from controlplane.core.names import DomainName
from tests.fakes import samples

SHOP = DomainName("shop.example.com")


@pytest.fixture
def store(client: Redis) -> RedisDomainStore:
    """The store under test."""
    return RedisDomainStore(client)


async def test_refused_creation_leaves_no_claim(store: RedisDomainStore, client: Redis) -> None:
    """Names that were claimed before the refusal are free again."""
    await store.create(samples.spec("taken.example.com"), DomainStatus())
    with pytest.raises(AlreadyExists):
        await store.create(samples.spec("a.example.com", "free.example.com", "taken.example.com"), DomainStatus())
    assert None is await client.get(keys.claim("free.example.com"))
    await store.create(samples.spec("free.example.com"), DomainStatus())


async def test_refused_repeat_keeps_the_claims_of_the_existing_domain(store: RedisDomainStore, client: Redis) -> None:
    """Creating a domain again does not free the additional names that it has."""
    await store.create(samples.spec("a.example.com", "www.a.example.com"), DomainStatus())
    with pytest.raises(AlreadyExists, match=r"domains/a\.example\.com exists already"):
        await store.create(samples.spec("a.example.com", "www.a.example.com"), DomainStatus())
    assert (await client.get(keys.claim("www.a.example.com"))).startswith(b"a.example.com|")


async def test_stale_claim_blocks_nobody(store: RedisDomainStore, client: Redis) -> None:
    """A claim whose owner was never written counts for a minute, then no more."""
    await client.set(keys.claim("www.a.example.com"), f"ghost.example.com|uid|{int(samples.now().timestamp() * 1000) - 61_000}")
    await client.set(keys.claim("fresh.example.com"), f"ghost.example.com|uid|{int(samples.now().timestamp() * 1000)}")
    await store.create(samples.spec("a.example.com", "www.a.example.com"), DomainStatus())
    with pytest.raises(AlreadyExists):
        await store.create(samples.spec("fresh.example.com"), DomainStatus())
    await client.set(keys.claim("own.example.com"), "ghost.example.com|uid|1")
    await store.create(samples.spec("own.example.com"), DomainStatus())


@pytest.mark.parametrize("token", ["x", "!!!", "OTk5OmE", "YTpi"])
async def test_foreign_page_token_is_refused(store: RedisDomainStore, token: str) -> None:
    """A token that this store did not make is an INVALID_ARGUMENT."""
    with pytest.raises(InvalidArgument):
        await store.list_page(10, token)


async def test_deletion_removes_everything(store: RedisDomainStore, client: Redis) -> None:
    """Nothing with the domain's name is left but the change streams; its names can be used again."""
    await store.create(samples.spec("shop.example.com", "www.shop.example.com"), DomainStatus())
    await store.delete(SHOP, "")
    # What is left is numbers, the change streams, and the memory of the deletion for a day.
    left = [key async for key in client.scan_iter("*") if await client.type(key) != b"stream" and b"sequence" not in key]
    left = [key for key in left if b":gone:" not in key or await client.ttl(key) <= 0]
    assert left == []
    with pytest.raises(NotFound):
        await store.delete(SHOP, "")
    await store.create(samples.spec("www.shop.example.com"), DomainStatus())


async def test_status_survives_the_codec(store: RedisDomainStore) -> None:
    """Every field of a full status comes back."""
    from controlplane.core.managed_domain import Actor, Problem

    now = samples.now()
    status = DomainStatus(
        DomainState.DEGRADED, True, "order", "abc", "0f", now, now, now, now, 3,
        Problem("urn:x", "detail", Actor.CUSTOMER, now, "www.shop.example.com"), (DomainName("www.shop.example.com"),), now,
    )  # fmt: skip
    await store.create(replace(samples.spec("shop.example.com"), renewal_request_time=now, create_request_id="r"), status)
    domain = await store.get(SHOP)
    assert domain is not None
    assert status == domain.status


async def test_store_that_is_away_is_unavailable(tmp_path) -> None:
    """A store that does not answer is reported as UNAVAILABLE, not as a missing domain."""
    store = RedisDomainStore(connect(f"unix://{tmp_path}/nothing.sock", retries=0))
    with pytest.raises(Unavailable):
        await store.get(SHOP)


async def test_deletion_beside_a_creation_loses_no_claim(store: RedisDomainStore, client: Redis) -> None:
    """However a deletion and a creation of the same domain overlap, the domain that is there in the end has all its claims."""
    names = [f"n{index}.shop.example.com" for index in range(8)]
    for _ in range(30):
        with contextlib.suppress(AlreadyExists):
            await store.create(samples.spec("shop.example.com", *names), DomainStatus())

        async def create() -> None:
            with contextlib.suppress(AlreadyExists):
                await store.create(samples.spec("shop.example.com", *names), DomainStatus())

        await asyncio.gather(store.delete(SHOP, ""), create(), create())
        domain = await store.get(SHOP)
        if domain is not None:
            for name in names:
                claim = await client.get(keys.claim(name))
                assert claim is not None
                assert claim.startswith(f"shop.example.com|{domain.spec.uid}|".encode())


async def test_unreadable_domain_hides_no_other(store: RedisDomainStore, client: Redis) -> None:
    """A listing leaves a domain out whose record cannot be read; reading it alone says so."""
    await store.create(samples.spec("good.example.com"), DomainStatus())
    await store.create(samples.spec("bad.example.com"), DomainStatus())
    await client.hset(keys.domain("bad.example.com"), "status", b"\xff\xff")
    assert ["good.example.com"] == [str(domain.spec.fqdn) for domain in (await store.list_page(10, "")).domains]
    with pytest.raises(RecordRejected):
        await store.get(DomainName("bad.example.com"))


async def test_renewal_requests_grow_whatever_the_clocks_say(store: RedisDomainStore) -> None:
    """A request through a replica whose clock is behind still counts as the later one."""
    await store.create(samples.spec("shop.example.com"), DomainStatus())
    now = samples.now()
    first = await store.request_renewal(SHOP, now)
    second = await store.request_renewal(SHOP, now - timedelta(seconds=5))
    assert first.spec.renewal_request_time is not None
    assert second.spec.renewal_request_time is not None
    assert second.spec.renewal_request_time > first.spec.renewal_request_time


async def due_of(client: Redis, name: DomainName) -> datetime | None:
    """When a domain is due, whatever its lane; None: never."""
    scores = [await client.zscore(lane, name.value) for lane in keys.due_sets(keys.shard_of(name.value))]
    found = [score for score in scores if score is not None]
    assert len(found) <= 1
    return from_milliseconds(found[0]) if found else None


async def make_due(client: Redis, name: DomainName, at: datetime) -> None:
    """Moves a domain in the schedule."""
    for lane in keys.due_sets(keys.shard_of(name.value)):
        await client.zadd(lane, {name.value: milliseconds(at)}, xx=True)


async def test_replacement_wakes_no_worker_before_its_time(store: RedisDomainStore, client: Redis) -> None:
    """Who is asked by a replacement becomes due when its renewal may begin, never later than before; who is asked by hand, at once."""
    await store.create(samples.spec("shop.example.com"), DomainStatus())
    now = samples.now()
    await make_due(client, SHOP, now + timedelta(days=30))
    await store.request_renewal(SHOP, now, now + timedelta(hours=5), replacement="r1")
    assert now + timedelta(hours=5) == await due_of(client, SHOP)
    await store.request_renewal(SHOP, now, now + timedelta(hours=9), replacement="r2")
    assert now + timedelta(hours=5) == await due_of(client, SHOP)
    await store.request_renewal(SHOP, now, now + timedelta(hours=9))
    due = await due_of(client, SHOP)
    assert due is not None
    assert abs(due - now) < timedelta(seconds=30)


async def test_revocation_wakes_a_worker_each_time(store: RedisDomainStore, client: Redis) -> None:
    """A request makes the domain due at once, and so does its repeat while it is pending."""
    await store.create(samples.spec("shop.example.com"), DomainStatus())
    now = samples.now()
    for _ in range(2):
        await make_due(client, SHOP, now + timedelta(days=30))
        await store.request_revocation(SHOP, Revocation("c" * 32, 1, now))
        due = await due_of(client, SHOP)
        assert due is not None
        assert abs(due - now) < timedelta(seconds=30)


async def test_creation_beside_the_same_creation_waits_for_it(store: RedisDomainStore) -> None:
    """Who finds the additional names claimed by another creation of the same domain is told of that domain, as soon as it is there."""
    first, second = (samples.spec("shop.example.com", "www.shop.example.com") for _ in range(2))
    await store._claim_name(DomainName("www.shop.example.com"), first)
    waiting = asyncio.create_task(store.create(second, DomainStatus()))
    await asyncio.sleep(0.05)
    created = await store.create(first, DomainStatus())
    with pytest.raises(AlreadyExists, match=r"domains/shop\.example\.com exists already"):
        await waiting
    assert created == await store.get(SHOP)
