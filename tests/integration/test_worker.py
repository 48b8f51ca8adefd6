"""The scheduler loop over the store in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from controlplane.core.errors import LeaseLost, Unavailable
from controlplane.core.lane import Lane
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import Lease
from controlplane.usecases import worker as worker_module
from controlplane.usecases.issuance_metrics import Outcome
from controlplane.usecases.worker import Worker
from tests.fakes import samples
from tests.fakes.work import InMemoryWork

DEADLINE = 10.0


class HeldIssuance:
    """Stands for an issuance that takes as long as the test wants: it ends when `go` is set, and then is due no more."""

    def __init__(self, work: InMemoryWork) -> None:
        self.work = work
        self.go = asyncio.Event()
        self.running: set[str] = set()
        self.most_running = 0
        self.done: list[str] = []
        self.cancelled: list[str] = []
        self.lost: list[str] = []
        self.error: Exception | None = None

    async def carry_out(self, lease: Lease) -> Outcome:
        """See `Issuance.carry_out`."""
        name = lease.name.value
        if self.error is not None:
            raise self.error
        await self.work.load(lease)
        self.running.add(name)
        self.most_running = max(self.most_running, len(self.running))
        try:
            await self.go.wait()
            await self.work.save_status(lease, DomainStatus(state=DomainState.ACTIVE), None)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        except LeaseLost:
            self.lost.append(name)
            raise
        finally:
            self.running.discard(name)
        self.done.append(name)
        return Outcome.ISSUED


async def eventually(condition: Callable[[], bool]) -> None:
    """Waits until the condition holds; fails after the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    work: InMemoryWork, issuance: HeldIssuance, *, owner: str = "worker", ttl: float = 60, grace: float = 5, concurrency: int = 16
) -> AsyncIterator[asyncio.Event]:
    """Runs a worker until the block ends, then stops it."""
    stop = asyncio.Event()
    worker = Worker(
        work=work,
        issuance=issuance,  # type: ignore[arg-type]
        feed=work,
        clock=work.clock,
        owner=owner,
        concurrency=concurrency,
        lease_ttl=timedelta(seconds=ttl),
        drain_grace=timedelta(seconds=grace),
    )
    task = asyncio.create_task(worker.run(stop))
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(DEADLINE):
            await task


@pytest.fixture
def work() -> InMemoryWork:
    return InMemoryWork()


@pytest.fixture
def issuance(work: InMemoryWork) -> HeldIssuance:
    return HeldIssuance(work)


async def test_due_domains_are_worked_on_a_few_at_a_time(work: InMemoryWork, issuance: HeldIssuance) -> None:
    """Ten due domains are all done, never more at once than the concurrency, and every lease is given back."""
    names = [f"shop{number}.example.com" for number in range(10)]
    for name in names:
        await work.add(samples.spec(name))
    async with running(work, issuance, concurrency=3):
        await eventually(lambda: len(issuance.running) == 3)
        issuance.go.set()
        await eventually(lambda: len(issuance.done) == 10)
    assert names == sorted(issuance.done)
    assert 3 == issuance.most_running
    assert [] == [name for name in names if work.leased(DomainName(name))]


