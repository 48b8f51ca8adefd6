"""The scheduler's lanes: the real worker in virtual time, over attempts that take as long as those at a real CA."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import structlog

from controlplane.core.lane import Lane
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.usecases.order_slots import OrderSlots
from controlplane.usecases.worker import Worker
from tests.fakes import samples
from tests.fakes.scripted_issuance import LIFETIME, ORDER, PREFLIGHT, ScriptedIssuance
from tests.fakes.virtual_time import START, run_virtually, virtual_clock
from tests.fakes.work import InMemoryWork

ALONE = PREFLIGHT + ORDER
"""Seconds that an attempt takes which waits for nothing."""
A_LOOK = 1.0
"""Seconds after which a busy worker has seen what has become due."""


class Fleet:
    """A worker or several over one store, in virtual time."""

    def __init__(self, concurrency: int = 64, orders: int = 16) -> None:
        self.work = InMemoryWork(virtual_clock)
        self.concurrency = concurrency
        self.issuance = ScriptedIssuance(self.work, OrderSlots(orders), virtual_clock)
        self.completed: list[Lane] = []

    @asynccontextmanager
    async def running(self, owner: str = "worker", **options: Any) -> AsyncIterator[Worker]:
        """Runs a worker until the block ends."""
        stop = asyncio.Event()
        worker = Worker(
            work=self.work,
            issuance=self.issuance,  # type: ignore[arg-type]
            feed=self.work,
            clock=virtual_clock,
            owner=owner,
            concurrency=self.concurrency,
            completed=self.completed.append,
            drain_grace=timedelta(0),
            **options,
        )
        task = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await task

    async def onboard(self, *names: str) -> None:
        """Creates domains, as the API does."""
        for name in names:
            await self.work.add(samples.spec(name))

    async def serving(self, name: str, left: timedelta, due_in: float = 0) -> None:
        """Puts a domain on the schedule that serves a certificate with so much time left, to be renewed now or in so many seconds."""
        end = virtual_clock() + left
        status = DomainStatus(DomainState.ACTIVE, issue_time=end - LIFETIME, expire_time=end, renew_time=virtual_clock())
        await self.work.add(samples.spec(name), status)
        self.work._rows[DomainName(name)].due = virtual_clock() + timedelta(seconds=due_in)

    async def until_issued(self, *names: str) -> dict[str, float]:
        """Waits until all names have been issued; returns when, in seconds since the beginning."""
        while not all(name in self.issuance.issued for name in names):
            await asyncio.sleep(0.1)
        return {name: (self.issuance.issued[name] - START).total_seconds() for name in names}


def scenario(function: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Makes a test of a coroutine function that goes on in virtual time."""

    def test() -> None:
        with structlog.testing.capture_logs():
            run_virtually(function())

    test.__doc__, test.__name__ = function.__doc__, function.__name__
    return test


HOPELESS = [f"hopeless{number}.example.com" for number in range(1000)]
GOOD = [f"good{number}.example.com" for number in range(100)]
NEW = [f"new{number}.example.com" for number in range(10_000)]


async def good_ones_after(hopeless: list[str]) -> tuple[float, Fleet]:
    """Onboards a hundred good names two minutes after hopeless ones; returns how many seconds they took, all together."""
    fleet = Fleet()
    async with fleet.running():
        await fleet.onboard(*hopeless)
        await asyncio.sleep(120)
        begun = (virtual_clock() - START).total_seconds()
        await fleet.onboard(*GOOD)
        times = await fleet.until_issued(*GOOD)
    return max(times.values()) - begun, fleet


@scenario
async def test_a_thousand_hopeless_names_do_not_delay_good_ones() -> None:
    """Beside a thousand names that hang for fifteen seconds each, a hundred good ones take a tenth longer at most than alone."""
    alone, _ = await good_ones_after([])
    beside, fleet = await good_ones_after(HOPELESS)
    assert beside <= 1.1 * alone
    # They were there all the time, with all the places that they may have.
    assert (16, 52) == (fleet.issuance.most[Lane.SICK], fleet.issuance.most[Lane.NEW])
    assert len(fleet.issuance.attempts) > 1000 + 100 + 100


@scenario
async def test_hopeless_names_hold_good_ones_up_once_and_briefly() -> None:
    """Good names that are onboarded in the same burst behind a thousand hopeless ones wait three seconds a place for those, once."""
    fleet = Fleet()
    async with fleet.running():
        await fleet.onboard(*HOPELESS, *GOOD)
        times = await fleet.until_issued(*GOOD)
    assert max(times.values()) <= 3 * len(HOPELESS) / 52 + len(GOOD) * ORDER / 13 + 2 * A_LOOK + ALONE


