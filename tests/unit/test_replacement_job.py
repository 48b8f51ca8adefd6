"""The job that carries replacements on, over a fleet in memory."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from controlplane.core.due import without_stopped_renewal
from controlplane.core.errors import Unavailable
from controlplane.core.managed_domain import Actor, DomainState, DomainStatus, Problem, RenewalWindow
from controlplane.core.names import DomainName
from controlplane.core.replacement import LOOK_INTERVAL, Replacement, ReplacementState
from controlplane.usecases import replacement_steps
from controlplane.usecases.replacement_job import ReplacementJob
from controlplane.usecases.replacement_steps import ReplacementSteps
from tests.fakes import samples
from tests.fakes.domains import InMemoryDomains
from tests.fakes.replacements import InMemoryReplacements

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SIZE = 23
NAME = "a" * 12


class World:
    """23 domains in pages of 5, replacements, and a CA of which each order takes a minute, one within its window a second."""

    def __init__(self) -> None:
        self.now = NOW
        self.domains, self.replacements = InMemoryDomains(), InMemoryReplacements()
        self.estimated: list[tuple[int, int]] = []
        self.naps = 0

    async def fill(self) -> "World":
        """Creates the domains, each with a certificate that ends a day after the one before it."""
        for number in range(SIZE):
            await self.add(f"d{number:02}.example.com", expire_time=NOW + (30 + number) * DAY)
        return self

    async def add(self, fqdn: str, **status: object) -> None:
        """Creates a domain with a certificate."""
        full = {"state": DomainState.ACTIVE, "certificate_id": "c" * 32, "issue_time": NOW - 30 * DAY, "expire_time": NOW + 60 * DAY}
        await self.domains.create(samples.spec(fqdn), DomainStatus(**(full | status)))  # type: ignore[arg-type]

    async def estimate(self, orders: int, exempt: int) -> timedelta:
        """See `Estimate`."""
        self.estimated.append((orders, exempt))
        return timedelta(minutes=orders, seconds=exempt)

    async def nap(self, _seconds: float) -> None:
        """Takes no time, but lets others run."""
        self.naps += 1
        await asyncio.sleep(0)

    def job(self, owner: str = "here") -> ReplacementJob:
        """The job of one process."""
        steps = ReplacementSteps(self.domains, self.estimate, lambda: self.now)
        return ReplacementJob(self.replacements, steps, lambda: self.now, owner, self.nap)

    async def asked(self) -> dict[str, datetime]:
        """When the renewal of each domain may begin, of those that the replacement asked."""
        page = await self.domains.list_page(100, "")
        return {
            str(domain.spec.fqdn): domain.requested_renewal_time
            for domain in page.domains
            if domain.spec.renewal_replacement == NAME and domain.requested_renewal_time is not None
        }

    async def renew(self, *fqdns: str, **status: object) -> None:
        """Does what a worker does with a request: it issues, or with a status it fails."""
        for fqdn in fqdns:
            domain = await self.domains.get(DomainName(fqdn))
            assert domain is not None
            done = status or {"renewal_done_time": domain.spec.renewal_request_time, "issue_time": self.now}
            await self.domains.put_status(fqdn, replace(domain.status, **done))  # type: ignore[arg-type]

    async def shown(self) -> Replacement:
        """The replacement as stored."""
        found = await self.replacements.get(NAME)
        assert found is not None
        return found


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(replacement_steps, "PAGE", 5)
    return await World().fill()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The log goes nowhere."""
    with structlog.testing.capture_logs():
        yield


async def test_all_are_asked_in_order(world: World) -> None:
    """Every domain is asked once; who ends sooner begins sooner, all within the time asked for."""
    await world.replacements.create(Replacement(NAME, "", NOW, over=timedelta(hours=23)))
    assert await world.job().work()
    asked = await world.asked()
    assert SIZE == len(asked)
    assert sorted(asked) == sorted(asked, key=lambda fqdn: asked[fqdn])
    assert NOW <= min(asked.values()) < max(asked.values()) < NOW + timedelta(hours=23)
    shown = await world.shown()
    assert (ReplacementState.REPLACING, SIZE, SIZE, SIZE, 0) == (shown.state, shown.matched, shown.asked, shown.pending, shown.skipped)
    assert NOW + timedelta(hours=23) == shown.estimated_complete_time


