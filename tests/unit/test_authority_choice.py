"""Which CA issues, as tables."""

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.core.authority_choice import ALL_REFUSE, NO_AUTHORITY, Candidate, Choice, InForce, NoneAvailable, choose
from controlplane.core.breaker import CLOSED, Breaker, BreakerState
from controlplane.core.failure import AUTHORITY_AWAY
from controlplane.core.managed_domain import Actor

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def opened(ends_in: timedelta) -> Breaker:
    return Breaker(BreakerState.OPEN, 5, 1, NOW + ends_in)


def probing(ends_in: timedelta) -> Breaker:
    return Breaker(BreakerState.HALF_OPEN, 5, 1, NOW + ends_in)


SHUT = CLOSED
HELD = opened(10 * MINUTE)
LATER = opened(2 * HOUR)
PROBE = opened(-MINUTE)
UNDER_WAY = probing(MINUTE)


def candidates(**breakers: Breaker) -> list[Candidate]:
    return [Candidate(name, f"https://{name}.example/dir", breaker) for name, breaker in breakers.items()]


def in_force(directory: str, *, lasts: timedelta = 90 * DAY, left: timedelta = 30 * DAY, authority: str = "") -> InForce:
    return InForce(directory, authority, NOW + left - lasts, NOW + left)


@pytest.mark.parametrize(
    ("a", "b", "chosen"),
    [
        (SHUT, SHUT, "a"),
        (HELD, SHUT, "b"),
        (PROBE, SHUT, "b"),
        (UNDER_WAY, SHUT, "b"),
        (PROBE, PROBE, "a"),
        (PROBE, HELD, "a"),
        (HELD, PROBE, "b"),
        (probing(-MINUTE), HELD, "a"),
    ],
)
def test_a_first_certificate_comes_from_the_first_ca_that_is_well(a: Breaker, b: Breaker, chosen: str) -> None:
    """The most preferred whose breaker is closed; without one, the most preferred that wants a probe."""
    assert Choice(chosen) == choose(candidates(a=a, b=b), tenant="", refusing=(), certificate=None, now=NOW)


@pytest.mark.parametrize(
    ("a", "b", "left", "chosen"),
    [
        # The certificate is from "b", the second choice: it stays there.
        (SHUT, SHUT, 30 * DAY, "b"),
        (SHUT, PROBE, 30 * DAY, "b"),
        (SHUT, SHUT, MINUTE, "b"),
        (SHUT, PROBE, MINUTE, "b"),
        (SHUT, SHUT, -DAY, "b"),
        # Its CA is away: 15 days of 90 are enough to wait, less is not.
        (SHUT, HELD, 16 * DAY, None),
        (SHUT, UNDER_WAY, 16 * DAY, None),
        (SHUT, HELD, 15 * DAY + 5 * MINUTE, "a"),
        (SHUT, HELD, 14 * DAY, "a"),
        (SHUT, opened(2 * DAY), 16 * DAY, "a"),
        (SHUT, HELD, -DAY, "a"),
        # Both are away.
        (HELD, LATER, 14 * DAY, None),
        (PROBE, LATER, 14 * DAY, "a"),
    ],
)
def test_a_renewal_stays_with_its_ca_while_there_is_time(a: Breaker, b: Breaker, left: timedelta, chosen: str | None) -> None:
    """A renewal waits for its own CA, and goes elsewhere when a sixth of the lifetime would not be left."""
    found = choose(candidates(a=a, b=b), tenant="", refusing=(), certificate=in_force("https://b.example/dir", left=left), now=NOW)
    assert chosen == (found.name if isinstance(found, Choice) else None)


@pytest.mark.parametrize(("lasts", "left", "waits"), [(160 * HOUR, 27 * HOUR, True), (160 * HOUR, 26 * HOUR, False)])
def test_little_time_is_a_part_of_the_lifetime(lasts: timedelta, left: timedelta, waits: bool) -> None:
    """A six-day certificate waits for its CA until about a day is left."""
    certificate = in_force("https://b.example/dir", lasts=lasts, left=left)
    found = choose(candidates(a=SHUT, b=HELD), tenant="", refusing=(), certificate=certificate, now=NOW)
    assert waits == isinstance(found, NoneAvailable)