@scenario
async def test_a_burst_of_new_customers_does_not_delay_what_is_urgent() -> None:
    """Ten thousand new names keep the worker busy; a certificate near its end, and a renewal, wait for a look and no longer."""
    fleet = Fleet()
    async with fleet.running():
        await fleet.onboard(*NEW)
        await asyncio.sleep(20)
        due = virtual_clock() + timedelta(seconds=10.5)
        # Nobody announces them: time makes them due.
        await fleet.serving("urgent.example.com", timedelta(days=1), due_in=10.5)
        await fleet.serving("renewal.example.com", timedelta(days=29), due_in=10.5)
        times = await fleet.until_issued("urgent.example.com", "renewal.example.com")
    assert len(fleet.issuance.issued) < len(NEW) / 10
    assert {Lane.URGENT: 1, Lane.RENEWAL: 1} == {lane: fleet.issuance.most[lane] for lane in (Lane.URGENT, Lane.RENEWAL)}
    assert max(times.values()) <= (due - START).total_seconds() + A_LOOK + ALONE + 0.2


@scenario
async def test_renewals_go_on_in_a_burst_of_new_customers() -> None:
    """A thousand renewals beside ten thousand new names get more of the orders than those."""
    fleet = Fleet()
    async with fleet.running():
        await fleet.onboard(*NEW)
        for number in range(1000):
            await fleet.serving(f"renewal{number}.example.com", timedelta(days=29))
        await asyncio.sleep(60)
    renewed = sum(name.startswith("renewal") for name in fleet.issuance.issued)
    assert renewed > len(fleet.issuance.issued) / 2
    assert renewed < len(fleet.issuance.issued)


@scenario
async def test_two_workers_do_nothing_twice() -> None:
    """What one worker has at hand and another has done since is left alone."""
    fleet = Fleet(concurrency=8, orders=100)
    names = NEW[:500]
    await fleet.onboard(*names)
    async with fleet.running("one"), fleet.running("two"), fleet.running("three"):
        await fleet.until_issued(*names)
    assert len(names) == len(fleet.issuance.attempts)
    assert [Lane.NEW] * len(names) == fleet.completed


@scenario
async def test_no_more_is_taken_than_the_ca_has_room_for() -> None:
    """When the CA's limits leave no order, new and sick names wait; renewals and what is urgent do not. Then as many go as fit."""
    fleet = Fleet()
    room = 0

    async def ask() -> int:
        return room

    async with fleet.running(room=ask):
        await fleet.onboard(*GOOD)
        await fleet.serving("urgent.example.com", timedelta(days=1))
        await fleet.serving("renewal.example.com", timedelta(days=29))
        await fleet.until_issued("urgent.example.com", "renewal.example.com")
        await asyncio.sleep(10)
        assert 2 == len(fleet.issuance.issued)
        room = 3
        await asyncio.sleep(5)
        room = 0
        await asyncio.sleep(10)
        assert 3 == fleet.issuance.most[Lane.NEW]
        assert 2 + 3 < len(fleet.issuance.issued) < 2 + 3 * 5
        issued = len(fleet.issuance.issued)
        await asyncio.sleep(10)
    assert issued == len(fleet.issuance.issued)


@scenario
async def test_paused_lane_waits_until_its_time() -> None:
    """Nothing is taken from a paused lane, also of what is asked for just now, until the pause is over or is ended."""
    fleet = Fleet()
    async with fleet.running() as worker:
        worker.pause(Lane.NEW, START + timedelta(seconds=20.5))
        await fleet.onboard("first.example.com")
        await fleet.serving("renewal.example.com", timedelta(days=29))
        times = await fleet.until_issued("first.example.com", "renewal.example.com")
        assert times["renewal.example.com"] <= A_LOOK + ALONE + 1
        assert 20.5 <= times["first.example.com"] - ALONE <= 20.6
        worker.pause(Lane.NEW, virtual_clock() + timedelta(days=1))
        await fleet.onboard("second.example.com")
        await asyncio.sleep(5)
        worker.pause(Lane.NEW, virtual_clock())
        ended = (virtual_clock() - START).total_seconds()
        times = await fleet.until_issued("second.example.com")
    assert ended + ALONE <= times["second.example.com"] <= ended + ALONE + 0.2


