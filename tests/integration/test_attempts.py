"""What an attempt does beside the order itself: limits, several reasons to be due, renewal windows, revocations, departures.

A real Pebble behind the proxy that adds renewal windows; the issuer lives by a clock that can be put forward.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.core.ari import ari_certificate_id
from controlplane.core.ca_profile import Counts, OrderLimit, Scope
from controlplane.core.departure import GRACE
from controlplane.core.failure import AUTHORITY_AWAY, LIMIT
from controlplane.core.managed_domain import DomainState, PauseReason, Revocation
from controlplane.core.names import DomainName
from controlplane.core.revocation_plan import RevocationReason
from controlplane.core.token_bucket import SECOND
from controlplane.embedded.pebble import Pebble, PebblePorts
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes import samples
from tests.fakes.http01 import http01_responder
from tests.fakes.issuer import LEASE, Issuer, issuer_at
from tests.fakes.preflight import failing
from tests.fakes.tokens import InMemoryTokens
from tests.faults.ari import Window
from tests.faults.endpoints import Endpoint
from tests.faults.faults import Refuse
from tests.faults.proxy import FaultProxy, fault_proxy
from tests.faults.rules import Rule
from tests.faults.shifted_clock import ShiftedClock

SHOP, OTHER = "shop.example.com", "other.example.com"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class World:
    """An issuer, its clock, and the CA."""

    issuer: Issuer
    clock: ShiftedClock
    proxy: FaultProxy

    async def attempt(self, name: str = SHOP) -> Outcome:
        """An attempt without waiting for its time, as when something else makes the domain due."""
        lease = await self.issuer.work.acquire(DomainName(name), "worker", LEASE)
        assert lease is not None
        outcome = await self.issuer.issuance().carry_out(lease)
        await self.issuer.work.release(lease)
        return outcome

    def at_next_attempt(self, name: str = SHOP) -> None:
        """Lets the time pass until then."""
        again = self.issuer.status(name).next_attempt_time
        assert again is not None
        self.clock.wait_until(again)

    def orders(self) -> int:
        """New orders that the CA was asked for."""
        return len(self.proxy.log.of(Endpoint.NEW_ORDER))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A fresh one."""
    clock = ShiftedClock()
    tokens = InMemoryTokens(clock)
    with http01_responder(tokens) as port:
        async with (
            Pebble(tmp_path, PebblePorts.free(http=port), env={"PEBBLE_WFE_NONCEREJECT": "0"}) as pebble,
            fault_proxy(pebble, tmp_path) as proxy,
            issuer_at(pebble, tokens, directory_url=proxy.directory_url, ca_bundle=proxy.ca_bundle, clock=clock) as issuer,
        ):
            issuer.limits.now = clock.microseconds
            yield World(issuer, clock, proxy)


async def test_a_limit_is_waited_for_without_asking(world: World) -> None:
    """The second order within three hours is held, as no failure; it is sent once the limit allows it, and the CA never refuses."""
    limit = OrderLimit("new-orders", Scope.ACCOUNT, Counts.ORDERS, capacity=1, interval=3 * 3600 * SECOND)
    world.issuer.profile = replace(world.issuer.profile, limits=(limit,))
    for name in (SHOP, OTHER):
        await world.issuer.work.add(samples.spec(name))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    assert Outcome.HELD is await world.attempt(OTHER)
    status = world.issuer.status(OTHER)
    assert (DomainState.PENDING, 0, LIMIT) == (status.state, status.attempt_count, status.last_error and status.last_error.type)
    assert 1 == world.orders()
    assert Outcome.NOTHING_TO_DO is await world.attempt(OTHER)
    world.at_next_attempt(OTHER)
    assert Outcome.ISSUED is await world.attempt(OTHER)
    assert world.issuer.status(OTHER).last_error is None


async def test_a_ca_that_is_out_of_order_is_left_alone(world: World) -> None:
    """After a 503 with a long Retry-After no other domain asks it; when the time is over one of them goes first."""
    for name in (SHOP, OTHER):
        await world.issuer.work.add(samples.spec(name))
    world.proxy.rules.append(
        Rule(Endpoint.NEW_ORDER, Refuse("urn:ietf:params:acme:error:serverInternal", 503, headers={"Retry-After": "3600"}))
    )
    assert Outcome.FAILED_CA is await world.attempt(SHOP)
    assert 1 == world.orders()
    assert Outcome.HELD is await world.attempt(OTHER)
    error = world.issuer.status(OTHER).last_error
    assert error is not None
    assert AUTHORITY_AWAY == error.type
    assert 1 == world.orders()
    world.clock.shift += timedelta(hours=1, minutes=20)
    assert Outcome.ISSUED is await world.attempt(OTHER)
    world.at_next_attempt(SHOP)
    assert Outcome.ISSUED is await world.attempt(SHOP)


async def test_a_renewal_window_decides(world: World) -> None:
    """The CA is asked when its time has come, and asked only; a window in the past renews at once, and says what is replaced."""
    await world.issuer.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt()
    first = world.issuer.work.certificate_of(DomainName(SHOP))
    assert first is not None
    world.clock.shift += HOUR
    assert Outcome.NOTHING_TO_DO is await world.attempt()
    assert Outcome.NOTHING_TO_DO is await world.attempt()
    assert 1 == len(world.proxy.log.of(Endpoint.RENEWAL_INFO))
    window = world.issuer.status(SHOP).renewal_window
    assert window is not None
    assert window.selected_time == world.issuer.status(SHOP).renew_time == world.issuer.status(SHOP).next_attempt_time

    identifier = ari_certificate_id(first.leaf)
    world.proxy.authority.renewals.windows[identifier] = Window(world.clock() - HOUR, world.clock() + 9 * HOUR, "https://ca.example/why")
    world.clock.shift += 8 * HOUR
    if await world.attempt() is not Outcome.ISSUED:
        world.at_next_attempt()
        assert Outcome.ISSUED is await world.attempt()
    second = world.issuer.work.certificate_of(DomainName(SHOP))
    assert second is not None
    assert first.id != second.id
    assert identifier == world.proxy.log.of(Endpoint.NEW_ORDER)[-1].payload.get("replaces")