async def test_who_the_ca_is_about_to_revoke_goes_first(world: World) -> None:
    """A window that has passed comes before every expiry; without a time asked for the CA's limits give it."""
    window = RenewalWindow("c" * 32, NOW - 2 * DAY, NOW - DAY, NOW - DAY, NOW)
    await world.add("z.example.com", expire_time=NOW + 89 * DAY, renewal_window=window)
    await world.replacements.create(Replacement(NAME, "", NOW))
    await world.job().work()
    asked = await world.asked()
    assert "z.example.com" == min(asked, key=lambda fqdn: asked[fqdn])
    assert max(asked.values()) < NOW + timedelta(minutes=SIZE + 1)


async def test_open_windows_are_estimated_as_exempt(world: World) -> None:
    """Whose renewal window is open is no order of those that wait for limits: in the count, and in each look at who is left."""
    certificate = "c" * 32
    for number, (start, end) in enumerate(((-DAY, DAY), (-DAY, 2 * DAY), (-2 * DAY, -DAY), (DAY, 2 * DAY))):
        window = RenewalWindow(certificate, NOW + start, NOW + end, NOW + start, NOW)
        await world.add(f"w{number}.example.com", renewal_window=window)
    await world.replacements.create(Replacement(NAME, "", NOW))
    await world.job().work()
    assert [(SIZE + 2, 2)] == world.estimated
    shown = await world.shown()
    assert (SIZE + 4, 2, timedelta(minutes=SIZE + 2, seconds=2)) == (shown.matched, shown.in_window, shown.estimate)
    await world.renew("w0.example.com", *(f"d{number:02}.example.com" for number in range(SIZE)))
    world.now += LOOK_INTERVAL
    await world.job().work()
    assert (2, 1) == world.estimated[-1]
    shown = await world.shown()
    assert (3, 1, 0) == (shown.pending, shown.in_window, shown.seen_in_window)
    # One window has ended, one has begun.
    world.now = NOW + DAY
    await world.job().work()
    assert (1, 2) == world.estimated[-1]


async def test_filter_and_those_left_alone(world: World) -> None:
    """Asked is only who meets the filter; a request by hand stands and is counted, as is who has a new certificate."""
    await world.domains.request_renewal(DomainName("d01.example.com"), NOW, NOW + 9 * DAY)
    await world.renew("d02.example.com", issue_time=NOW)
    await world.replacements.create(Replacement(NAME, f'expire_time < "{(NOW + 40 * DAY).isoformat()}"', NOW))
    await world.job().work()
    assert {f"d{number:02}.example.com" for number in range(10)} - {"d01.example.com", "d02.example.com"} == set(await world.asked())
    shown = await world.shown()
    assert (10, 8, 2) == (shown.matched, shown.asked, shown.skipped)


async def test_looks_count_who_is_left(world: World) -> None:
    """Pending and failing domains are counted until all are renewed; then it is done, and nothing is looked at any more."""
    await world.replacements.create(Replacement(NAME, "", NOW))
    await world.job().work()
    names = sorted(await world.asked())
    problem = Problem("urn:x", "it fails", Actor.CUSTOMER, NOW)
    await world.renew(*names[3:])
    await world.renew(names[0], last_error=problem)
    world.now += LOOK_INTERVAL
    await world.job().work()
    shown = await world.shown()
    assert (ReplacementState.REPLACING, 3, 1) == (shown.state, shown.pending, shown.failing)
    assert (3, 0) == world.estimated[-1]
    # By hand: taken over, so nothing that the replacement waits for.
    await world.domains.request_renewal(DomainName(names[0]), world.now)
    await world.renew(*names[1:3])
    world.now += LOOK_INTERVAL
    await world.job().work()
    shown = await world.shown()
    assert (ReplacementState.DONE, 0, world.now) == (shown.state, shown.pending, shown.complete_time)
    calls = world.domains.list_calls
    world.now += DAY
    await world.job().work()
    assert calls == world.domains.list_calls


