"""WorkStore on a real Valkey: leases, fencing, the schedule."""

from datetime import timedelta

import pytest
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.record_hmac import RecordHmac
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.core.errors import LeaseLost
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from tests.fakes import samples

TTL = timedelta(seconds=30)
SHOP = DomainName("shop.example.com")


@pytest.fixture
def domains(client: Redis) -> RedisDomainStore:
    """The API's side."""
    return RedisDomainStore(client)


@pytest.fixture
def work(client: Redis, authenticator: RecordHmac) -> RedisWorkStore:
    """The worker's side."""
    return RedisWorkStore(client, authenticator)


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


@pytest.mark.parametrize(("shard", "member"), [(0, b"\xff"), (0, b"*"), (keys.shard_of("ghost.example.com") ^ 1, b"ghost.example.com")])
async def test_entry_that_nobody_can_lease_leaves_the_schedule(
    client: Redis, domains: RedisDomainStore, work: RedisWorkStore, shard: int, member: bytes
) -> None:
    """What cannot be a domain of its shard does not come first for ever: it is removed, and the others are listed."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    await client.zadd(keys.due(shard), {member: 0})
    assert [SHOP] == list(await work.due(samples.now(), 10))
    assert await client.zscore(keys.due(shard), member) is None


async def test_a_worker_with_a_fast_clock_hides_a_domain_no_longer(
    client: Redis, domains: RedisDomainStore, authenticator: RecordHmac
) -> None:
    """The time for which a lease hides a domain is the store's, not the worker's."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    hasty = RedisWorkStore(client, authenticator, lambda: samples.now() + timedelta(days=1))
    assert await hasty.acquire(SHOP, "one", TTL) is not None
    following = await hasty.next_due()
    assert following is not None
    assert following < samples.now() + timedelta(minutes=5)


@pytest.mark.parametrize("saved", [True, False], ids=["renewal-asked-for-meanwhile", "released-without-a-save"])
async def test_due_at_once_is_by_the_stores_clock(client: Redis, domains: RedisDomainStore, authenticator: RecordHmac, saved: bool) -> None:
    """What a worker with a fast clock gives back as due at once is due now, and not when its clock says."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    hasty = RedisWorkStore(client, authenticator, lambda: samples.now() + timedelta(days=1))
    lease = await hasty.acquire(SHOP, "one", TTL)
    assert lease is not None
    await hasty.load(lease)
    if saved:
        await domains.request_renewal(SHOP, samples.now())
        await hasty.save_status(lease, DomainStatus(DomainState.ACTIVE), samples.now() + timedelta(days=60))
    await hasty.release(lease)
    assert [SHOP] == list(await hasty.due(samples.now() + timedelta(seconds=1), 10))
