"""A key retires only when nothing can need it any more: not what is stored, not what a worker has in hand and has not stored yet."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.key_generation import KeyKind, add_record_key, generate_role_directories
from controlplane.adapters.key_phases import apply_phases
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.adapters.redis_work_under_way import RedisWorkUnderWay
from controlplane.app.rotation import RotationSettings, reseal, retire
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.errors import FailedPrecondition, LeaseLost
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.order import OrderRecord
from controlplane.core.ports import Lease, TokenRecord
from controlplane.core.redacted import SecretBytes
from controlplane.core.rotation import activation_changes
from controlplane.core.sealing import KeyClass
from controlplane.usecases.reseal import Tally, take_census
from controlplane.usecases.retirement import until_work_is_over
from tests.fakes import samples
from tests.integration.test_reseal import World, certificate

SHOP = "shop.example.com"
TTL = timedelta(seconds=30)


@pytest.fixture
async def world(valkey_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """An empty store and a new installation's keys."""
    generate_role_directories(tmp_path / "serve", tmp_path / "worker", KeyKind(), samples.now())
    client = connect(valkey_url)
    yield World(client, tmp_path / "serve", tmp_path / "worker")
    await client.aclose()


def settings(world: World, url: str) -> RotationSettings:
    """What an operator names who has both directories."""
    return RotationSettings([world.serve_dir, world.worker_dir], url)


def work(world: World) -> RedisWorkStore:
    """The store as a worker writes to it that has not read its key directory again."""
    return RedisWorkStore(world.client, world.worker().authenticator())


async def lease_on(world: World, store: RedisWorkStore, ttl: timedelta = TTL) -> Lease:
    """A new domain in a worker's hands."""
    await RedisDomainStore(world.client).create(samples.spec(SHOP), DomainStatus())
    lease = await store.acquire(DomainName(SHOP), "worker", ttl)
    assert lease is not None
    await store.load(lease)
    return lease


def order_of(world: World) -> OrderRecord:
    """An order whose leaf key is sealed to the ACTIVE key of now."""
    key = make_leaf_key((SHOP,))
    sealed = world.worker().sealer().seal(key.private_key, leaf_seal_context(key.spki_digest, (SHOP,)))
    return replace(samples.order(SHOP), csr=key.csr, sealed_leaf_key=sealed)


def leaf_key_id(world: World) -> str:
    """The leaf key of a new installation."""
    (key,) = world.serve().inventory.private
    return key.key_id


async def reseal_leaf_keys(world: World, url: str) -> Tally:
    """The command's work, as fast as it goes."""
    tally, _, _ = await reseal(RotationSettings([world.serve_dir], url), KeyClass.LEAF, 1e6, lambda _: None)
    return tally


async def test_an_order_in_hand_is_left_to_its_worker(world: World) -> None:
    """A worker writes an order back as it read it, so a reseal leaves it, counts it, and the key that it needs does not retire."""
    old, store = leaf_key_id(world), work(world)
    lease = await lease_on(world, store)
    await store.save_order(lease, order_of(world))
    new = world.rotate()
    tally = await world.job().run()
    assert (0, 1, {old: 1}) == (tally.resealed, tally.changed_meanwhile, dict((await take_census(world.envelopes())).recipients))
    await store.release(lease)
    tally = await world.job().run()
    assert (1, {new: 1}) == (tally.resealed, dict((await take_census(world.envelopes())).recipients))


async def test_a_worker_that_lost_its_lease_brings_nothing_old_back(world: World) -> None:
    """Once its order was sealed anew, a worker whose lease had run out unnoticed can store nothing of what it has in memory."""
    store = work(world)
    lease = await lease_on(world, store, timedelta(milliseconds=1))
    order = order_of(world)
    await store.save_order(lease, order)
    new = world.rotate()
    while await world.client.exists(keys.lease(SHOP)):
        await asyncio.sleep(0.001)
    assert 1 == (await world.job().run()).resealed
    stale = replace(certificate(SHOP, world.worker().sealer()), sealed_leaf_key=order.sealed_leaf_key)
    with pytest.raises(LeaseLost):
        await store.save_certificate(lease, stale, DomainStatus(DomainState.ACTIVE), None)
    with pytest.raises(LeaseLost):
        await store.save_order(lease, order)
    assert {new: 1} == dict((await take_census(world.envelopes())).recipients)
    successor = await store.acquire(DomainName(SHOP), "other", TTL)
    assert successor is not None
    found = (await store.load(successor)).order
    assert found is not None
    assert (new, order.csr) == (found.sealed_leaf_key.recipient_key_id, found.csr)