@pytest.mark.parametrize("steps", range(1, 11))
async def test_another_replica_goes_on(world: World, steps: int) -> None:
    """Wherever a replica is killed, another goes on where it was; no domain is asked twice, none is left out."""
    await world.replacements.create(Replacement(NAME, "", NOW))

    async def die(_seconds: float) -> None:
        if len(world.replacements.saved) == steps:
            raise asyncio.CancelledError

    first = world.job("first")
    first._sleep = die
    with pytest.raises(asyncio.CancelledError):
        await first.work()
    assert not await world.job("second").work()
    world.replacements.end_job()
    before = await world.asked()
    world.now += timedelta(seconds=20)
    assert await world.job("second").work()
    after = await world.asked()
    assert (SIZE, SIZE) == (len(after), (await world.shown()).asked)
    assert before == {fqdn: after[fqdn] for fqdn in before}


async def test_page_that_was_not_saved_is_asked_once(world: World) -> None:
    """A replica that dies between asking and saying so: the next counts these domains, and does not ask them again, renewed or not."""
    await world.replacements.create(Replacement(NAME, "", NOW))
    job = world.job()
    world.replacements.away_for = lambda replacement: replacement.asked > 0
    with pytest.raises(Unavailable):
        await job.work()
    world.replacements.away_for = lambda _: False
    before = await world.asked()
    assert 5 == len(before)
    await world.renew("d00.example.com")
    await job.work()
    after = await world.asked()
    assert SIZE == (await world.shown()).asked
    assert {name: at for name, at in before.items() if name != "d00.example.com"} == {name: after[name] for name in before if name in after}
    assert "d00.example.com" not in after


async def test_stopped_replacement_stops(world: World) -> None:
    """A stop ends the asking within a page, for ever, and what was asked does not count any more; another replacement asks anew."""
    await world.replacements.create(Replacement(NAME, "", NOW))

    async def stop(_seconds: float) -> None:
        if (await world.shown()).asked:
            await world.replacements.stop(NAME, world.now)

    job = world.job()
    job._sleep = stop
    await job.work()
    assert 5 == len(await world.asked())
    assert ReplacementState.STOPPED is (await world.shown()).shown_state
    await world.job().work()
    stopped = await world.replacements.current()
    page = await world.domains.list_page(100, "")
    assert not any(without_stopped_renewal(domain, stopped).renewal_requested for domain in page.domains)
    await world.replacements.create(Replacement("b" * 12, "", NOW + timedelta(seconds=1)))
    await world.job().work()
    page = await world.domains.list_page(100, "")
    assert all(without_stopped_renewal(domain, stopped).renewal_requested for domain in page.domains)


async def test_one_that_fails_keeps_no_other_waiting(world: World) -> None:
    """A replacement that cannot go on is left for later; the others go on, and so does the process."""
    await world.replacements.create(Replacement("b" * 12, "", NOW - DAY, cursor="not of this store"))
    await world.replacements.create(Replacement(NAME, "", NOW))
    assert await world.job().work()
    assert SIZE == (await world.shown()).asked


async def test_several_take_turns(world: World) -> None:
    """An early replacement of many pages does not keep a later one waiting to its end."""
    await world.replacements.create(Replacement(NAME, "", NOW - DAY))
    await world.replacements.create(Replacement("b" * 12, "", NOW))
    await world.job().work()
    order = [saved.id for saved in world.replacements.saved]
    assert [NAME, "b" * 12, NAME, "b" * 12] == order[:4]


async def test_store_that_is_away_is_waited_for(world: World) -> None:
    """The job outlives an absent store, and leaves itself to another replica when it is cancelled."""
    await world.replacements.create(Replacement(NAME, "", NOW))
    world.replacements.away = True
    running = asyncio.create_task(world.job().run())
    async with asyncio.timeout(10):
        while world.naps < 3:
            await asyncio.sleep(0)
        world.replacements.away = False
        while (await world.shown()).asked < SIZE:
            await asyncio.sleep(0)
    assert "here" == world.replacements.owner
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "" == world.replacements.owner