def test_waiting_for_the_own_ca_lasts_until_that_ca_is_back() -> None:
    """It is not the earliest of all CAs that a renewal with time waits for, but its own."""
    found = choose(candidates(a=HELD, b=LATER), tenant="", refusing=(), certificate=in_force("https://b.example/dir"), now=NOW)
    assert isinstance(found, NoneAvailable)
    assert (NOW + 2 * HOUR, AUTHORITY_AWAY, Actor.CA) == (found.until, found.problem.type, found.problem.must_act)
    assert "b until 2026-11-26T14:00:00Z" in found.problem.detail
    assert "a until" not in found.problem.detail


def test_when_all_are_away_the_earliest_is_waited_for() -> None:
    """The wait ends when the first is back, and the problem names all with their times."""
    found = choose(candidates(a=LATER, b=HELD), tenant="", refusing=(), certificate=None, now=NOW)
    assert isinstance(found, NoneAvailable)
    assert NOW + 10 * MINUTE == found.until
    assert "a until 2026-11-26T14:00:00Z, b until 2026-11-26T12:10:00Z" in found.problem.detail


@pytest.mark.parametrize(
    ("refusing", "certificate", "chosen"),
    [
        (("a",), None, "b"),
        (("a", "unconfigured"), None, "b"),
        (("b",), in_force("https://b.example/dir"), "a"),
        (("a",), in_force("https://a.example/dir"), "b"),
        ((), in_force("https://gone.example/dir"), "a"),
        ((), in_force("", authority="b"), "b"),
        ((), in_force(""), "a"),
        ((), in_force("https://gone.example/dir", authority="b"), "a"),
    ],
)
def test_a_ca_that_refuses_or_is_gone_is_passed_over(refusing: tuple[str, ...], certificate: InForce | None, chosen: str) -> None:
    """Who refused by policy is not asked again, nor is a CA that is not configured; old records are known by the status's name."""
    assert Choice(chosen) == choose(candidates(a=SHUT, b=SHUT), tenant="", refusing=refusing, certificate=certificate, now=NOW)


def test_when_all_refuse_nobody_is_waited_for() -> None:
    """A domain that every CA refuses by policy is not due by itself, and the problem says who refuses."""
    found = choose(candidates(a=SHUT, b=HELD), tenant="", refusing=("a", "b"), certificate=None, now=NOW)
    assert isinstance(found, NoneAvailable)
    assert (None, ALL_REFUSE, Actor.CUSTOMER) == (found.until, found.problem.type, found.problem.must_act)
    assert "a, b" in found.problem.detail


@pytest.mark.parametrize(
    ("tenant", "chosen"), [("gold", "a"), ("gold-7", "a"), ("silver", "b"), ("Gold", None), ("", None), ("goldsmith", None)]
)
def test_tenants_have_their_cas(tenant: str, chosen: str | None) -> None:
    """Patterns of a CA are matched whole, by case; a tenant without a CA is the operator's to mend."""
    listed = [
        Candidate("a", "https://a.example/dir", SHUT, ("gold", "gold-*")),
        Candidate("b", "https://b.example/dir", SHUT, ("silver",)),
    ]
    found = choose(listed, tenant=tenant, refusing=(), certificate=None, now=NOW)
    if isinstance(found, NoneAvailable):
        assert (None, NO_AUTHORITY, Actor.OPERATOR) == (found.until, found.problem.type, found.problem.must_act)
    assert chosen == (found.name if isinstance(found, Choice) else None)


def test_a_ca_that_the_tenant_lost_does_not_renew() -> None:
    """A certificate of a CA that no longer serves the tenant is renewed elsewhere, without waiting for it."""
    listed = [Candidate("a", "https://a.example/dir", SHUT), Candidate("b", "https://b.example/dir", SHUT, ("other",))]
    found = choose(listed, tenant="mine", refusing=(), certificate=in_force("https://b.example/dir"), now=NOW)
    assert Choice("a") == found
