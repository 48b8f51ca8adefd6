"""Checks that were asked for, between the queue and the runner, over the store in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import structlog

from controlplane.core.caa import Issuer
from controlplane.core.errors import NotFound, NoWorker, Unavailable
from controlplane.core.managed_domain import Actor, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports.checks import CheckLimits, CheckRequest
from controlplane.core.ports.preflight import FULL_PATIENCE
from controlplane.usecases import check_queue as queue_module
from controlplane.usecases.check_queue import CheckQueue
from controlplane.usecases.check_runner import CheckRunner
from controlplane.usecases.preflight_round import PreflightRound
from tests.fakes import samples
from tests.fakes.checks import InMemoryChecks
from tests.fakes.domains import InMemoryDomains
from tests.fakes.eventually import eventually
from tests.fakes.preflight import TablePreflight, failing
from tests.fakes.tokens import InMemoryTokens
from tests.fakes.work import utc_now

DEADLINE = 10.0
SHOP = "shop.example.com"


class World:
    """Both ends of the queue, and a table for the pre-flight."""

    def __init__(self) -> None:
        self.checks = InMemoryChecks()
        self.tokens = InMemoryTokens()
        self.preflight = TablePreflight(self.tokens)
        self.domains = InMemoryDomains()
        self.queue = CheckQueue(self.domains, self.checks)

    @asynccontextmanager
    async def runner(self, **options: Any) -> AsyncIterator[CheckRunner]:
        """Runs a runner until the block ends."""
        stop, made = asyncio.Event(), PreflightRound(self.tokens, self.preflight, utc_now, iter(map(str, range(999))).__next__)
        runner = CheckRunner(self.checks, made, utc_now, **options)
        task = asyncio.create_task(runner.run(stop))
        try:
            yield runner
        finally:
            stop.set()
            async with asyncio.timeout(DEADLINE):
                await task


@pytest.fixture
def world() -> World:
    return World()


async def test_verdicts_are_those_of_the_preflight(world: World) -> None:
    """The verdicts come back name by name; the probe is planted for all names and withdrawn."""
    world.preflight.verdicts["www.shop.example.com"] = failing("www.shop.example.com")
    async with world.runner():
        result = await world.queue.check_new(SHOP, "acme", ["www.shop.example.com"], DEADLINE)
    assert [None, failing("www.shop.example.com").conclusive] == [v.problem and v.conclusive for v in result.verdicts]
    assert [(SHOP, "www.shop.example.com")] == [record.names for record in world.tokens.planted]
    assert {} == world.tokens.records


FIRST, SECOND = (Issuer(frozenset(), f"https://ca-{number}.example/acct/1") for number in (1, 2))


@pytest.mark.parametrize(
    ("allowed", "asked", "forbidden"),
    [
        ({FIRST.account_url}, [FIRST], ""),
        ({SECOND.account_url}, [FIRST, SECOND], ""),
        (set(), [FIRST, SECOND], FIRST.account_url),
    ],
)
async def test_caa_of_any_ca_that_may_issue(world: World, allowed: set[str], asked: list[Issuer], forbidden: str) -> None:
    """A name that CAA allows to one of the CAs is good, as its order would be; else the preferred CA is told of. No probe stays."""
    world.preflight.caa[SHOP] = allowed
    async with world.runner(issuers=lambda _: (FIRST, SECOND)):
        (verdict,) = (await world.queue.check_new(SHOP, "acme", [], DEADLINE)).verdicts
    assert (verdict.problem.detail.rpartition(" ")[2] if verdict.problem else "") == forbidden
    assert asked == [issuer for _, issuer in world.preflight.asked]
    assert all(timedelta() < patience <= FULL_PATIENCE for patience, _ in world.preflight.asked)
    assert {} == world.tokens.records


async def test_other_problems_are_checked_once(world: World) -> None:
    """What is wrong with the host is wrong for every CA."""
    world.preflight.verdicts[SHOP] = failing(SHOP)
    async with world.runner(issuers=lambda _: (FIRST, SECOND)):
        await world.queue.check_new(SHOP, "acme", [], DEADLINE)
    assert [FIRST] == [issuer for _, issuer in world.preflight.asked]


async def test_domain_that_exists(world: World) -> None:
    """All names of the domain are checked; an unknown domain is NotFound, and nothing is asked for."""
    await world.domains.create(samples.spec(SHOP, "www.shop.example.com"), DomainStatus())
    async with world.runner():
        result = await world.queue.check_domain(f"domains/{SHOP}", DEADLINE)
        with pytest.raises(NotFound):
            await world.queue.check_domain("domains/other.example.com", DEADLINE)
    assert [SHOP, "www.shop.example.com"] == [verdict.name.value for verdict in result.verdicts]
    assert [SHOP, "www.shop.example.com"] == sorted(world.preflight.checked)


async def test_failure_of_our_own_is_told(world: World) -> None:
    """A check that fails by a defect is answered: the operator's problem, not conclusive. The runner goes on."""
    world.preflight.broken = RuntimeError("a defect")
    with structlog.testing.capture_logs() as logs:
        async with world.runner():
            (verdict,) = (await world.queue.check_new(SHOP, "", (), DEADLINE)).verdicts
            world.preflight.broken = None
            assert (await world.queue.check_new("other.example.com", "", (), DEADLINE)).verdicts[0].problem is None
    assert verdict.problem is not None
    assert (Actor.OPERATOR, False) == (verdict.problem.must_act, verdict.conclusive)
    assert "a check failed by itself" in {entry["event"] for entry in logs}


