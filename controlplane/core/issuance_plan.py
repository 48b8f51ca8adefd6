"""What a domain needs: decided from what is stored, before anything is sent anywhere.

A domain's own name is what it is for; its additional names ride on the same certificate and never hold the own name up. A name that is
left out is looked at again, and the certificate is issued anew with it once it passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from controlplane.core.backoff import FailureKind
from controlplane.core.certificate import CertificateRecord
from controlplane.core.failure import is_held, kind_of
from controlplane.core.managed_domain import Domain, DomainState, DomainStatus, Problem
from controlplane.core.order import OrderRecord
from controlplane.core.ports import PreflightVerdict, Work
from controlplane.core.renewal import renew_time

# An inconclusive pre-flight delays an order this often, and no more: it may be our own view that is blocked.
MAX_DELAYS = 2
# So many failed attempts (about twenty minutes) before a renewal drops an additional name that the certificate in force has.
ATTEMPTS_BEFORE_DROPPING = 5


class Need(Enum):
    """Why an order is placed, or that none is."""

    NOTHING = auto()
    FIRST = auto()
    RENEWAL = auto()
    EXTENSION = auto()
    """The certificate in force is young but leaves names out."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What to do after the pre-flight.

    `names` are the names to order, none when there is to be no order now; `omitted` are the additional names left out, with their
    problems; `problem` is why there is no order; `delayed` is true when that is inconclusive.
    """

    names: tuple[str, ...] = ()
    omitted: tuple[tuple[str, Problem], ...] = ()
    problem: Problem | None = None
    delayed: bool = False


def need(work: Work, now: datetime) -> Need:
    """Returns whether `work` needs a certificate, and why; an order in progress is not looked at."""
    domain, certificate = work.domain, work.certificate
    if domain.status.state is DomainState.PAUSED:
        return Need.NOTHING
    if certificate is None:
        return Need.FIRST
    wanted = {name.value for name in domain.spec.all_names}
    if planned_renewal(domain, certificate) <= now or not set(certificate.names) <= wanted:
        return Need.RENEWAL
    return Need.NOTHING if wanted == set(certificate.names) else Need.EXTENSION


def planned_renewal(domain: Domain, certificate: CertificateRecord) -> datetime:
    """Returns when the certificate in force is to be renewed: as planned when it was issued, or earlier if somebody asked for that.

    The status says what was planned, unless it speaks of another certificate.
    """
    status = domain.status
    if status.renew_time is not None and status.certificate_id == certificate.id:
        planned = status.renew_time
    else:
        planned = renew_time(certificate.not_before, certificate.not_after, certificate.fqdn)
    asked = domain.requested_renewal_time
    return planned if asked is None else min(planned, asked)


def can_resume(order: OrderRecord, domain: Domain, directory_url: str) -> bool:
    """Whether an order in progress still serves the domain: for its own name, for no name it has not, with the same CA."""
    wanted = {name.value for name in domain.spec.all_names}
    return order.directory_url == directory_url and domain.spec.fqdn.value in order.names and set(order.names) <= wanted


def admit(
    verdicts: Sequence[PreflightVerdict], *, status: DomainStatus, certificate: CertificateRecord | None, need: Need, now: datetime
) -> Admission:
    """Decides which names are ordered.

    Args:
        verdicts: one for each name of the domain, its own name first.
        status: with the failures so far.
        certificate: in force, or None.
        need: why an order is wanted.
        now: for whether the certificate is valid.
    """
    may_delay = _may_delay(status)
    own = verdicts[0]
    if own.problem is not None and (own.conclusive or may_delay):
        return Admission(problem=own.problem, delayed=not own.conclusive)
    failing = {v.name.value: v.problem for v in verdicts[1:] if v.problem is not None and (v.conclusive or may_delay)}
    passing = tuple(v.name.value for v in verdicts if v.name.value not in failing)
    omitted = tuple(failing.items())
    if certificate is not None and certificate.not_after > now:
        dropped = sorted(failing.keys() & set(certificate.names))
        if dropped and (need is Need.EXTENSION or keeps_names(certificate, status, now)):
            return Admission(omitted=omitted, problem=failing[dropped[0]])
        if need is Need.EXTENSION and set(passing) <= set(certificate.names):
            return Admission(omitted=omitted, problem=omitted[0][1])
    return Admission(names=passing, omitted=omitted)


def keeps_names(certificate: CertificateRecord | None, status: DomainStatus, now: datetime) -> bool:
    """Whether a renewal fails rather than drop a name of the certificate in force: at first, and while there is time."""
    if certificate is None or status.attempt_count >= ATTEMPTS_BEFORE_DROPPING:
        return False
    return certificate.not_after - now > (certificate.not_after - certificate.not_before) / 6


def attempts_after(status: DomainStatus, kind: FailureKind) -> int:
    """Returns the attempt count after one more failure of `kind`.

    The count begins again when an order fails after failed pre-flights: passing the pre-flight was a success, and twenty minutes
    of its quick attempts are no reason to wait a day.
    """
    last = status.last_error
    if last is not None and kind_of(last) is FailureKind.PREFLIGHT and kind is not FailureKind.PREFLIGHT:
        return 1
    return status.attempt_count + 1


def _may_delay(status: DomainStatus) -> bool:
    # After a failure of another kind its own backoff has delayed the order already.
    error = status.last_error
    if error is not None and kind_of(error) is not FailureKind.PREFLIGHT and not is_held(error):
        return False
    return status.attempt_count < MAX_DELAYS