async def test_retirement_waits_for_what_was_begun_before(world: World, valkey_url: str) -> None:
    """A leaf key that a worker sealed before the rotation and stores after it is found in the store, and its key does not retire."""
    old, store = leaf_key_id(world), work(world)
    lease = await lease_on(world, store)
    in_memory = certificate(SHOP, world.worker().sealer())
    world.rotate()
    retiring = asyncio.create_task(retire(settings(world, valkey_url), old, delete=True))
    under_way = RedisWorkUnderWay(world.client, world.serve().authenticator())
    await asyncio.sleep(0.5)
    assert not retiring.done()
    await store.save_certificate(lease, in_memory, DomainStatus(DomainState.ACTIVE), None)
    await store.release(lease)
    with pytest.raises(FailedPrecondition, match="1 stored records still refer to the key"):
        await retiring
    assert {} == await under_way.leases()
    assert 1 == (await reseal_leaf_keys(world, valkey_url)).resealed
    assert 2 == len(await retire(settings(world, valkey_url), old, delete=True))
    assert await world.opened(SHOP)


async def test_new_work_is_not_waited_for(world: World) -> None:
    """Only leases of the moment count: one that is taken later, on the same domain too, seals to the new key; one that stays is named."""
    store, under_way = work(world), RedisWorkUnderWay(world.client, world.serve().authenticator())
    lease = await lease_on(world, store)
    with pytest.raises(FailedPrecondition, match=r"at 1 domains since before this began \(shop\.example\.com\)"):
        await until_work_is_over(under_way, patience=0)

    async def hand_over(_: float) -> None:
        await store.release(lease)
        assert await store.acquire(DomainName(SHOP), "other", TTL) is not None

    await until_work_is_over(under_way, patience=0.001, monotonic=lambda: 0.0, pause=hand_over)
    assert 1 == len(await under_way.leases())


async def test_a_record_key_stays_while_a_token_needs_it(world: World, valkey_url: str) -> None:
    """A token that was planted under the old record key would answer no challenge without it."""
    (old,) = [key.key_id for key in world.serve().inventory.record]
    tokens = RedisTokenStore(world.client, world.worker().authenticator())
    await tokens.plant(TokenRecord("tok", SecretBytes(b"tok.thumb"), (SHOP,), datetime.now(UTC) + timedelta(minutes=5)))
    await world.client.set(keys.token("junk"), b"\xff\xff")
    await world.client.lpush(keys.token("list"), "x")
    (path, _) = add_record_key((world.serve_dir, world.worker_dir), samples.now())
    new = path.name.split("-")[1].split(".")[0]
    inventories = [world.serve().inventory, world.worker().inventory]
    for loaded in (world.serve(), world.worker()):
        apply_phases(loaded, activation_changes(inventories, new))
    with pytest.raises(FailedPrecondition, match="1 stored records still refer to the key"):
        await retire(settings(world, valkey_url), old, delete=False)
    await tokens.withdraw(["tok"])
    assert 2 == len(await retire(settings(world, valkey_url), old, delete=False))


async def test_what_cannot_be_read_is_not_called_a_reference(world: World, valkey_url: str) -> None:
    """A damaged record stops a retirement, and the text says what it is and what names it."""
    old = leaf_key_id(world)
    await world.add(SHOP)
    world.rotate()
    await reseal_leaf_keys(world, valkey_url)
    await world.client.hset(keys.domain(SHOP), "previous", b"\x00damaged")
    with pytest.raises(FailedPrecondition, match=r"1 stored records cannot be read.*`certplane keys reseal` names them"):
        await retire(settings(world, valkey_url), old, delete=True)
