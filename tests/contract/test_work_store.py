"""The contract of WorkStore: leases, fencing, the schedule."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from controlplane.core.errors import LeaseLost
from controlplane.core.lane import Lane
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import Lease
from tests.contract.conftest import TTL, WorkWorld
from tests.fakes import samples

SHOP = DomainName("shop.example.com")


async def due(world: WorkWorld, lane: Lane = Lane.NEW) -> list[DomainName]:
    """What is due in a lane."""
    return list((await world.store.due(samples.now() + timedelta(seconds=1), {lane: 10})).ready[lane])


async def following(world: WorkWorld) -> datetime | None:
    """When something is due next."""
    return (await world.store.due(samples.now() + timedelta(seconds=1), dict.fromkeys(Lane, 10))).next_due_time


async def leased(world: WorkWorld, owner: str = "one") -> Lease:
    """The lease on the shop."""
    lease = await world.store.acquire(SHOP, owner, TTL)
    assert lease is not None
    return lease


async def test_new_domain_is_due_at_once(world: WorkWorld) -> None:
    """A created domain is due now, among the new ones and in no other lane."""
    await world.add(samples.spec("shop.example.com"))
    looked = await world.store.due(samples.now() + timedelta(seconds=1), dict.fromkeys(Lane, 10))
    assert {Lane.URGENT: [], Lane.RENEWAL: [], Lane.NEW: [SHOP], Lane.SICK: []} == looked.ready
    assert looked.next_due_time is None


async def test_due_lists_the_longest_due_first_up_to_the_limit(world: WorkWorld) -> None:
    """Domains are listed by due time."""
    for index in range(20):
        name = DomainName(f"d{index}.example.com")
        await world.add(samples.spec(name.value))
        lease = await world.store.acquire(name, "one", TTL)
        assert lease is not None
        await world.store.save_status(lease, DomainStatus(), samples.now() - timedelta(minutes=20 - index))
        await world.store.release(lease)
    looked = await world.store.due(samples.now(), {Lane.NEW: 5})
    assert [f"d{index}.example.com" for index in range(5)] == [str(name) for name in looked.ready[Lane.NEW]]


async def test_leased_domain_is_hidden_and_taken_once(world: WorkWorld) -> None:
    """While a lease lasts nobody else gets the domain; released without a save, it is due again with a greater token."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    assert await world.store.acquire(SHOP, "two", TTL) is None
    assert [] == await due(world)
    await world.store.release(lease)
    assert [SHOP] == await due(world)
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
    end = samples.now() + timedelta(days=60)
    certificate = replace(samples.certificate("shop.example.com"), generation=0)
    first = await world.store.save_certificate(lease, certificate, DomainStatus(DomainState.ACTIVE), end)
    loaded = await world.store.load(lease)
    assert (first, None, DomainState.ACTIVE) == (loaded.certificate, loaded.order, loaded.domain.status.state)
    second = await world.store.save_certificate(lease, samples.certificate("shop.example.com"), DomainStatus(DomainState.ACTIVE), end)
    assert second.generation > first.generation
    await world.store.release(lease)
    assert end == await following(world)


async def test_renewal_request_wins_over_a_later_due_time(world: WorkWorld) -> None:
    """A renewal that the API asks for while a worker is busy is not lost when that worker saves a far due time."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    await world.store.load(lease)
    await world.request_renewal(SHOP)
    await world.store.extend(lease, TTL)
    await world.store.save_status(lease, DomainStatus(DomainState.ACTIVE), samples.now() + timedelta(days=60))
    await world.store.release(lease)
    assert [SHOP] == await due(world)
    assert (await world.store.load(await leased(world))).domain.renewal_requested


async def test_status_without_due_time_is_never_due(world: WorkWorld) -> None:
    """A saved due time of None takes the domain off the schedule."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    await world.store.save_status(lease, DomainStatus(DomainState.PAUSED), None)
    await world.store.release(lease)
    assert (await due(world), None) == ([], await following(world))