async def test_the_window_is_asked_for_once_more_before_a_renewal_counts_on_it(world: World) -> None:
    """A window that the CA has put off since it was asked spends no order, and the renewal moves with it."""
    await world.issuer.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt()
    first = world.issuer.work.certificate_of(DomainName(SHOP))
    assert first is not None
    identifier, now = ari_certificate_id(first.leaf), world.clock()
    windows = world.proxy.authority.renewals.windows
    windows[identifier] = Window(now + 2 * HOUR, now + 3 * HOUR, retry_after=24 * 3600)
    world.clock.shift += HOUR
    assert Outcome.NOTHING_TO_DO is await world.attempt()
    windows[identifier] = Window(now + 50 * DAY, now + 51 * DAY)
    world.at_next_attempt()
    assert Outcome.NOTHING_TO_DO is await world.attempt()
    renewal = world.issuer.status(SHOP).renew_time
    assert renewal is not None
    assert now + 50 * DAY <= renewal <= now + 51 * DAY
    assert 1 == world.orders()


@pytest.mark.parametrize("reason", [RevocationReason.KEY_COMPROMISE, RevocationReason.SUPERSEDED])
async def test_a_revoked_certificate_is_replaced(world: World, reason: RevocationReason) -> None:
    """Whatever comes first, at the end the old one is revoked at the CA, once, and another is in force with another key."""
    await world.issuer.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt()
    name = DomainName(SHOP)
    first = world.issuer.work.certificate_of(name)
    assert first is not None
    row = world.issuer.work._rows[name]
    row.domain = replace(row.domain, spec=replace(row.domain.spec, revocation=Revocation(first.id, reason, world.clock())))
    outcomes = [await world.attempt() for _ in range(3)]
    second = world.issuer.work.certificate_of(name)
    assert second is not None
    assert [Outcome.ISSUED, Outcome.NOTHING_TO_DO, Outcome.NOTHING_TO_DO] == outcomes
    assert first.spki_digest != second.spki_digest
    assert [reason] == [each.payload["reason"] for each in world.proxy.log.of(Endpoint.REVOKE_CERT)]
    assert world.issuer.work.domain(name).pending_revocation is None
    assert DomainState.ACTIVE is world.issuer.status(SHOP).state


async def test_a_stopped_replacement_renews_nothing(world: World) -> None:
    """A renewal that a replacement asked for counts until that is stopped."""
    await world.issuer.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt()
    name = DomainName(SHOP)
    row = world.issuer.work._rows[name]
    spec = replace(row.domain.spec, renewal_request_time=world.clock(), renewal_replacement="r1")
    row.domain = replace(row.domain, spec=spec)
    world.issuer.stopped._stopped["r1"] = world.clock()
    assert Outcome.NOTHING_TO_DO is await world.attempt()
    assert 1 == world.orders()
    world.issuer.stopped._stopped.clear()
    assert Outcome.ISSUED is await world.attempt()


async def test_a_domain_that_has_left_is_paused_and_comes_back(world: World) -> None:
    """It is checked, served as long as it lasts, no order is spent on it, and it is ACTIVE again by itself once it points here."""
    await world.issuer.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt()
    world.issuer.preflight.verdicts[SHOP] = failing(SHOP)
    for _ in range(80):
        due = world.issuer.work.due_of(DomainName(SHOP))
        assert due is not None
        world.clock.wait_until(due)
        await world.attempt()
        if world.issuer.status(SHOP).state is DomainState.PAUSED:
            break
    status = world.issuer.status(SHOP)
    assert (DomainState.PAUSED, PauseReason.DEPARTED) == (status.state, status.pause_reason)
    assert status.departed_time is not None
    assert GRACE <= world.clock() - status.departed_time < GRACE + DAY
    assert 1 == world.orders()

    del world.issuer.preflight.verdicts[SHOP]
    due = world.issuer.work.due_of(DomainName(SHOP))
    assert due is not None
    assert due - world.clock() <= 1.5 * DAY
    world.clock.wait_until(due)
    await world.attempt()
    assert (DomainState.ACTIVE, None) == (world.issuer.status(SHOP).state, world.issuer.status(SHOP).departed_time)
    assert 1 == world.orders()


async def test_what_is_due_in_between_does_not_hasten_a_retry(world: World) -> None:
    """A domain in its backoff that is looked at for another reason is not attempted before its time."""
    world.issuer.preflight.verdicts[SHOP] = failing(SHOP)
    await world.issuer.work.add(samples.spec(SHOP))
    assert Outcome.FAILED_CUSTOMER is await world.attempt()
    status = world.issuer.status(SHOP)
    assert Outcome.NOTHING_TO_DO is await world.attempt()
    assert status.next_attempt_time == world.issuer.status(SHOP).next_attempt_time
    assert status.last_error == world.issuer.status(SHOP).last_error
    assert 1 == len(world.issuer.preflight.checked)
