"""What a domain needs, and which of its names are ordered."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from controlplane.core.backoff import FailureKind
from controlplane.core.certificate import CertificateRecord
from controlplane.core.failure import AUTHORITY_UNREACHABLE
from controlplane.core.issuance_plan import Admission, Need, admit, attempts_after, can_resume, keeps_names, need, planned_renewal
from controlplane.core.managed_domain import Actor, Domain, DomainState, DomainStatus, Problem
from controlplane.core.names import DomainName
from controlplane.core.ports import PreflightVerdict, Work
from tests.fakes import samples

NOW = samples.now()
SHOP, WWW = "shop.example.com", "www.shop.example.com"
DIRECTORY = "https://ca.example/dir"


def problem(type_: str = "urn:certplane:error:preflight:timeout") -> Problem:
    return Problem(type_, "no", Actor.CUSTOMER, NOW)


def verdict(name: str, *, good: bool = True, conclusive: bool = True) -> PreflightVerdict:
    return PreflightVerdict(DomainName(name), None if good else problem(), conclusive)


def certificate(*names: str, age: timedelta = timedelta(0)) -> CertificateRecord:
    made = samples.certificate(*names)
    return replace(made, not_before=NOW - age, not_after=NOW - age + timedelta(days=90))


def work(status: DomainStatus | None = None, held: CertificateRecord | None = None, *, asked: bool = False) -> Work:
    spec = samples.spec(SHOP, WWW)
    if asked:
        spec = replace(spec, renewal_request_time=NOW)
    return Work(Domain(spec, status or DomainStatus(), 1), None, held)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (work(), Need.FIRST),
        (work(held=certificate(SHOP, WWW)), Need.NOTHING),
        (work(held=certificate(SHOP)), Need.EXTENSION),
        (work(held=certificate(SHOP, WWW), asked=True), Need.RENEWAL),
        (work(DomainStatus(renewal_done_time=NOW), certificate(SHOP, WWW), asked=True), Need.NOTHING),
        (work(held=certificate(SHOP, WWW, age=timedelta(days=61))), Need.RENEWAL),
        (work(held=certificate(SHOP, age=timedelta(days=61))), Need.RENEWAL),
        (work(held=certificate(SHOP, WWW, "gone.example.com")), Need.RENEWAL),
        (work(DomainStatus(state=DomainState.PAUSED)), Need.NOTHING),
    ],
)
def test_what_a_domain_needs(given: Work, expected: Need) -> None:
    """No certificate, a renewal that is due or asked for, names too many and names too few each need an order; all else rests."""
    assert need(given, NOW) is expected


@pytest.mark.parametrize(
    ("not_before", "expected"), [(NOW + timedelta(days=3), Need.NOTHING), (NOW, Need.RENEWAL), (NOW - timedelta(days=3), Need.RENEWAL)]
)
def test_a_renewal_that_was_asked_for_later_waits(not_before: datetime, expected: Need) -> None:
    """A renewal with a time begins at that time and not before, and the domain is due then."""
    held = certificate(SHOP, WWW)
    spec = replace(samples.spec(SHOP, WWW), renewal_request_time=NOW - timedelta(days=9), renewal_not_before=not_before)
    given = Domain(spec, DomainStatus(), 1)
    assert need(Work(given, None, held), NOW) is expected
    assert not_before == planned_renewal(given, held)


def test_a_renewal_that_is_planned_for_earlier_stays() -> None:
    """To ask for a renewal after the planned one changes nothing."""
    held = certificate(SHOP, WWW, age=timedelta(days=50))
    spec = replace(samples.spec(SHOP, WWW), renewal_request_time=NOW, renewal_not_before=NOW + timedelta(days=30))
    assert planned_renewal(Domain(samples.spec(SHOP, WWW), DomainStatus(), 1), held) == planned_renewal(
        Domain(spec, DomainStatus(), 1), held
    )


def test_a_planned_renewal_time_of_another_certificate_does_not_count() -> None:
    """A status that speaks of another certificate does not decide when this one is renewed."""
    held = certificate(SHOP, WWW)
    stale = DomainStatus(certificate_id="another", renew_time=NOW - timedelta(days=1))
    assert need(work(stale, held), NOW) is Need.NOTHING
    assert need(work(replace(stale, certificate_id=held.id), held), NOW) is Need.RENEWAL


@pytest.mark.parametrize(
    ("names", "directory_url", "resumes"),
    [
        ((SHOP, WWW), DIRECTORY, True),
        ((SHOP,), DIRECTORY, True),
        ((WWW,), DIRECTORY, False),
        ((SHOP, "gone.example.com"), DIRECTORY, False),
        ((SHOP, WWW), "https://other.example/dir", False),
    ],
)
def test_which_orders_are_gone_on_with(names: tuple[str, ...], directory_url: str, resumes: bool) -> None:
    """An order serves the domain while it has the own name, no name that the domain has not, and the CA in use."""
    assert can_resume(samples.order(*names), work().domain, directory_url) is resumes


def admission(*verdicts: PreflightVerdict, status: DomainStatus | None = None, held: CertificateRecord | None = None) -> Admission:
    given = work(status, held)
    return admit(verdicts, status=given.domain.status, certificate=held, need=need(given, NOW), now=NOW)


def test_names_that_pass_are_ordered() -> None:
    """All names that pass are ordered, the own name first."""
    assert Admission(names=(SHOP, WWW)) == admission(verdict(SHOP), verdict(WWW))


def test_a_failing_own_name_forbids_the_order() -> None:
    """Nothing is ordered without the domain's own name."""
    assert Admission(problem=problem()) == admission(verdict(SHOP, good=False), verdict(WWW))


