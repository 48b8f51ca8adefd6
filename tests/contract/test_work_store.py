"""The contract of WorkStore: leases, fencing, the schedule."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controlplane.core.errors import LeaseLost
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import Lease
from tests.contract.conftest import TTL, WorkWorld
from tests.fakes import samples

SHOP = DomainName("shop.example.com")


async def leased(world: WorkWorld, owner: str = "one") -> Lease:
    """The lease on the shop."""
    lease = await world.store.acquire(SHOP, owner, TTL)
    assert lease is not None
    return lease


async def test_new_domain_is_due_at_once(world: WorkWorld) -> None:
    """A created domain is due now and is the earliest due."""
    await world.add(samples.spec("shop.example.com"))
    assert [SHOP] == list(await world.store.due(samples.now() + timedelta(seconds=1), 10))
    following = await world.store.next_due()
    assert following is not None
    assert following <= samples.now() + timedelta(seconds=1)


async def test_due_lists_the_longest_due_first_up_to_the_limit(world: WorkWorld) -> None:
    """Domains are listed by due time."""
    for index in range(20):
        name = DomainName(f"d{index}.example.com")
        await world.add(samples.spec(name.value))
        lease = await world.store.acquire(name, "one", TTL)
        assert lease is not None
        await world.store.save_status(lease, DomainStatus(), samples.now() - timedelta(minutes=20 - index))
        await world.store.release(lease)
    assert [f"d{index}.example.com" for index in range(5)] == [str(name) for name in await world.store.due(samples.now(), 5)]


async def test_leased_domain_is_hidden_and_taken_once(world: WorkWorld) -> None:
    """While a lease lasts nobody else gets the domain; released without a save, it is due again with a greater token."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    assert await world.store.acquire(SHOP, "two", TTL) is None
    assert [] == list(await world.store.due(samples.now() + timedelta(seconds=1), 10))
    await world.store.release(lease)
    assert [SHOP] == list(await world.store.due(samples.now() + timedelta(seconds=1), 10))
    assert (await leased(world, "two")).token > lease.token


async def test_lease_is_not_to_be_had_for_a_missing_domain(world: WorkWorld) -> None:
    """A domain that does not exist cannot be leased."""
    assert await world.store.acquire(SHOP, "one", TTL) is None


async def test_expired_lease_loses_every_write(world: WorkWorld) -> None:
    """After another worker took over, each kind of write of the first raises LeaseLost and changes nothing."""
    await world.add(samples.spec("shop.example.com"))
    old = await leased(world)
    await world.store.load(old)
    await world.expire_lease(SHOP)
    new = await leased(world, "two")
    before = await world.store.load(new)
    with pytest.raises(LeaseLost):
        await world.store.save_status(old, DomainStatus(DomainState.FAILED), None)
    with pytest.raises(LeaseLost):
        await world.store.save_order(old, samples.order("shop.example.com"))
    with pytest.raises(LeaseLost):
        await world.store.save_certificate(old, samples.certificate("shop.example.com"), DomainStatus(DomainState.ACTIVE), None)
    with pytest.raises(LeaseLost):
        await world.store.extend(old, TTL)
    with pytest.raises(LeaseLost):
        await world.store.load(old)
    await world.store.release(old)
    assert before == await world.store.load(new)
    assert await world.store.acquire(SHOP, "three", TTL) is None


async def test_deleted_and_recreated_domain_refuses_the_old_lease(world: WorkWorld) -> None:
    """A lease from a domain's former life never writes to its new one."""
    await world.add(samples.spec("shop.example.com"))
    old = await leased(world)
    await world.delete(SHOP)
    with pytest.raises(LeaseLost):
        await world.store.save_status(old, DomainStatus(), None)
    await world.add(samples.spec("shop.example.com"))
    with pytest.raises(LeaseLost):
        await world.store.save_status(old, DomainStatus(), None)
    await leased(world, "two")
    with pytest.raises(LeaseLost):
        await world.store.save_status(old, DomainStatus(), None)


async def test_order_is_kept_and_removed(world: WorkWorld) -> None:
    """A saved order comes back, with the status that was saved beside it; None removes it."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    order = samples.order("shop.example.com")
    await world.store.save_order(lease, order, DomainStatus(current_step="order"))
    loaded = await world.store.load(lease)
    assert (order, "order") == (loaded.order, loaded.domain.status.current_step)
    await world.store.save_order(lease, None)
    assert (await world.store.load(lease)).order is None


async def test_certificate_comes_into_force_in_one_write(world: WorkWorld) -> None:
    """Certificate, status and due time change together, the order goes, and the generation grows."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    await world.store.save_order(lease, samples.order("shop.example.com"))
    due = samples.now() + timedelta(days=60)
    certificate = replace(samples.certificate("shop.example.com"), generation=0)
    first = await world.store.save_certificate(lease, certificate, DomainStatus(DomainState.ACTIVE), due)
    loaded = await world.store.load(lease)
    assert (first, None, DomainState.ACTIVE) == (loaded.certificate, loaded.order, loaded.domain.status.state)
    second = await world.store.save_certificate(lease, samples.certificate("shop.example.com"), DomainStatus(DomainState.ACTIVE), due)
    assert second.generation > first.generation
    await world.store.release(lease)
    assert due == await world.store.next_due()


async def test_renewal_request_wins_over_a_later_due_time(world: WorkWorld) -> None:
    """A renewal that the API asks for while a worker is busy is not lost when that worker saves a far due time."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    await world.store.load(lease)
    await world.request_renewal(SHOP)
    await world.store.extend(lease, TTL)
    await world.store.save_status(lease, DomainStatus(DomainState.ACTIVE), samples.now() + timedelta(days=60))
    await world.store.release(lease)
    assert [SHOP] == list(await world.store.due(samples.now() + timedelta(seconds=1), 10))
    assert (await world.store.load(await leased(world))).domain.renewal_requested


async def test_status_without_due_time_is_never_due(world: WorkWorld) -> None:
    """A saved due time of None takes the domain off the schedule."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    await world.store.save_status(lease, DomainStatus(DomainState.PAUSED), None)
    await world.store.release(lease)
    assert await world.store.next_due() is None
