"""The check whether a domain still points here, over the stores in memory."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from controlplane.core.caa import Issuer
from controlplane.core.errors import Unavailable
from controlplane.core.managed_domain import Domain, DomainState, DomainStatus, PauseReason
from controlplane.core.ports import Work
from controlplane.usecases.departure_check import DepartureCheck
from controlplane.usecases.preflight_round import PreflightRound
from tests.fakes import samples
from tests.fakes.preflight import TablePreflight, failing
from tests.fakes.tokens import InMemoryTokens

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SHOP, WWW = "shop.example.com", "www.shop.example.com"
STATUS = DomainStatus(state=DomainState.ACTIVE, expire_time=NOW + timedelta(days=60), renew_time=NOW + timedelta(days=30))
WORK = Work(Domain(samples.spec(SHOP, WWW), STATUS, 1), None, None)


class World:
    """A clock that the test sets, and what is checked."""

    def __init__(self) -> None:
        self.now = NOW
        self.tokens = InMemoryTokens(lambda: self.now)
        self.preflight = TablePreflight(self.tokens)
        tokens = iter(map(str, range(999)))
        made = PreflightRound(self.tokens, self.preflight, lambda: self.now, tokens.__next__)
        self.check = DepartureCheck(made, lambda: self.now, timedelta(days=2))


@pytest.fixture
def world() -> World:
    return World()


async def test_domain_that_is_here(world: World) -> None:
    """A domain that passes is noted as checked, and nothing else; only its own name is asked for, and no probe stays."""
    assert replace(STATUS, checked_time=NOW) == await world.check.run(WORK, STATUS)
    assert [SHOP] == world.preflight.checked
    assert {} == world.tokens.records


async def test_failing_additional_name_is_no_departure(world: World) -> None:
    """Whatever an additional name does, the domain has not left."""
    world.preflight.verdicts[WWW] = failing(WWW)
    assert (await world.check.run(WORK, STATUS)).departed_time is None


async def test_departure_pause_and_return(world: World) -> None:
    """A domain that points elsewhere for the grace time is paused, and the check after it has returned brings it back; all is logged."""
    world.preflight.verdicts[SHOP] = failing(SHOP)
    with structlog.testing.capture_logs() as logs:
        departed = await world.check.run(WORK, STATUS)
        world.now += timedelta(days=1)
        watched = await world.check.run(WORK, departed)
        world.now += timedelta(days=1)
        paused = await world.check.run(WORK, watched)
        world.preflight.verdicts[SHOP] = failing(SHOP, conclusive=False)
        still = await world.check.run(WORK, paused)
        del world.preflight.verdicts[SHOP]
        back = await world.check.run(WORK, still)
    assert [DomainState.ACTIVE, DomainState.ACTIVE, DomainState.PAUSED, DomainState.PAUSED, DomainState.ACTIVE] == [
        status.state for status in (departed, watched, paused, still, back)
    ]
    assert (NOW, PauseReason.DEPARTED) == (paused.departed_time, paused.pause_reason)
    assert (None, None, STATUS.renew_time) == (back.departed_time, back.pause_reason, back.next_attempt_time)
    assert ["domain points elsewhere", "domain paused: it has left", "domain is back"] == [entry["event"] for entry in logs]


async def test_patience_and_issuer(world: World) -> None:
    """The check ends when the caller wants it to, and asks for the CA that the caller names."""
    issuer = Issuer(frozenset(("pki.goog",)))
    await world.check.run(WORK, STATUS, issuer=issuer, patience=timedelta(seconds=3))
    assert [(timedelta(seconds=3), issuer)] == world.preflight.asked


async def test_absent_store(world: World) -> None:
    """Without a store no probe can be planted, and nothing is concluded."""
    world.tokens.away = True
    with pytest.raises(Unavailable):
        await world.check.run(WORK, STATUS)
