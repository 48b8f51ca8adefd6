"""What is done about a revocation, and when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.core.domain_intents import with_renewal, with_revocation
from controlplane.core.errors import FailedPrecondition
from controlplane.core.managed_domain import Actor, Domain, DomainStatus, Problem, Revocation
from controlplane.core.revocation_plan import (
    LONGEST_OPERATOR_WAIT,
    LONGEST_WAIT,
    REVOCATION_FAILED,
    REVOCATION_REFUSED,
    RevocationReason,
    RevocationStep,
    Standing,
    needs_new_certificate,
    next_step,
    next_try,
    retry_wait,
    shown_problem,
    standing_of,
)
from tests.fakes import samples

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SHOP = "shop.example.com"


def asked(reason: int = 1, certificate_id: str = "a" * 32, at: datetime = NOW) -> Revocation:
    return Revocation(certificate_id, reason, at)


@pytest.mark.parametrize(
    ("reason", "standing", "expected"),
    [
        (1, Standing.IN_FORCE, RevocationStep.REVOKE),
        (5, Standing.IN_FORCE, RevocationStep.REVOKE),
        (4, Standing.IN_FORCE, RevocationStep.ISSUE_FIRST),
        (0, Standing.IN_FORCE, RevocationStep.ISSUE_FIRST),
        *((reason, Standing.PREVIOUS, RevocationStep.REVOKE) for reason in RevocationReason),
        *((reason, Standing.GONE, RevocationStep.CLOSE) for reason in RevocationReason),
        *((reason, Standing.EXPIRED, RevocationStep.CLOSE) for reason in RevocationReason),
        (9, Standing.IN_FORCE, RevocationStep.REVOKE),
    ],
)
def test_plan(reason: int, standing: Standing, expected: RevocationStep) -> None:
    """A key that is out is revoked at once, a certificate that is merely replaced only when it is not served any more."""
    assert expected == next_step(asked(reason), standing)


@pytest.mark.parametrize("standing", Standing)
def test_nothing_pending(standing: Standing) -> None:
    """Without a request nothing is done, whatever there is."""
    assert RevocationStep.NOTHING == next_step(None, standing)


def test_standing() -> None:
    """A certificate is found in force or before that, until it has expired; else it is gone."""
    current, before = samples.certificate(SHOP), samples.certificate(SHOP)
    now, end = current.not_before, current.not_after
    assert (Standing.IN_FORCE, current) == standing_of(current.id, current, before, now)
    assert (Standing.PREVIOUS, before) == standing_of(before.id, current, before, now)
    assert (Standing.IN_FORCE, current) == standing_of(current.id, current, None, end)
    assert (Standing.EXPIRED, None) == standing_of(current.id, current, None, end + SECOND)
    assert (Standing.GONE, None) == standing_of("f" * 32, current, before, now)
    assert (Standing.GONE, None) == standing_of("f" * 32, None, None, now)


def test_new_certificate_is_needed_until_there_is_one() -> None:
    """The revoked certificate is replaced before and after its revocation is done; another certificate, or none, is not."""
    held = samples.certificate(SHOP)
    spec = replace(samples.spec(SHOP), revocation=asked(certificate_id=held.id))
    pending = Domain(spec, DomainStatus(), 1)
    done = Domain(spec, DomainStatus(revocation_done_time=NOW), 1)
    assert (True, True) == (needs_new_certificate(pending, held), needs_new_certificate(done, held))
    assert not needs_new_certificate(done, samples.certificate(SHOP))
    assert not needs_new_certificate(pending, None)
    assert not needs_new_certificate(Domain(samples.spec(SHOP), DomainStatus(), 1), held)


@pytest.mark.parametrize(
    ("age", "retry_after", "least"),
    [
        (timedelta(0), None, timedelta(seconds=10)),
        (timedelta(minutes=4), None, timedelta(minutes=4)),
        (timedelta(days=3), None, LONGEST_WAIT),
        (timedelta(0), 3600.0, timedelta(hours=1)),
    ],
)
def test_waits_double(age: timedelta, retry_after: float | None, least: timedelta) -> None:
    """The wait is as long as it was tried already, bounded, never shorter than the CA asked, and a fifth longer at most."""
    wait = retry_wait(asked(at=NOW - age), NOW, SHOP, longest=LONGEST_WAIT, retry_after=retry_after)
    assert least <= wait <= least + LONGEST_WAIT * 0.2


def problem(type_: str, actor: Actor) -> Problem:
    return Problem(type_, "why", actor, NOW)


CUSTOMER = problem("urn:ietf:params:acme:error:dns", Actor.CUSTOMER)
FAULT = problem("urn:ietf:params:acme:error:serverInternal", Actor.CA)
REFUSED = problem(REVOCATION_REFUSED, Actor.OPERATOR)
FAILED = Problem(REVOCATION_FAILED, "the certificate is not revoked yet: why", Actor.CA, NOW)


@pytest.mark.parametrize(
    ("before", "failure", "expected"),
    [
        (None, FAULT, FAILED),
        (None, REFUSED, REFUSED),
        (FAILED, FAULT, FAILED),
        (REFUSED, FAULT, FAILED),
        (CUSTOMER, FAULT, CUSTOMER),
        (CUSTOMER, REFUSED, REFUSED),
    ],
)
def test_shown_problem(before: Problem | None, failure: Problem, expected: Problem) -> None:
    """A failed revocation is told apart from a failed order, and hides why there is none only when an operator must act."""
    assert expected == shown_problem(DomainStatus(last_error=before), failure)


@pytest.mark.parametrize(
    ("reason", "in_force", "error", "least"),
    [
        (1, True, None, LONGEST_WAIT),
        (1, True, CUSTOMER, LONGEST_WAIT),
        (1, True, FAILED, LONGEST_WAIT),
        (1, True, REFUSED, LONGEST_OPERATOR_WAIT),
        (4, False, FAILED, LONGEST_WAIT),
        (4, True, None, None),
    ],
)
def test_next_try(reason: int, in_force: bool, error: Problem | None, least: timedelta | None) -> None:
    """A revocation is tried again by itself, however long the domain's other troubles may wait; not while it waits for a certificate."""
    status = DomainStatus(certificate_id="a" * 32 if in_force else "b" * 32, last_error=error)
    pending = Domain(replace(samples.spec(SHOP), revocation=asked(reason, at=NOW - timedelta(days=1))), status, 1)
    found = next_try(pending, NOW)
    if least is None:
        assert None is found
    else:
        assert found is not None
        assert least <= found - NOW <= least * 1.2
    assert None is next_try(replace(pending, status=replace(status, revocation_done_time=NOW)), NOW)