@scenario
async def test_what_is_asked_for_in_the_midst_of_an_attempt_follows_it() -> None:
    """A renewal that is asked for while the domain is being worked on begins when that has ended, not at the next look."""
    fleet = Fleet()
    name = DomainName("shop.example.com")
    async with fleet.running():
        await fleet.onboard(name.value)
        await asyncio.sleep(ALONE / 2)
        await fleet.work.request_renewal(name)
        await fleet.until_issued(name.value)
        await asyncio.sleep(0.2)
        assert 2 == len(fleet.issuance.attempts)


@scenario
async def test_quick_attempts_are_not_held_up_by_looks() -> None:
    """A thousand attempts of ten milliseconds do not wait for the second in which a busy worker looks again."""
    fleet = Fleet(orders=100)
    fleet.issuance.preflight, fleet.issuance.order = 0.005, 0.005
    await fleet.onboard(*NEW[:1000])
    async with fleet.running():
        times = await fleet.until_issued(*NEW[:1000])
    assert max(times.values()) < 1


@scenario
async def test_what_finds_no_place_has_the_next_one() -> None:
    """Of two domains that are created at once the second begins when the first, which has the only place, is done."""
    fleet = Fleet(concurrency=1)
    async with fleet.running():
        await asyncio.sleep(0.1)
        await fleet.onboard("first.example.com", "second.example.com")
        times = await fleet.until_issued("first.example.com", "second.example.com")
    assert times["second.example.com"] <= 2 * ALONE + 0.2


@scenario
async def test_name_that_fell_sick_while_it_was_at_hand_waits_with_the_sick() -> None:
    """What has changed lanes since the worker read it gets no place of the lane that it was in."""
    fleet = Fleet(concurrency=4)
    names = HOPELESS[:3]
    async with fleet.running():
        await fleet.onboard(*GOOD[:4], *names)
        # After the worker's last look, and before it has a place.
        await asyncio.sleep(ALONE - 0.1)
        for name in map(DomainName, names):
            lease = await fleet.work.acquire(name, "other", timedelta(seconds=5))
            assert lease is not None
            await fleet.work.save_status(lease, DomainStatus(DomainState.FAILED), virtual_clock(), Lane.SICK)
            await fleet.work.release(lease)
        await asyncio.sleep(200)
    assert {Lane.SICK} == {lane for name, lane in fleet.issuance.attempts if name in names}
    assert 1 == fleet.issuance.most[Lane.SICK]


@scenario
async def test_sick_name_that_somebody_repaired_is_tried_at_once() -> None:
    """A renewal that is asked for takes a name out of the lane of the sick: the feed wakes the worker, the first free place is its."""
    fleet = Fleet()
    name = DomainName("good.example.com")
    async with fleet.running():
        await fleet.onboard(*HOPELESS)
        await asyncio.sleep(100)
        await fleet.work.add(samples.spec(name.value))
        lease = await fleet.work.acquire(name, "test", timedelta(seconds=5))
        assert lease is not None
        await fleet.work.save_status(lease, DomainStatus(DomainState.FAILED), virtual_clock() + timedelta(hours=1), Lane.SICK)
        await fleet.work.release(lease)
        await asyncio.sleep(10)
        assert name.value not in fleet.issuance.issued
        await fleet.work.request_renewal(name)
        asked = (virtual_clock() - START).total_seconds()
        times = await fleet.until_issued(name.value)
    assert times[name.value] <= asked + ALONE + 0.2
    assert (name.value, Lane.NEW) == fleet.issuance.attempts[-1] or (name.value, Lane.NEW) in fleet.issuance.attempts


@pytest.mark.parametrize("concurrency", [1, 2, 5])
def test_few_places_serve_every_lane(concurrency: int) -> None:
    """A worker with hardly any places still works on all lanes."""

    async def main() -> None:
        fleet = Fleet(concurrency, orders=1)
        async with fleet.running():
            await fleet.onboard("new.example.com", "hopeless.example.com")
            await fleet.serving("urgent.example.com", timedelta(days=1))
            await fleet.serving("renewal.example.com", timedelta(days=29))
            await fleet.until_issued("new.example.com", "urgent.example.com", "renewal.example.com")
            while ("hopeless.example.com", Lane.SICK) not in fleet.issuance.attempts:
                await asyncio.sleep(1)

    with structlog.testing.capture_logs():
        run_virtually(main())
