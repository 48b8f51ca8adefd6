"""What is done about a revocation that was asked for, and when: before a new certificate is issued, or after.

A certificate that is revoked and still served is an outage for every client that checks (RFC 5280 section 6.3; browsers by lists that
are some hours old). So a certificate that is merely to be replaced is revoked only after the new one is in force. A key that somebody
else has is another matter: each hour in which the certificate counts is an hour in which he can pose as the site, so the CA is told
first. The revoked certificate is still served until the new one is there, in seconds if nothing is wrong: to serve something that most
clients accept for some hours more beats to serve nothing. Every new certificate has a new key.

| reason (RFC 5280 section 5.3.1) | the certificate is in force | it is the one before |
|---|---|---|
| keyCompromise | revoke, then issue at once | revoke |
| cessationOfOperation | revoke, then issue if the pre-flight finds that the names point here | revoke |
| superseded, unspecified | issue, then revoke | revoke |

A certificate that has expired, or that is not kept any more, cannot be revoked: the request is closed.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum, IntEnum, auto
from types import MappingProxyType
from typing import Final

from controlplane.core.certificate import CertificateRecord
from controlplane.core.jitter import fraction
from controlplane.core.managed_domain import Actor, Domain, DomainState, DomainStatus, Problem, Revocation


class RevocationReason(IntEnum):
    """The reason codes of RFC 5280 section 5.3.1 that a subscriber may give (Let's Encrypt refuses the others)."""

    UNSPECIFIED = 0
    KEY_COMPROMISE = 1
    SUPERSEDED = 4
    CESSATION_OF_OPERATION = 5


class Standing(Enum):
    """Where the certificate that is to be revoked stands with its domain."""

    IN_FORCE = auto()
    PREVIOUS = auto()
    GONE = auto()
    """It was replaced more than once since: nobody has it any more to show it to the CA."""
    EXPIRED = auto()


class RevocationStep(Enum):
    """What is to be done now."""

    NOTHING = auto()
    """No revocation is pending."""
    REVOKE = auto()
    ISSUE_FIRST = auto()
    """It waits until a new certificate is in force."""
    CLOSE = auto()
    """There is nothing to revoke."""


# What is not in the table is an unknown reason, written by a newer version: it is treated with the greatest care.
PLAN: Final[Mapping[tuple[RevocationReason, Standing], RevocationStep]] = MappingProxyType(
    {
        (RevocationReason.KEY_COMPROMISE, Standing.IN_FORCE): RevocationStep.REVOKE,
        (RevocationReason.KEY_COMPROMISE, Standing.PREVIOUS): RevocationStep.REVOKE,
        (RevocationReason.CESSATION_OF_OPERATION, Standing.IN_FORCE): RevocationStep.REVOKE,
        (RevocationReason.CESSATION_OF_OPERATION, Standing.PREVIOUS): RevocationStep.REVOKE,
        (RevocationReason.SUPERSEDED, Standing.IN_FORCE): RevocationStep.ISSUE_FIRST,
        (RevocationReason.SUPERSEDED, Standing.PREVIOUS): RevocationStep.REVOKE,
        (RevocationReason.UNSPECIFIED, Standing.IN_FORCE): RevocationStep.ISSUE_FIRST,
        (RevocationReason.UNSPECIFIED, Standing.PREVIOUS): RevocationStep.REVOKE,
    }
)

REVOCATION_REFUSED: Final = "urn:certplane:error:revocationRefused"
"""The CA refuses for good: the operator's matter."""
REVOCATION_FAILED: Final = "urn:certplane:error:revocationFailed"
"""The CA is at fault, or limits us: it is asked again."""
AUTHORITY_NOT_CONFIGURED: Final = "urn:certplane:error:authorityNotConfigured"
"""The certificate's CA was taken out of the configuration: the operator's matter."""

REVOCATION_PROBLEMS: Final = frozenset({REVOCATION_REFUSED, REVOCATION_FAILED, AUTHORITY_NOT_CONFIGURED})
"""Types of problems that are about a revocation: none of them is a reason to put off the issue of a certificate."""

SHORTEST_WAIT: Final = timedelta(seconds=10)
LONGEST_WAIT: Final = timedelta(minutes=30)
LONGEST_OPERATOR_WAIT: Final = timedelta(hours=6)
"""When only an operator can mend it; he asks again for the revocation to have it tried at once."""
JITTER: Final = 0.2


def standing_of(
    certificate_id: str, in_force: CertificateRecord | None, previous: CertificateRecord | None, now: datetime
) -> tuple[Standing, CertificateRecord | None]:
    """Returns where a certificate stands, with its record as long as there is one that can be revoked."""
    for standing, record in ((Standing.IN_FORCE, in_force), (Standing.PREVIOUS, previous)):
        if record is not None and record.id == certificate_id:
            return (standing, record) if now <= record.not_after else (Standing.EXPIRED, None)
    return Standing.GONE, None


def next_step(revocation: Revocation | None, standing: Standing, *, paused: bool = False) -> RevocationStep:
    """Returns what to do about a pending revocation, None: there is none.

    A domain that is `paused` gets no new certificate, so none is waited for.
    """
    if revocation is None:
        return RevocationStep.NOTHING
    if standing in {Standing.GONE, Standing.EXPIRED}:
        return RevocationStep.CLOSE
    try:
        step = PLAN[RevocationReason(revocation.reason), standing]
    except ValueError:
        return RevocationStep.REVOKE
    return RevocationStep.REVOKE if paused and step is RevocationStep.ISSUE_FIRST else step


def needs_new_certificate(domain: Domain, certificate: CertificateRecord | None) -> bool:
    """Returns whether the certificate in force is to be replaced at once because it is revoked or is to be.

    That stays true after the revocation is done, until another certificate is in force, whatever else the domain waits for.
    """
    asked = domain.spec.revocation
    return asked is not None and certificate is not None and asked.certificate_id == certificate.id


def retry_wait(revocation: Revocation, now: datetime, name: str, *, longest: timedelta, retry_after: float | None = None) -> timedelta:
    """Returns how long to wait before the CA is asked again: about as long as it was tried already, so the waits double.

    Args:
        revocation: which was tried in vain.
        now: the time.
        name: the domain, which decides the jitter: domains that failed together do not come back together.
        longest: the wait without jitter, at most.
        retry_after: seconds that the CA asked for; the wait is never shorter.
    """
    base = min(max(now - revocation.request_time, SHORTEST_WAIT), longest)
    return max(base, timedelta(seconds=retry_after or 0)) + base * (JITTER * fraction("revocation", name))


def next_try(domain: Domain, now: datetime) -> datetime | None:
    """Returns when a pending revocation is to be tried again; None when there is none, or when it waits for a new certificate.

    It is a reason of its own to look at a domain: whatever else fails may wait for a day.

    Args:
        domain: with the status that is about to be written.
        now: the time.
    """
    pending, status = domain.pending_revocation, domain.status
    if pending is None:
        return None
    standing = Standing.IN_FORCE if pending.certificate_id == status.certificate_id else Standing.PREVIOUS
    if next_step(pending, standing, paused=status.state is DomainState.PAUSED) is RevocationStep.ISSUE_FIRST:
        return None
    error = status.last_error
    refused = error is not None and error.type in REVOCATION_PROBLEMS and error.must_act is Actor.OPERATOR
    return now + retry_wait(pending, now, domain.spec.fqdn.value, longest=LONGEST_OPERATOR_WAIT if refused else LONGEST_WAIT)


def shown_problem(before: DomainStatus, failure: Problem) -> Problem | None:
    """Returns what the status shows after a revocation failed with `failure`.

    Why no certificate can be issued stays shown beside a fault of the CA that will pass: it decides when an order is tried again.
    """
    shown = before.last_error
    if failure.must_act is not Actor.OPERATOR and shown is not None and shown.type not in REVOCATION_PROBLEMS:
        return shown
    if failure.type in REVOCATION_PROBLEMS:
        return failure
    return replace(failure, type=REVOCATION_FAILED, detail=f"the certificate is not revoked yet: {failure.detail}")