# ---- which intent gives way ----


def domain(**status: datetime | None) -> Domain:
    return Domain(samples.spec(SHOP), DomainStatus(**status), 1)


def with_spec(given: Domain, **changes: object) -> Domain:
    return replace(given, spec=replace(given.spec, **changes))


def test_replacement_gives_way_to_a_request_by_hand() -> None:
    """What a person asked for stands until it is satisfied; then a replacement may ask, once."""
    by_hand = with_spec(domain(), renewal_request_time=NOW)
    assert by_hand.spec is with_renewal(by_hand, NOW, None, "r1")
    satisfied = replace(by_hand, status=DomainStatus(renewal_done_time=NOW))
    spec = with_renewal(satisfied, NOW, NOW + SECOND, "r1")
    assert ("r1", NOW + SECOND) == (spec.renewal_replacement, spec.renewal_not_before)
    asked_already = replace(satisfied, spec=spec)
    assert spec is with_renewal(asked_already, NOW, None, "r1")


def test_request_by_hand_takes_the_place_of_a_replacement() -> None:
    """It counts as asked for by itself: stopping the replacement does not take it away."""
    by_job = with_spec(domain(), renewal_request_time=NOW, renewal_not_before=NOW + SECOND, renewal_replacement="r1")
    spec = with_renewal(by_job, NOW, None, "")
    assert ("", None) == (spec.renewal_replacement, spec.renewal_not_before)
    assert spec.renewal_request_time is not None
    assert spec.renewal_request_time > NOW


def test_later_replacement_takes_the_place_of_an_earlier_one() -> None:
    """Which of two goes first is decided before; the store takes the later."""
    by_job = with_spec(domain(), renewal_request_time=NOW, renewal_replacement="r1")
    assert "r2" == with_renewal(by_job, NOW, None, "r2").renewal_replacement


def test_revocation_is_asked_for_once() -> None:
    """The same again changes nothing, done or not; another reason for the same certificate is a later request."""
    pending = replace(domain(), spec=with_revocation(domain(), asked(4)))
    assert asked(4) == pending.spec.revocation
    assert pending.spec is with_revocation(pending, asked(4, at=NOW + SECOND))
    done = replace(pending, status=DomainStatus(revocation_done_time=NOW))
    assert done.spec is with_revocation(done, asked(4, at=NOW + SECOND))
    stronger = with_revocation(pending, asked(1, at=NOW - SECOND)).revocation
    assert stronger is not None
    assert 1 == stronger.reason
    assert stronger.request_time > NOW


def test_revocation_of_another_certificate_waits() -> None:
    """A second certificate of the domain cannot be revoked while the first is pending, and can after."""
    pending = with_spec(domain(), revocation=asked())
    with pytest.raises(FailedPrecondition, match="is being revoked"):
        with_revocation(pending, asked(certificate_id="b" * 32))
    done = replace(pending, status=DomainStatus(revocation_done_time=NOW))
    later = with_revocation(done, asked(certificate_id="b" * 32)).revocation
    assert later is not None
    assert ("b" * 32, True) == (later.certificate_id, later.request_time > NOW)


def test_a_paused_domain_is_revoked_at_once() -> None:
    """It gets no new certificate that could be waited for."""
    asked = Revocation("c", RevocationReason.SUPERSEDED, datetime(2026, 11, 1, tzinfo=UTC))
    assert RevocationStep.ISSUE_FIRST is next_step(asked, Standing.IN_FORCE)
    assert RevocationStep.REVOKE is next_step(asked, Standing.IN_FORCE, paused=True)