@pytest.mark.parametrize("lane", list(Lane))
async def test_saved_lane_is_where_the_domain_waits(world: WorkWorld, lane: Lane) -> None:
    """A domain waits in the lane that was saved, in no other, and its next lease says so."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    await world.store.save_status(lease, DomainStatus(), samples.now(), lane)
    await world.store.release(lease)
    looked = await world.store.due(samples.now() + timedelta(seconds=1), dict.fromkeys(Lane, 10))
    assert {each: [SHOP] if each is lane else [] for each in Lane} == looked.ready
    assert lane is (await leased(world)).lane


async def test_lane_stays_where_none_is_saved(world: WorkWorld) -> None:
    """A status saved without a lane leaves the domain in its lane, through leases that are prolonged and given back."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    await world.store.save_status(lease, DomainStatus(), samples.now(), Lane.SICK)
    await world.store.save_status(lease, DomainStatus(), samples.now())
    await world.store.extend(lease, TTL)
    await world.store.release(lease)
    # Prolonging has not put off what was saved.
    assert [SHOP] == await due(world, Lane.SICK)
    again = await leased(world)
    await world.store.release(again)
    assert ([], [SHOP]) == (await due(world), await due(world, Lane.SICK))


async def test_certificate_in_force_waits_for_its_renewal(world: WorkWorld) -> None:
    """A new domain leaves its lane with its first certificate."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    await world.store.save_certificate(lease, samples.certificate("shop.example.com"), DomainStatus(DomainState.ACTIVE), samples.now())
    await world.store.release(lease)
    assert ([], [SHOP]) == (await due(world), await due(world, Lane.RENEWAL))


async def test_renewal_that_a_person_asks_for_leaves_the_sick(world: WorkWorld) -> None:
    """A request moves a sick domain to the new ones, also when a worker saves another lane meanwhile."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    await world.store.load(lease)
    await world.store.save_status(lease, DomainStatus(DomainState.FAILED), samples.now(), Lane.SICK)
    await world.request_renewal(SHOP)
    await world.store.save_status(lease, DomainStatus(DomainState.FAILED), samples.now() + timedelta(days=1), Lane.SICK)
    await world.store.release(lease)
    assert ([SHOP], []) == (await due(world), await due(world, Lane.SICK))


async def test_deleted_domain_leaves_its_lane(world: WorkWorld) -> None:
    """Nothing of a deleted domain is due, whatever lane it was in."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    await world.store.save_status(lease, DomainStatus(), samples.now(), Lane.SICK)
    await world.store.release(lease)
    await world.delete(SHOP)
    assert [] == await due(world, Lane.SICK)


async def test_look_tells_when_the_next_is_due(world: WorkWorld) -> None:
    """A look counts only the lanes that it asks for, and tells the earliest due time that is still to come in them."""
    soon = samples.now() + timedelta(minutes=5)
    for name, wait, lane in (("shop", timedelta(), Lane.RENEWAL), ("cafe", timedelta(minutes=5), Lane.NEW)):
        await world.add(samples.spec(f"{name}.example.com"))
        lease = await world.store.acquire(DomainName(f"{name}.example.com"), "one", TTL)
        assert lease is not None
        await world.store.save_status(lease, DomainStatus(), soon + wait, lane)
        await world.store.release(lease)
    assert soon == (await world.store.due(samples.now(), {Lane.NEW: 10, Lane.RENEWAL: 10})).next_due_time
    assert soon + timedelta(minutes=5) == (await world.store.due(samples.now(), {Lane.NEW: 10})).next_due_time


async def test_lease_is_refused_to_who_looked_before_another_had_done_it(world: WorkWorld) -> None:
    """A worker that comes late to a domain which another has dealt with since does not get it, until it is due again."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    await world.store.save_status(lease, DomainStatus(), samples.now() + timedelta(minutes=1))
    await world.store.release(lease)
    assert await world.store.acquire(SHOP, "two", TTL, due_by=samples.now()) is None
    late = await world.store.acquire(SHOP, "two", TTL, due_by=samples.now() + timedelta(minutes=2))
    assert late is not None