async def test_a_new_domain_wakes_the_worker(work: InMemoryWork, issuance: HeldIssuance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The feed, not the clock, brings a new domain to a worker that has nothing to do."""
    monkeypatch.setattr(worker_module, "_LONGEST_IDLE", 1000.0)
    issuance.go.set()
    async with running(work, issuance):
        await eventually(lambda: work.looks > 0)
        await work.add(samples.spec("shop.example.com"))
        await eventually(lambda: issuance.done == ["shop.example.com"])
        await work.request_renewal(DomainName("shop.example.com"))
        await eventually(lambda: issuance.done == 2 * ["shop.example.com"])


async def test_the_next_due_time_wakes_the_worker(work: InMemoryWork, issuance: HeldIssuance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain that is due soon is taken then, without any change that says so."""
    monkeypatch.setattr(worker_module, "_LONGEST_IDLE", 1000.0)
    issuance.go.set()
    name = DomainName("shop.example.com")
    await work.add(samples.spec(name.value))
    work._rows[name].due = work.clock() + timedelta(seconds=0.2)
    async with running(work, issuance):
        await eventually(lambda: issuance.done == [name.value])


async def test_two_workers_never_share_a_domain(work: InMemoryWork, issuance: HeldIssuance) -> None:
    """Two workers on one store take each domain once."""
    for number in range(20):
        await work.add(samples.spec(f"shop{number}.example.com"))
    issuance.go.set()
    async with running(work, issuance, owner="one", concurrency=4), running(work, issuance, owner="two", concurrency=4):
        await eventually(lambda: len(issuance.done) >= 20)
    assert 20 == len(set(issuance.done)) == len(issuance.done)


async def test_a_lease_is_prolonged_while_work_goes_on(work: InMemoryWork, issuance: HeldIssuance) -> None:
    """Work that takes several times the lease's time to live is not taken away."""
    name = DomainName("shop.example.com")
    await work.add(samples.spec(name.value))
    started = work.clock()
    async with running(work, issuance, ttl=0.3):
        await eventually(lambda: work.clock() - started > timedelta(seconds=1))
        assert work.leased(name)
        issuance.go.set()
        await eventually(lambda: issuance.done == [name.value])
    assert 1 == len(work.acquired)


async def test_a_lost_lease_ends_the_work(work: InMemoryWork, issuance: HeldIssuance) -> None:
    """Work whose lease somebody else has taken is cancelled when the lease is to be prolonged, and others go on."""
    stolen = DomainName("stolen.example.com")
    await work.add(samples.spec(stolen.value))
    async with running(work, issuance, ttl=0.3):
        await eventually(lambda: issuance.running == {stolen.value})
        work.steal(stolen)
        await eventually(lambda: issuance.cancelled == [stolen.value])
        issuance.go.set()
        await work.add(samples.spec("shop.example.com"))
        await eventually(lambda: issuance.done == ["shop.example.com"])
    assert work.leased(stolen)


async def test_a_deleted_domain_ends_quietly(work: InMemoryWork, issuance: HeldIssuance) -> None:
    """A domain that is deleted during the work loses its lease, and the worker goes on."""
    gone = DomainName("gone.example.com")
    await work.add(samples.spec(gone.value))
    async with running(work, issuance):
        await eventually(lambda: issuance.running == {gone.value})
        await work.delete(gone)
        issuance.go.set()
        await eventually(lambda: issuance.lost == [gone.value])
        await work.add(samples.spec("shop.example.com"))
        await eventually(lambda: issuance.done == ["shop.example.com"])


async def test_work_on_a_deleted_domain_ends_at_its_own_write(work: InMemoryWork, issuance: HeldIssuance) -> None:
    """It is not cancelled when its lease cannot be prolonged: it has tokens to take away, which nobody else knows of."""
    gone = DomainName("gone.example.com")
    await work.add(samples.spec(gone.value))
    async with running(work, issuance, ttl=0.06):
        await eventually(lambda: issuance.running == {gone.value})
        await work.delete(gone)
        await asyncio.sleep(0.1)
        issuance.go.set()
        await eventually(lambda: issuance.lost == [gone.value])
    assert [] == issuance.cancelled


async def test_an_absent_store_is_outlived(work: InMemoryWork, issuance: HeldIssuance) -> None:
    """While the store is away the worker waits; when it is back the work is done."""
    issuance.go.set()
    work.away = True
    async with running(work, issuance):
        await eventually(lambda: work.looks > 1)
        await work.add(samples.spec("shop.example.com"))
        work.away = False
        await eventually(lambda: issuance.done == ["shop.example.com"])


@pytest.mark.parametrize("error", [Unavailable("the store went away"), RuntimeError("a defect")])
async def test_a_failing_attempt_does_not_stop_the_worker(work: InMemoryWork, issuance: HeldIssuance, error: Exception) -> None:
    """An attempt that raises, for whatever reason, leaves the others alone."""
    issuance.go.set()
    issuance.error = error
    await work.add(samples.spec("bad.example.com"))
    async with running(work, issuance):
        await eventually(lambda: bool(work.acquired))
        issuance.error = None
        await work.add(samples.spec("shop.example.com"))
        await eventually(lambda: "shop.example.com" in issuance.done)


async def test_a_stop_waits_for_work_in_progress(work: InMemoryWork, issuance: HeldIssuance) -> None:
    """After a stop nothing new is taken, and what is in progress is finished."""
    await work.add(samples.spec("shop.example.com"))
    async with running(work, issuance) as stop:
        await eventually(lambda: issuance.running == {"shop.example.com"})
        stop.set()
        await work.add(samples.spec("late.example.com"))
        issuance.go.set()
    assert ["shop.example.com"] == issuance.done


async def test_a_stop_gives_back_what_takes_too_long(work: InMemoryWork, issuance: HeldIssuance) -> None:
    """Work that outlasts the grace is cancelled, and its lease given back for a successor at once."""
    name = DomainName("shop.example.com")
    await work.add(samples.spec(name.value))
    async with running(work, issuance, grace=0.05):
        await eventually(lambda: issuance.running == {name.value})
    assert [name.value] == issuance.cancelled
    assert not work.leased(name)
    assert [name] == (await work.due(work.clock(), {Lane.NEW: 10})).ready[Lane.NEW]
