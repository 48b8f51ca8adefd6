"""WorkStore on a real Valkey: leases, fencing, the schedule."""

from dataclasses import replace
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.record_hmac import RecordHmac
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.core.errors import LeaseLost
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from tests.fakes import samples

TTL = timedelta(seconds=30)
SHOP = DomainName("shop.example.com")


@pytest.fixture
async def client(valkey_url: str):
    """A client of a fresh store."""
    client = connect(valkey_url)
    yield client
    await client.aclose()


@pytest.fixture
def domains(client: Redis) -> RedisDomainStore:
    """The API's side."""
    return RedisDomainStore(client)


@pytest.fixture
def work(client: Redis, authenticator: RecordHmac) -> RedisWorkStore:
    """The worker's side."""
    return RedisWorkStore(client, authenticator)


async def test_new_domain_is_due_at_once(domains: RedisDomainStore, work: RedisWorkStore) -> None:
    """A created domain is due now and is the earliest due."""
    domain = await domains.create(samples.spec("shop.example.com"), DomainStatus())
    assert list(await work.due(samples.now(), 10)) == [SHOP]
    assert domain.spec.create_time == await work.next_due()


async def test_due_lists_the_longest_due_first_up_to_the_limit(domains: RedisDomainStore, work: RedisWorkStore) -> None:
    """Domains of all shards are listed by due time."""
    for index in range(20):
        spec = replace(samples.spec(f"d{index}.example.com"), create_time=samples.now() - timedelta(minutes=20 - index))
        await domains.create(spec, DomainStatus())
    assert [f"d{index}.example.com" for index in range(5)] == [str(name) for name in await work.due(samples.now(), 5)]


async def test_leased_domain_is_hidden_and_taken_once(domains: RedisDomainStore, work: RedisWorkStore) -> None:
    """While a lease lasts nobody else gets the domain; released without a save, it is due again with a greater token."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    lease = await work.acquire(SHOP, "one", TTL)
    assert lease is not None
    assert None is await work.acquire(SHOP, "two", TTL)
    assert list(await work.due(samples.now(), 10)) == []
    await work.release(lease)
    assert list(await work.due(samples.now(), 10)) == [SHOP]
    again = await work.acquire(SHOP, "two", TTL)
    assert again is not None
    assert again.token > lease.token


async def test_lease_is_not_to_be_had_for_a_missing_domain(work: RedisWorkStore) -> None:
    """A domain that does not exist cannot be leased."""
    assert None is await work.acquire(SHOP, "one", TTL)


async def test_expired_lease_loses_every_write(client: Redis, domains: RedisDomainStore, work: RedisWorkStore) -> None:
    """After another worker took over, each kind of write of the first raises LeaseLost and changes nothing."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    old = await work.acquire(SHOP, "one", TTL)
    assert old is not None
    await work.load(old)
    await client.delete(keys.lease("shop.example.com"))
    new = await work.acquire(SHOP, "two", TTL)
    assert new is not None
    before = await client.hgetall(keys.domain("shop.example.com"))
    with pytest.raises(LeaseLost):
        await work.save_status(old, DomainStatus(DomainState.FAILED), None)
    with pytest.raises(LeaseLost):
        await work.save_order(old, samples.order("shop.example.com"))
    with pytest.raises(LeaseLost):
        await work.save_certificate(old, samples.certificate("shop.example.com"), DomainStatus(DomainState.ACTIVE), None)
    with pytest.raises(LeaseLost):
        await work.extend(old, TTL)
    with pytest.raises(LeaseLost):
        await work.load(old)
    await work.release(old)
    assert before == await client.hgetall(keys.domain("shop.example.com"))
    assert b"two:" in await client.get(keys.lease("shop.example.com"))


async def test_deleted_and_recreated_domain_refuses_the_old_lease(domains: RedisDomainStore, work: RedisWorkStore) -> None:
    """A lease from a domain's former life never writes to its new one."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    old = await work.acquire(SHOP, "one", TTL)
    assert old is not None
    await domains.delete(SHOP, "")
    with pytest.raises(LeaseLost):
        await work.save_status(old, DomainStatus(), None)
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    with pytest.raises(LeaseLost):
        await work.save_status(old, DomainStatus(), None)
    new = await work.acquire(SHOP, "two", TTL)
    assert new is not None
    with pytest.raises(LeaseLost):
        await work.save_status(old, DomainStatus(), None)


async def test_order_is_kept_and_authenticated(client: Redis, domains: RedisDomainStore, work: RedisWorkStore) -> None:
    """A saved order comes back; one that somebody with access to the store planted does not."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    lease = await work.acquire(SHOP, "one", TTL)
    assert lease is not None
    order = samples.order("shop.example.com")
    await work.save_order(lease, order, DomainStatus(current_step="order"))
    loaded = await work.load(lease)
    assert order == loaded.order
    assert loaded.domain.status.current_step == "order"
    stored = await client.hget(keys.domain("shop.example.com"), "order")
    await client.hset(keys.domain("shop.example.com"), "order", stored.replace(b"csr", b"CSR"))
    assert None is (await work.load(lease)).order
    await work.save_order(lease, None)
    assert None is await client.hget(keys.domain("shop.example.com"), "order")


async def test_certificate_comes_into_force_in_one_write(client: Redis, domains: RedisDomainStore, work: RedisWorkStore) -> None:
    """Certificate, status, due time and previous certificate change together, the order goes, and the generation grows."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    lease = await work.acquire(SHOP, "one", TTL)
    assert lease is not None
    await work.save_order(lease, samples.order("shop.example.com"))
    due = samples.now() + timedelta(days=60)
    first = await work.save_certificate(lease, samples.certificate("shop.example.com"), DomainStatus(DomainState.ACTIVE), due)
    assert due == await work.next_due()
    loaded = await work.load(lease)
    assert (first, None, DomainState.ACTIVE) == (loaded.certificate, loaded.order, loaded.domain.status.state)
    second = await work.save_certificate(lease, samples.certificate("shop.example.com"), DomainStatus(DomainState.ACTIVE), due)
    assert second.generation > first.generation
    fields = await client.hkeys(keys.domain("shop.example.com"))
    assert b"previous" in fields
    await work.release(lease)
    assert due == await work.next_due()


async def test_renewal_request_wins_over_a_later_due_time(domains: RedisDomainStore, work: RedisWorkStore) -> None:
    """A renewal that the API asks for while a worker is busy is not lost when that worker saves a far due time."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    lease = await work.acquire(SHOP, "one", TTL)
    assert lease is not None
    await work.load(lease)
    await domains.request_renewal(SHOP, samples.now())
    await work.extend(lease, TTL)
    await work.save_status(lease, DomainStatus(DomainState.ACTIVE), samples.now() + timedelta(days=60))
    await work.release(lease)
    assert list(await work.due(samples.now(), 10)) == [SHOP]
    again = await work.acquire(SHOP, "one", TTL)
    assert again is not None
    assert (await work.load(again)).domain.renewal_requested


async def test_status_without_due_time_is_never_due(domains: RedisDomainStore, work: RedisWorkStore) -> None:
    """A saved due time of None takes the domain off the schedule."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    lease = await work.acquire(SHOP, "one", TTL)
    assert lease is not None
    await work.save_status(lease, DomainStatus(DomainState.PAUSED), None)
    await work.release(lease)
    assert None is await work.next_due()
