"""When a domain is to be looked at next, and whether it may be attempted now.

A domain is due for several reasons that know nothing of each other: its renewal, a retry after a failure, a question to the CA about its
renewal window, a check whether it still points here, a revocation that failed. It is taken up at the earliest, and what is not due yet is
then left for later.
"""

from dataclasses import replace
from datetime import datetime

from controlplane.core.ari import next_poll
from controlplane.core.certificate import CertificateRecord
from controlplane.core.departure import next_check
from controlplane.core.managed_domain import Domain, DomainState
from controlplane.core.revocation_plan import REVOCATION_PROBLEMS, next_try


def due_time(
    domain: Domain,
    certificate: CertificateRecord | None,
    attempt: datetime | None,
    now: datetime,
    *,
    revocation: datetime | None = None,
) -> datetime | None:
    """Returns when to look at a domain next, None: never by itself.

    Args:
        domain: with the status that is about to be written.
        certificate: in force, or None.
        attempt: when the next attempt is due; None: none is.
        now: the time; an overdue time in the past is returned as it is.
        revocation: when a pending revocation that has failed just now may be tried again, None: whenever it is due.
    """
    status = domain.status
    again = next_try(domain, now)
    if again is not None and revocation is not None:
        again = max(again, revocation)
    times = [attempt, next_check(status, domain.spec.fqdn.value), again]
    if certificate is not None and status.state is not DomainState.PAUSED:
        times.append(next_poll(status, certificate, now))
    if domain.renewal_is_for_later(now):
        times.append(domain.requested_renewal_time)
    return min((time for time in times if time is not None), default=None)


def must_wait(domain: Domain, now: datetime) -> bool:
    """Whether a failure, or a limit of the CA, puts the next attempt off; what somebody asked for since does not wait."""
    status = domain.status
    error, again = status.last_error, status.next_attempt_time
    if error is None or again is None or again <= now:
        return False
    if error.type in REVOCATION_PROBLEMS and not status.attempt_count:
        # It is no reason to put anything off, and hides none: what failed beside it would have been counted.
        return False
    revocation = domain.spec.revocation
    asked = (
        None if domain.renewal_is_for_later(now) else domain.requested_renewal_time,
        revocation.request_time if revocation is not None and revocation.certificate_id == status.certificate_id else None,
    )
    return not any(time is not None and time > error.time for time in asked)


def order_waits(domain: Domain, now: datetime) -> bool:
    """Whether the order in progress is left alone for now: whoever looked at it last has written until when.

    A worker that was killed has written no such thing: the step that it was at is still shown.
    """
    status = domain.status
    again, error = status.next_attempt_time, status.last_error
    if status.current_step or again is None or again <= now:
        return False
    return error is None or error.type in REVOCATION_PROBLEMS or must_wait(domain, now)


def without_stopped_renewal(domain: Domain, stopped: frozenset[str]) -> Domain:
    """Returns the domain without the renewal that a replacement asked for, if that replacement was stopped."""
    if not domain.spec.renewal_replacement or domain.spec.renewal_replacement not in stopped:
        return domain
    return without_renewal(domain)


def without_renewal(domain: Domain) -> Domain:
    """Returns the domain as if nobody had asked for a renewal."""
    return replace(domain, spec=replace(domain.spec, renewal_request_time=None, renewal_not_before=None, renewal_replacement=""))
