"""WorkStore on a real Valkey: leases, fencing, the schedule."""

from datetime import timedelta

import pytest
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.record_hmac import RecordHmac
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.core.errors import LeaseLost
from controlplane.core.lane import Lane
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
    assert due == (await work.due(samples.now(), dict.fromkeys(Lane, 10))).next_due_time
    loaded = await work.load(lease)
    assert (first, None, DomainState.ACTIVE) == (loaded.certificate, loaded.order, loaded.domain.status.state)
    second = await work.save_certificate(lease, samples.certificate("shop.example.com"), DomainStatus(DomainState.ACTIVE), due)
    assert second.generation > first.generation
    fields = await client.hkeys(keys.domain("shop.example.com"))
    assert b"previous" in fields
    await work.release(lease)
    assert due == (await work.due(samples.now(), dict.fromkeys(Lane, 10))).next_due_time


@pytest.mark.parametrize(("shard", "member"), [(0, b"\xff"), (0, b"*"), (keys.shard_of("ghost.example.com") ^ 1, b"ghost.example.com")])
async def test_entry_that_nobody_can_lease_leaves_the_schedule(
    client: Redis, domains: RedisDomainStore, work: RedisWorkStore, shard: int, member: bytes
) -> None:
    """What cannot be a domain of its shard does not come first for ever: it is removed, and the others are listed."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    await client.zadd(keys.due(shard, Lane.NEW), {member: 0})
    assert [SHOP] == list((await work.due(samples.now(), {Lane.NEW: 10})).ready[Lane.NEW])
    assert await client.zscore(keys.due(shard, Lane.NEW), member) is None


async def test_a_worker_with_a_fast_clock_hides_a_domain_no_longer(
    client: Redis, domains: RedisDomainStore, authenticator: RecordHmac
) -> None:
    """The time for which a lease hides a domain is the store's, not the worker's."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    hasty = RedisWorkStore(client, authenticator, lambda: samples.now() + timedelta(days=1))
    assert await hasty.acquire(SHOP, "one", TTL) is not None
    following = (await hasty.due(samples.now(), {Lane.NEW: 10})).next_due_time
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
    assert [SHOP] == list((await hasty.due(samples.now() + timedelta(seconds=1), {Lane.NEW: 10})).ready[Lane.NEW])


async def test_schedule_from_before_there_were_lanes_is_worked_on(client: Redis, domains: RedisDomainStore, work: RedisWorkStore) -> None:
    """What an older version has put on the schedule, or still does, is taken as a renewal, and finds its lane at the first attempt."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    shard = keys.shard_of("shop.example.com")
    # As an older version writes it: no lane, and one set for all.
    await client.hdel(keys.domain("shop.example.com"), "lane")
    await client.zrem(keys.due(shard, Lane.NEW), "shop.example.com")
    await client.zadd(f"cp:{{s{shard:02x}}}:due", {"shop.example.com": 1})
    assert [SHOP] == list((await work.due(samples.now(), dict.fromkeys(Lane, 10))).ready[Lane.RENEWAL])
    lease = await work.acquire(SHOP, "one", TTL, due_by=samples.now())
    assert lease is not None
    assert Lane.RENEWAL is lease.lane
    await work.save_status(lease, DomainStatus(DomainState.FAILED), samples.now(), Lane.SICK)
    await work.release(lease)
    assert [SHOP] == list((await work.due(samples.now(), dict.fromkeys(Lane, 10))).ready[Lane.SICK])
    # An older worker takes it and puts it off: it knows nothing of the lane.
    await client.zadd(keys.due(shard), {"shop.example.com": 2})
    again = await work.acquire(SHOP, "one", TTL, due_by=samples.now())
    assert again is not None
    assert [0, 0, 0, 1] == [await client.zcard(keys.due(shard, lane)) for lane in Lane]


async def test_lane_that_nobody_knows_is_taken_for_that_of_renewals(client: Redis, domains: RedisDomainStore, work: RedisWorkStore) -> None:
    """A lane that somebody wrote into the store does not take the domain off the schedule."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    await client.hset(keys.domain("shop.example.com"), "lane", "nowhere")
    lease = await work.acquire(SHOP, "one", TTL)
    assert lease is not None
    await work.release(lease)
    assert [SHOP] == list((await work.due(samples.now() + timedelta(seconds=1), dict.fromkeys(Lane, 10))).ready[Lane.RENEWAL])


async def test_domain_at_rest_takes_no_field_for_its_lane(client: Redis, domains: RedisDomainStore, work: RedisWorkStore) -> None:
    """A million domains that wait for their renewal say nothing of it."""
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    lease = await work.acquire(SHOP, "one", TTL)
    assert lease is not None
    await work.save_certificate(lease, samples.certificate("shop.example.com"), DomainStatus(DomainState.ACTIVE), samples.now())
    await work.release(lease)
    assert None is await client.hget(keys.domain("shop.example.com"), "lane")


@pytest.mark.parametrize("wanted", [1, 3, 5, 40, 100])
async def test_look_is_in_order_however_the_names_fall_into_shards(client: Redis, work: RedisWorkStore, wanted: int) -> None:
    """The longest due come first even when most of them are in one shard."""
    crowded = [name for name in (f"d{number}.example.com" for number in range(20_000)) if keys.shard_of(name) == 7][:60]
    others = [name for name in (f"e{number}.example.com" for number in range(100)) if keys.shard_of(name) != 7][:20]
    names = [name for pair in zip(crowded[:20], others, strict=True) for name in pair] + crowded[20:]
    for position, name in enumerate(names):
        await client.zadd(keys.due(keys.shard_of(name), Lane.SICK), {name: 1_000 + position})
    looked = (await work.due(samples.now(), {Lane.SICK: wanted})).ready[Lane.SICK]
    assert names[:wanted] == [name.value for name in looked]


async def test_replacement_makes_due_when_it_begins_and_never_later(domains: RedisDomainStore, work: RedisWorkStore) -> None:
    """A replacement for next week leaves a domain due now as it is, and one at rest is due when it begins, as a renewal."""
    begin = samples.now() + timedelta(days=7)
    await domains.create(samples.spec("shop.example.com"), DomainStatus())
    await domains.request_renewal(SHOP, samples.now(), begin, replacement="mass")
    now = samples.now() + timedelta(seconds=1)
    assert [SHOP] == [name for names in (await work.due(now, dict.fromkeys(Lane, 10))).ready.values() for name in names]
    lease = await work.acquire(SHOP, "one", TTL)
    assert lease is not None
    await work.load(lease)
    await work.save_status(lease, DomainStatus(expire_time=now + timedelta(days=90)), begin + timedelta(days=30), Lane.RENEWAL)
    await work.release(lease)
    await domains.request_renewal(SHOP, samples.now(), begin, replacement="another")
    looked = await work.due(now, dict.fromkeys(Lane, 10))
    assert ([], begin) == ([name for names in looked.ready.values() for name in names], looked.next_due_time)
