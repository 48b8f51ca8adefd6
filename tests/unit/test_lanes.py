"""The lane of each domain."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.core.failure import ACME, AUTHORITY_UNREACHABLE, OWN
from controlplane.core.lane import Lane
from controlplane.core.lanes import PATIENCE, lane_of, near_end
from controlplane.core.managed_domain import Actor, Domain, DomainSpec, DomainState, DomainStatus, Problem, Revocation
from controlplane.core.names import DomainName

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SHOP, WWW = DomainName("shop.example.com"), DomainName("www.shop.example.com")
SPEC = DomainSpec(SHOP, "uid", NOW - timedelta(days=400), additional_names=(WWW,))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TIMEOUT, WRONG = OWN + "preflight:timeout", OWN + "preflight:wrong-answer"


def problem(type_: str, actor: Actor, name: DomainName = SHOP, *, ago: timedelta = HOUR) -> Problem:
    """What the last attempt ended with."""
    return Problem(type_, "detail", actor, NOW - ago, name.value)


def serving(left: timedelta, lifetime: timedelta = 90 * DAY) -> DomainStatus:
    """The status of a domain whose certificate has so much time left; its renewal is due with a third of it left."""
    end = NOW + left
    return DomainStatus(DomainState.ACTIVE, issue_time=end - lifetime, expire_time=end, renew_time=end - lifetime / 3)


def failing(status: DomainStatus, error: Problem, count: int = 1) -> DomainStatus:
    """The status after failures."""
    return replace(status, attempt_count=count, last_error=error)


UNISSUED = DomainStatus()
GOOD_TIME = serving(29 * DAY)
NEAR = serving(8 * DAY)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(UNISSUED, Lane.NEW, id="first certificate"),
        pytest.param(GOOD_TIME, Lane.RENEWAL, id="renewal in good time"),
        pytest.param(NEAR, Lane.URGENT, id="near its end"),
        pytest.param(serving(-DAY), Lane.URGENT, id="expired"),
        pytest.param(replace(GOOD_TIME, state=DomainState.PAUSED), Lane.SICK, id="paused"),
        pytest.param(replace(NEAR, state=DomainState.PAUSED), Lane.SICK, id="paused near its end"),
        pytest.param(failing(UNISSUED, problem(WRONG, Actor.CUSTOMER)), Lane.SICK, id="new, points elsewhere"),
        pytest.param(failing(UNISSUED, problem(ACME + "caa", Actor.CUSTOMER)), Lane.SICK, id="new, CAA forbids"),
        pytest.param(failing(UNISSUED, problem(TIMEOUT, Actor.NOBODY)), Lane.SICK, id="new, inconclusive"),
        pytest.param(failing(UNISSUED, problem(OWN + "preflight:unreachable", Actor.OPERATOR)), Lane.SICK, id="new, unreachable from here"),
        pytest.param(failing(UNISSUED, problem(AUTHORITY_UNREACHABLE, Actor.CA)), Lane.NEW, id="new, the CA is away"),
        pytest.param(failing(UNISSUED, problem(ACME + "rateLimited", Actor.NOBODY)), Lane.NEW, id="new, the CA's limits"),
        pytest.param(failing(UNISSUED, problem(ACME + "badCSR", Actor.OPERATOR)), Lane.NEW, id="new, our own fault"),
        pytest.param(failing(GOOD_TIME, problem(WRONG, Actor.CUSTOMER)), Lane.SICK, id="renewal, points elsewhere"),
        pytest.param(failing(GOOD_TIME, problem(TIMEOUT, Actor.NOBODY)), Lane.SICK, id="renewal, inconclusive"),
        pytest.param(failing(GOOD_TIME, problem(AUTHORITY_UNREACHABLE, Actor.CA), 9), Lane.RENEWAL, id="renewal, the CA is away"),
        pytest.param(failing(NEAR, problem(WRONG, Actor.CUSTOMER)), Lane.SICK, id="near its end, points elsewhere"),
        pytest.param(failing(NEAR, problem(TIMEOUT, Actor.NOBODY), 3), Lane.URGENT, id="near its end, inconclusive"),
        pytest.param(failing(NEAR, problem(TIMEOUT, Actor.NOBODY), 4), Lane.SICK, id="near its end, inconclusive for long"),
        pytest.param(failing(NEAR, problem(AUTHORITY_UNREACHABLE, Actor.CA), 9), Lane.URGENT, id="near its end, the CA is away"),
        pytest.param(failing(serving(60 * DAY), problem(WRONG, Actor.CUSTOMER, WWW), 5), Lane.SICK, id="an additional name is left out"),
        pytest.param(failing(GOOD_TIME, problem(WRONG, Actor.CUSTOMER, WWW), 5), Lane.RENEWAL, id="the same, but the renewal is due"),
        pytest.param(failing(NEAR, problem(WRONG, Actor.CUSTOMER, WWW), 5), Lane.URGENT, id="the same near its end"),
    ],
)
def test_lane_follows_from_status(status: DomainStatus, expected: Lane) -> None:
    """A domain waits with its like: what is near its end first, what will fail again apart."""
    assert expected is lane_of(Domain(SPEC, status, 1), NOW)


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        pytest.param({"renewal_request_time": NOW}, GOOD_TIME, Lane.NEW, id="asked for"),
        pytest.param({"renewal_request_time": NOW}, NEAR, Lane.URGENT, id="asked for near its end"),
        pytest.param({"renewal_request_time": NOW}, failing(GOOD_TIME, problem(WRONG, Actor.CUSTOMER), 9), Lane.NEW, id="repaired"),
        pytest.param(
            {"renewal_request_time": NOW},
            failing(GOOD_TIME, problem(WRONG, Actor.CUSTOMER, ago=-HOUR), 9),
            Lane.SICK,
            id="failed again since it was asked for",
        ),
        pytest.param({"renewal_request_time": NOW, "renewal_replacement": "mass"}, GOOD_TIME, Lane.RENEWAL, id="replacement of many"),
        pytest.param(
            {"renewal_request_time": NOW, "renewal_replacement": "mass"},
            failing(GOOD_TIME, problem(WRONG, Actor.CUSTOMER), 9),
            Lane.SICK,
            id="replacement of many, sick",
        ),
        pytest.param(
            {"renewal_request_time": NOW - DAY},
            replace(GOOD_TIME, renewal_done_time=NOW),
            Lane.RENEWAL,
            id="asked for and done",
        ),
        pytest.param({"revocation": Revocation("id", 1, NOW)}, serving(60 * DAY), Lane.URGENT, id="to be revoked"),
        pytest.param(
            {"revocation": Revocation("id", 1, NOW)}, replace(serving(60 * DAY), revocation_done_time=NOW), Lane.RENEWAL, id="revoked"
        ),
    ],
)
def test_lane_follows_from_what_is_asked_for(spec: dict[str, object], status: DomainStatus, expected: Lane) -> None:
    """A person who asks is given one attempt among the new ones; a replacement of many stands with the renewals."""
    assert expected is lane_of(Domain(replace(SPEC, **spec), status, 1), NOW)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(UNISSUED, Lane.RENEWAL), (failing(UNISSUED, problem(WRONG, Actor.CUSTOMER), 3), Lane.RENEWAL), (NEAR, Lane.URGENT)],
)
def test_open_order_does_not_wait_for_new_ones(status: DomainStatus, expected: Lane) -> None:
    """An order that is open at the CA is gone on with beside the renewals: it has been paid for, and runs out."""
    assert expected is lane_of(Domain(SPEC, status, 1), NOW, order_open=True)


def test_lane_is_that_of_the_due_time() -> None:
    """What is in good time now is in the lane that it belongs to when it comes due."""
    domain = Domain(SPEC, GOOD_TIME, 1)
    assert [Lane.RENEWAL, Lane.URGENT] == [lane_of(domain, NOW + 19 * DAY), lane_of(domain, NOW + 21 * DAY)]


@pytest.mark.parametrize(
    ("lifetime", "left"),
    [(90 * DAY, 9 * DAY), (45 * DAY, 4.5 * DAY), (160 * HOUR, 24 * HOUR), (HOUR, HOUR / 5)],
    ids=["classic", "tlsserver", "shortlived", "an hour"],
)
def test_near_the_end_is_a_tenth_or_a_day(lifetime: timedelta, left: timedelta) -> None:
    """A tenth of the life, a day where that is more, and a fifth at most."""
    second = timedelta(seconds=1)
    end = NOW + lifetime
    assert [False, True] == [near_end(NOW, end, end - left - second), near_end(NOW, end, end - left + second)]


def test_what_has_ended_before_it_was_issued_is_near_its_end() -> None:
    """By a clock that is far ahead of the CA's, a certificate has ended when it comes."""
    end = NOW - 10 * DAY
    assert near_end(NOW, end, end + DAY + HOUR)
    assert near_end(NOW, end, NOW)


def test_patience_is_short_where_others_wait() -> None:
    """A new name that hangs is put among the sick after three seconds; there it is given the full time."""
    assert timedelta(seconds=3) == PATIENCE[Lane.NEW]
    assert set(Lane) == set(PATIENCE)
    assert PATIENCE[Lane.NEW] < PATIENCE[Lane.RENEWAL] < PATIENCE[Lane.SICK] == PATIENCE[Lane.URGENT]
