"""What is kept in view of the lanes."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from controlplane.core.errors import Unavailable
from controlplane.core.lane import Lane
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.usecases.lane_watch import LaneWatch
from tests.fakes import samples
from tests.fakes.virtual_time import START
from tests.fakes.work import InMemoryWork


class Clock:
    """The time, which goes on when it is told to."""

    now = START

    def __call__(self):
        """Returns it."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def work(clock: Clock) -> InMemoryWork:
    return InMemoryWork(clock)


def gauge(name: str, lane: Lane) -> float | None:
    """A gauge of a lane."""
    return REGISTRY.get_sample_value(f"certplane_lane_{name}", {"lane": lane})


async def test_gauges_show_each_lane(clock: Clock, work: InMemoryWork) -> None:
    """Due, oldest wait and estimated wait are there by lane; without anything completed the wait is not known."""
    for number in range(6):
        await work.add(samples.spec(f"shop{number}.example.com"))
    watch = LaneWatch(work, clock)
    clock.now += timedelta(minutes=2)
    await watch.check()
    assert [6, 6, 120, float("inf")] == [gauge(name, Lane.NEW) for name in ("due", "due_within_hour", "oldest_wait_seconds", "eta_seconds")]
    assert [0, 0, 0, 0] == [gauge(name, Lane.SICK) for name in ("due", "due_within_hour", "oldest_wait_seconds", "eta_seconds")]
    for _ in range(3):
        watch.completed(Lane.NEW)
    watch.completed(Lane.SICK)
    await watch.check()
    clock.now += timedelta(minutes=1)
    await watch.check()
    assert [(START + timedelta(minutes=2), Lane.NEW, 3), (START + timedelta(minutes=2), Lane.SICK, 1)] == work.completed
    assert 120 == gauge("eta_seconds", Lane.NEW)


async def test_what_ended_is_not_lost_while_the_store_is_away(clock: Clock, work: InMemoryWork) -> None:
    """What could not be added is added the next time, once."""
    watch = LaneWatch(work, clock)
    watch.completed(Lane.URGENT)
    work.away = True
    with pytest.raises(Unavailable):
        await watch.check()
    work.away = False
    await watch.check()
    await watch.check()
    assert [(START, Lane.URGENT, 1)] == work.completed


async def test_waiting_renewal_whose_certificate_runs_out_becomes_urgent(clock: Clock, work: InMemoryWork) -> None:
    """A renewal that has been waiting until a day before the end is moved before the others."""
    end = START + timedelta(days=2)
    status = DomainStatus(DomainState.ACTIVE, issue_time=START - timedelta(days=12), expire_time=end)
    await work.add(samples.spec("shop.example.com"), status, replace(samples.certificate("shop.example.com"), not_after=end))
    watch = LaneWatch(work, clock)
    await watch.check()
    assert Lane.RENEWAL is work.lane_of(DomainName("shop.example.com"))
    clock.now += timedelta(hours=25)
    await watch.check()
    assert (Lane.URGENT, 1) == (work.lane_of(DomainName("shop.example.com")), gauge("due", Lane.URGENT))


async def test_watch_outlives_an_absent_store(clock: Clock, work: InMemoryWork) -> None:
    """The loop goes on when the store is back."""
    work.away = True
    watch = LaneWatch(work, clock, interval=timedelta(seconds=0.01))
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(0.05)
    watch.completed(Lane.NEW)
    work.away = False
    async with asyncio.timeout(5):
        while not work.completed:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