async def test_backlog_counts_what_waits(world: WorkWorld) -> None:
    """Each lane tells how many are due, since when the oldest is, and how many will be within an hour; leased ones are not due."""
    now = samples.now()
    waits = {"a": -30, "b": -10, "c": 40, "d": 90, "e": 0}
    for name, minutes in waits.items():
        await world.add(samples.spec(f"{name}.example.com"))
        lease = await world.store.acquire(DomainName(f"{name}.example.com"), "one", TTL)
        assert lease is not None
        if name != "e":
            await world.store.save_status(lease, DomainStatus(), now + timedelta(minutes=minutes), Lane.RENEWAL)
            await world.store.release(lease)
    renewals = (await world.lanes.backlog(now))[Lane.RENEWAL]
    assert (2, now - timedelta(minutes=30), 3) == (renewals.due, renewals.oldest_due_time, renewals.due_soon)
    assert timedelta(minutes=30) == renewals.oldest_wait(now)
    new = (await world.lanes.backlog(now))[Lane.NEW]
    assert (0, None, timedelta()) == (new.due, new.oldest_due_time, new.oldest_wait(now))


async def test_backlog_estimates_the_wait_from_what_ended_lately(world: WorkWorld) -> None:
    """What all workers completed in the last ten minutes tells how long what is due takes; nothing completed tells nothing."""
    now = samples.now().replace(second=30, microsecond=0)
    for name in ("a", "b", "c"):
        await world.add(samples.spec(f"{name}.example.com"))
    assert (await world.lanes.backlog(now + timedelta(days=1)))[Lane.NEW].estimated_wait is None
    await world.lanes.add_completed(now, {Lane.NEW: 2, Lane.SICK: 1})
    await world.lanes.add_completed(now + timedelta(minutes=1), {Lane.NEW: 4})
    later = now + timedelta(minutes=5, seconds=30)
    found = await world.lanes.backlog(later)
    assert (6, timedelta(minutes=6)) == (found[Lane.NEW].completed, found[Lane.NEW].observed)
    assert timedelta(minutes=3) == found[Lane.NEW].estimated_wait
    assert timedelta() == found[Lane.RENEWAL].estimated_wait
    assert (await world.lanes.backlog(now + timedelta(minutes=30)))[Lane.NEW].completed == 0


@pytest.mark.parametrize(
    ("lane", "due_in", "left", "expected"),
    [
        (Lane.RENEWAL, -1, 5, Lane.URGENT),
        (Lane.NEW, -1, 5, Lane.URGENT),
        (Lane.SICK, -1, 5, Lane.SICK),
        (Lane.RENEWAL, 1, 5, Lane.RENEWAL),
        (Lane.RENEWAL, -1, 50, Lane.RENEWAL),
        (Lane.RENEWAL, -1, -1, Lane.RENEWAL),
    ],
)
async def test_what_waits_too_long_becomes_urgent(world: WorkWorld, lane: Lane, due_in: int, left: int, expected: Lane) -> None:
    """Of those that are due, those whose certificate ends within a day leave the lanes in which others may be before them; not the sick."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    now = samples.now()
    certificate = replace(samples.certificate("shop.example.com"), not_after=now + timedelta(hours=left))
    await world.store.save_certificate(lease, certificate, DomainStatus(DomainState.ACTIVE), now + timedelta(hours=due_in), lane)
    await world.store.release(lease)
    assert int(expected is not lane) == await world.lanes.promote(now, now + timedelta(hours=24))
    assert expected is (await leased(world)).lane


async def test_a_write_that_is_not_told_keeps_the_etag(world: WorkWorld) -> None:
    """Status, due time and lane are written, and nobody who read the domain before is refused for it."""
    await world.add(samples.spec("shop.example.com"))
    lease = await leased(world)
    before = (await world.store.load(lease)).domain
    status = DomainStatus(checked_time=samples.now())
    await world.store.save_status(lease, status, samples.now() - timedelta(minutes=1), Lane.RENEWAL, publish=False)
    after = (await world.store.load(lease)).domain
    assert (status, before.etag) == (after.status, after.etag)
    await world.store.release(lease)
    assert [SHOP] == await due(world, Lane.RENEWAL)
    again = await leased(world, "two")
    await world.store.save_status(again, status, None)
    assert before.etag != (await world.store.load(again)).domain.etag
