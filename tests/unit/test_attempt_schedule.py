"""When a domain is due again after an attempt: never at once without having done what it was due for, and never before it may be."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from controlplane.core.breaker import Breaker, BreakerState
from controlplane.core.managed_domain import DomainState, Revocation
from controlplane.core.names import DomainName
from controlplane.core.order import Phase
from controlplane.core.ports import AcmeProblem
from controlplane.core.revocation_plan import REVOCATION_REFUSED, RevocationReason
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes import samples
from tests.fakes.attempts import Attempts
from tests.fakes.preflight import failing
from tests.fakes.scripted_authority import refused

SHOP, WWW = "shop.example.com", "www.shop.example.com"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class _Killed(BaseException):
    """The worker is no more."""


@pytest.fixture
def world() -> Attempts:
    """One CA and no domain."""
    world = Attempts()
    world.with_ca()
    return world


async def test_a_domain_whose_ca_is_configured_no_more_rests(world: Attempts) -> None:
    """Nobody can be asked for its renewal window; it is not due all the time for that."""
    world.with_ca()
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    del world.configured[0]
    assert len(await world.attempts_until(SHOP, world.now + 5 * DAY)) <= 15
    assert DomainState.ACTIVE is world.status(SHOP).state


async def test_a_check_is_made_while_an_attempt_waits(world: Attempts) -> None:
    """A name that left days ago is attempted once a day, and checked in between; it is attempted as soon as a check finds it here."""
    world.preflight.verdicts[SHOP] = failing(SHOP)
    await world.work.add(samples.spec(SHOP))
    outcomes = await world.attempts_until(SHOP, world.now + 5 * DAY)
    assert Outcome.FAILED_CUSTOMER is outcomes[0]
    again = world.status(SHOP).next_attempt_time
    assert again is not None
    assert again - world.now > 6 * HOUR
    del world.preflight.verdicts[SHOP]
    assert Outcome.ISSUED in await world.attempts_until(SHOP, world.now + 10 * HOUR)


async def test_a_check_is_made_while_an_order_waits(world: Attempts) -> None:
    """The CA takes days to sign: the order is read when that was planned, and what else becomes due does not hasten it."""
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    world.now += 61 * DAY
    ca = world.configured[0]
    ca.lifetime = None
    ca.script["order"] = [refused("serverInternal", 503, 7200.0)] * 100
    begin = world.now
    assert Outcome.FAILED_CA is await world.attempt(SHOP)
    await world.attempts_until(SHOP, begin + 2 * DAY)
    reads = ca.counted["order"] - 1
    assert 20 <= reads <= 25
    order = world.work.order_of(DomainName(SHOP))
    assert order is not None
    assert Phase.PLACED is order.phase


async def test_a_killed_workers_order_does_not_wait(world: Attempts) -> None:
    """What was planned before the order was placed does not keep a successor from going on with it."""
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    world.now += HOUR
    await world.work.request_renewal(DomainName(SHOP))

    def die(write: object) -> None:
        if getattr(write, "order", None) is not None and write.order.phase is Phase.PLACED:  # type: ignore[attr-defined]
            raise _Killed

    world.work.after_write = die
    with pytest.raises(_Killed):
        await world.attempt(SHOP)
    world.work.after_write = lambda _: None
    world.work.expire_lease(DomainName(SHOP))
    again = world.status(SHOP).next_attempt_time
    assert again is not None
    assert again > world.now
    assert Outcome.ISSUED is await world.attempt(SHOP)


@pytest.mark.parametrize("grace", [DAY, 30 * DAY])
async def test_a_paused_domain_is_checked_once_a_day(grace: timedelta) -> None:
    """Whatever the grace time is, it is due for its checks and for nothing else."""
    world = Attempts(grace=grace)
    world.with_ca()
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    world.preflight.verdicts[SHOP] = failing(SHOP)
    await world.attempts_until(SHOP, world.now + grace + 3 * DAY, most=400)
    assert DomainState.PAUSED is world.status(SHOP).state
    checks = len(world.preflight.checked)
    outcomes = await world.attempts_until(SHOP, world.now + 100 * DAY)
    assert len(outcomes) == len(world.preflight.checked) - checks
    assert 99 <= len(outcomes) <= 101


async def test_who_asks_for_a_renewal_is_looked_at_at_once(world: Attempts) -> None:
    """A domain that has left does not wait for its next check when somebody asks for its renewal; a check answers one request."""
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    world.preflight.verdicts[SHOP] = failing(SHOP)
    await world.attempts_until(SHOP, world.now + 60 * DAY)
    assert DomainState.PAUSED is world.status(SHOP).state
    # Still elsewhere: it stays paused, and is not looked at again for this.
    await world.work.request_renewal(DomainName(SHOP))
    checks = len(world.preflight.checked)
    assert [Outcome.NOTHING_TO_DO] == await world.attempts_until(SHOP, world.now + HOUR)
    assert (DomainState.PAUSED, checks + 1) == (world.status(SHOP).state, len(world.preflight.checked))
    # Back again: renewed in the same attempt.
    del world.preflight.verdicts[SHOP]
    await world.work.request_renewal(DomainName(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)


async def test_a_renewal_is_put_off_by_asking_again(world: Attempts) -> None:
    """The last request counts, also when an earlier one was for an earlier time; what is planned anyway stays as it is planned."""
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    issued, planned = world.now, world.status(SHOP).renew_time

    def ask(at: datetime) -> None:
        world.change_spec(SHOP, lambda spec: replace(spec, renewal_request_time=world.now, renewal_not_before=at))

    ask(issued + 3 * DAY)
    assert Outcome.NOTHING_TO_DO is await world.attempt(SHOP)
    assert planned == world.status(SHOP).renew_time
    world.now += DAY
    ask(issued + 9 * DAY)
    assert Outcome.ISSUED not in await world.attempts_until(SHOP, issued + 9 * DAY - HOUR)
    assert Outcome.ISSUED in await world.attempts_until(SHOP, issued + 9 * DAY)
    planned = world.status(SHOP).renew_time
    assert planned is not None
    ask(planned + 9 * DAY)
    assert Outcome.ISSUED not in await world.attempts_until(SHOP, planned - HOUR)
    assert Outcome.ISSUED in await world.attempts_until(SHOP, planned)


async def test_a_request_for_later_hastens_nothing(world: Attempts) -> None:
    """What failed waits for its backoff, though somebody asks for a renewal next week; when that time has come it waits no longer."""
    world.preflight.verdicts[SHOP] = failing(SHOP)
    await world.work.add(samples.spec(SHOP))
    await world.attempts_until(SHOP, world.now + DAY)
    again = world.status(SHOP).next_attempt_time
    assert again is not None
    later = again - timedelta(minutes=1)
    world.change_spec(SHOP, lambda spec: replace(spec, renewal_request_time=world.now, renewal_not_before=later))
    checks = len(world.preflight.checked)
    assert Outcome.NOTHING_TO_DO is await world.attempt(SHOP)
    assert (again, checks) == (world.status(SHOP).next_attempt_time, len(world.preflight.checked))
    outcomes = await world.attempts_until(SHOP, later)
    assert (Outcome.FAILED_CUSTOMER, later) == (outcomes[-1], world.now)


async def test_a_renewal_that_waits_for_its_ca_is_not_due_before(world: Attempts) -> None:
    """The CA is out of order and a check is overdue: that is made, and then the domain rests until the CA is back."""
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    world.now += 61 * DAY
    back = world.now + 6 * HOUR
    world.breakers.breakers[world.configured[0].directory_url] = Breaker(BreakerState.OPEN, 5, 1, back)
    outcomes = await world.attempts_until(SHOP, back - HOUR)
    assert Outcome.HELD in outcomes
    assert len(outcomes) <= 5


async def test_a_clock_that_is_far_ahead_does_not_issue_without_end(world: Attempts) -> None:
    """By our clock each new certificate is old: it is renewed at leisure all the same."""
    world.configured[0].ahead = -65 * DAY
    await world.work.add(samples.spec(SHOP))
    outcomes = await world.attempts_until(SHOP, world.now + DAY)
    assert 1 <= outcomes.count(Outcome.ISSUED) <= 5
    world.configured[0].ahead = -80 * DAY
    outcomes = await world.attempts_until(SHOP, world.now + DAY)
    assert 1 <= outcomes.count(Outcome.ISSUED) <= 5


async def test_a_refused_revocation_does_not_hasten_a_retry(world: Attempts) -> None:
    """The revocation is tried again and again; what the customer must mend is attempted no more often for that."""
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    ca, certificate = world.configured[0], world.certificate(SHOP)
    world.now += HOUR
    revocation = Revocation(certificate.id, RevocationReason.KEY_COMPROMISE, world.now)
    world.change_spec(SHOP, lambda spec: replace(spec, revocation=revocation))
    ca.script["revoke"] = [refused("unauthorized", 403)] * 1000
    ca.failing[SHOP] = AcmeProblem("urn:ietf:params:acme:error:caa", "it forbids us")
    outcomes = await world.attempts_until(SHOP, world.now + 2 * DAY)
    # At once, and after 1, 10 and 100 minutes, and a day.
    assert 5 == outcomes.count(Outcome.FAILED_CUSTOMER)
    assert REVOCATION_REFUSED == (world.status(SHOP).last_error or pytest.fail("no error is shown")).type


async def test_a_revocation_waits_as_long_as_the_ca_asks(world: Attempts) -> None:
    """A Retry-After puts the next try off."""
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    ca, first = world.configured[0], world.certificate(SHOP)
    world.now += HOUR
    revocation = Revocation(first.id, RevocationReason.KEY_COMPROMISE, world.now)
    world.change_spec(SHOP, lambda spec: replace(spec, revocation=revocation))
    ca.script["revoke"] = [refused("serverInternal", 503, 3600.0)]
    begin = world.now
    assert Outcome.ISSUED is await world.attempt(SHOP)
    await world.attempts_until(SHOP, begin + HOUR - timedelta(seconds=1))
    assert [] == ca.revoked
    await world.attempts_until(SHOP, begin + 2 * HOUR)
    assert [RevocationReason.KEY_COMPROMISE] == ca.revoked


async def test_what_a_stopped_replacement_planned_is_forgotten(world: Attempts) -> None:
    """Looked at before its slot, and stopped before it too, a domain is renewed when it would have been."""
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    await world.attempts_until(SHOP, world.now + 2 * HOUR)
    planned, slot = world.status(SHOP).renew_time, world.now + 2 * HOUR
    asked = {"renewal_request_time": world.now, "renewal_not_before": slot, "renewal_replacement": "r1"}
    world.change_spec(SHOP, lambda spec: replace(spec, **asked))
    assert Outcome.NOTHING_TO_DO is await world.attempt(SHOP)
    assert slot == world.status(SHOP).next_attempt_time
    world.stopped._stopped["r1"] = world.now
    assert Outcome.ISSUED not in await world.attempts_until(SHOP, world.now + 3 * DAY)
    assert planned == world.status(SHOP).renew_time


async def test_a_tenant_without_a_ca_is_looked_at_within_the_hour(world: Attempts) -> None:
    """That is the operator's to mend and spends no order, so no domain waits for a day after he has."""
    world.tenants["ca-1"] = ("gold",)
    await world.work.add(samples.spec(SHOP, tenant="tin"))
    assert Outcome.FAILED_OPERATOR in await world.attempts_until(SHOP, world.now + 5 * DAY, most=300)
    again = world.status(SHOP).next_attempt_time
    assert again is not None
    assert again - world.now <= HOUR


async def test_a_domain_that_waits_until_its_certificate_ends_has_failed(world: Attempts) -> None:
    """Held for its CA it is ACTIVE as long as something is served, and no longer."""
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    world.now += 89 * DAY
    world.breakers.breakers[world.configured[0].directory_url] = Breaker(BreakerState.OPEN, 5, 1, world.now + 6 * DAY)
    assert Outcome.HELD is await world.attempt(SHOP)
    assert DomainState.ACTIVE is world.status(SHOP).state
    await world.attempts_until(SHOP, world.now + 4 * DAY)
    assert DomainState.FAILED is world.status(SHOP).state