def test_a_failing_additional_name_is_left_out() -> None:
    """An additional name that fails is omitted, with its problem."""
    assert Admission(names=(SHOP,), omitted=((WWW, problem()),)) == admission(verdict(SHOP), verdict(WWW, good=False))


@pytest.mark.parametrize("conclusive", [True, False])
@pytest.mark.parametrize("attempts", [0, 1, 2, 50])
def test_only_inconclusive_failures_are_ordered_anyway(attempts: int, conclusive: bool) -> None:
    """An inconclusive failure is delayed twice, then ordered; a conclusive one never is."""
    status = DomainStatus(attempt_count=attempts, last_error=problem() if attempts else None)
    result = admission(verdict(SHOP, good=False, conclusive=conclusive), verdict(WWW), status=status)
    expected = Admission(names=(SHOP, WWW)) if attempts >= 2 and not conclusive else Admission(problem=problem(), delayed=not conclusive)
    assert expected == result


def test_no_delay_on_top_of_another_backoff() -> None:
    """After a failure of the CA or of an order its own backoff has passed, so an inconclusive pre-flight delays no further."""
    status = DomainStatus(attempt_count=1, last_error=problem(AUTHORITY_UNREACHABLE))
    assert Admission(names=(SHOP, WWW)) == admission(verdict(SHOP, good=False, conclusive=False), verdict(WWW), status=status)


def test_an_extension_needs_a_name_that_passes() -> None:
    """A young certificate is not issued again for the names that it has."""
    result = admission(verdict(SHOP), verdict(WWW, good=False), held=certificate(SHOP))
    assert Admission(omitted=((WWW, problem()),), problem=problem()) == result


def test_an_extension_drops_nothing() -> None:
    """A young certificate is not replaced by one with other names but fewer."""
    given = replace(samples.spec(SHOP, WWW, "new.example.com"))
    held = certificate(SHOP, WWW)
    result = admit(
        [verdict(SHOP), verdict(WWW, good=False), verdict("new.example.com")],
        status=DomainStatus(),
        certificate=held,
        need=need(Work(Domain(given, DomainStatus(), 1), None, held), NOW),
        now=NOW,
    )
    assert Admission(omitted=((WWW, problem()),), problem=problem()) == result


@pytest.mark.parametrize(
    ("age", "attempts", "names"),
    [(61, 0, ()), (61, 4, ()), (61, 5, (SHOP,)), (76, 0, (SHOP,)), (91, 0, (SHOP,))],
)
def test_when_a_renewal_drops_a_name(age: int, attempts: int, names: tuple[str, ...]) -> None:
    """A name of the certificate in force is dropped after five failures, or with half of the renewal's time gone, or once it expired."""
    status = DomainStatus(attempt_count=attempts, last_error=problem() if attempts else None)
    result = admission(verdict(SHOP), verdict(WWW, good=False), status=status, held=certificate(SHOP, WWW, age=timedelta(days=age)))
    assert names == result.names


def test_without_a_certificate_no_name_is_kept() -> None:
    """There is nothing to keep before the first certificate."""
    assert not keeps_names(None, DomainStatus(), NOW)


@pytest.mark.parametrize(
    ("last", "kind", "count"),
    [
        (None, FailureKind.PREFLIGHT, 6),
        (problem(), FailureKind.PREFLIGHT, 6),
        (problem(), FailureKind.ORDER, 1),
        (problem(), FailureKind.AUTHORITY, 1),
        (problem(AUTHORITY_UNREACHABLE), FailureKind.PREFLIGHT, 6),
        (problem(AUTHORITY_UNREACHABLE), FailureKind.ORDER, 6),
    ],
)
def test_how_attempts_are_counted(last: Problem | None, kind: FailureKind, count: int) -> None:
    """Attempts add up, except that a passed pre-flight ends the count of failed ones."""
    assert count == attempts_after(DomainStatus(attempt_count=5, last_error=last), kind)