async def test_absent_store_is_outlived(world: World) -> None:
    """While the store is away a check is Unavailable and the runner waits; afterwards it works."""
    world.checks.away = True
    async with world.runner():
        with pytest.raises(Unavailable):
            await world.queue.check_new(SHOP, "", (), DEADLINE)
        await asyncio.sleep(0.1)
        world.checks.away = False
        assert (await world.queue.check_new(SHOP, "", (), DEADLINE)).verdicts[0].problem is None


async def test_probe_that_cannot_be_planted(world: World) -> None:
    """A check during which the store goes away has no result; the runner outlives it."""
    world.tokens.away = True
    async with world.runner():
        with pytest.raises(TimeoutError):
            await world.queue.check_new(SHOP, "", (), 0.6)
        world.tokens.away = False
        assert (await world.queue.check_new("other.example.com", "", (), DEADLINE)).verdicts[0].problem is None


async def test_no_worker_is_told_within_the_callers_time(world: World) -> None:
    """A caller with little time hears within it that no worker is there."""
    with pytest.raises(NoWorker):
        await world.queue.check_new(SHOP, "", (), 0.1)


async def test_worker_without_room_is_there(world: World) -> None:
    """A worker that is busy takes no more, and still counts as one."""
    world.preflight.hold = asyncio.Event()
    async with world.runner(concurrency=1) as runner:
        first = asyncio.create_task(world.queue.check_new(SHOP, "", (), DEADLINE))
        await eventually(lambda: len(runner._running) == 1)
        with pytest.raises(TimeoutError):
            await world.queue.check_new("other.example.com", "", (), 0.5)
        assert [SHOP] == world.preflight.checked
        world.preflight.hold.set()
        await first


async def test_stop_does_not_wait_for_ever(world: World) -> None:
    """A stop waits for the grace time, then gives checks in progress up."""
    world.preflight.hold = asyncio.Event()
    async with world.runner(drain_grace=timedelta(seconds=0.1)) as runner:
        waiting = asyncio.create_task(world.queue.check_new(SHOP, "", (), 0.5))
        await eventually(lambda: len(runner._running) == 1)
    assert not runner._running
    with pytest.raises(TimeoutError):
        await waiting


async def test_lost_check_is_asked_for_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that waited longer than the store keeps it is asked for again while somebody waits."""
    monkeypatch.setattr(queue_module, "NO_WORKER_SECONDS", DEADLINE)
    world.checks.limits = CheckLimits(lifetime=timedelta(seconds=0.1))
    checking = asyncio.create_task(world.queue.check_new(SHOP, "", (), DEADLINE))
    await asyncio.sleep(0.3)
    world.checks.limits = CheckLimits()
    async with world.runner():
        assert (await checking).verdicts[0].problem is None


def test_identifiers_of_checks() -> None:
    """Only equal requests have the same identifier."""
    a, b = DomainName("a.example.com"), DomainName("b.example.com")
    requests = [CheckRequest((a,)), CheckRequest((a, b)), CheckRequest((b, a)), CheckRequest((a,), "acme"), CheckRequest((b,), "a")]
    assert len(requests) == len({request.id for request in requests})
    assert CheckRequest((a, b), "acme").id == CheckRequest((a, b), "acme").id
