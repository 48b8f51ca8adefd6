"""Carries out revocations (RFC 8555 section 7.6). Decides and asks the CA; what is written is the matter of who calls."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from controlplane.core import failure as failures
from controlplane.core.backoff import FailureKind
from controlplane.core.breaker import LONGEST
from controlplane.core.certificate import CertificateRecord
from controlplane.core.failure import Failure
from controlplane.core.managed_domain import Actor, DomainState, DomainStatus, Revocation
from controlplane.core.ports import AcmeError, AcmeUnreachable, CertificateAuthority, CertificateStore, Work
from controlplane.core.revocation_plan import (
    AUTHORITY_NOT_CONFIGURED,
    LONGEST_OPERATOR_WAIT,
    LONGEST_WAIT,
    REVOCATION_PROBLEMS,
    REVOCATION_REFUSED,
    RevocationStep,
    needs_new_certificate,
    next_step,
    retry_wait,
    shown_problem,
    standing_of,
)

_log = structlog.get_logger(__name__)
_revocations = Counter("certplane_revocations_total", "Attempts to revoke a certificate, by how they ended", ["outcome"])

AuthorityOf = Callable[[CertificateRecord], CertificateAuthority | None]
"""Returns the CA that issued a certificate, for the account that it was issued to; None when it is not configured any more."""


@dataclass(frozen=True, slots=True)
class RevocationResult:
    """What came of a look at a domain's revocation.

    `done_time` is the new `DomainStatus.revocation_done_time`, None when nothing was brought to an end. `failure` says why the CA was asked
    in vain, in the CA's own words; None else. `retry_time` is when to ask again, after a failure, or since the CA wants to be left alone.
    `new_certificate` is whether the certificate in force is to be replaced now, whether or not the CA was reached.
    """

    step: RevocationStep
    done_time: datetime | None = None
    failure: Failure | None = None
    retry_time: datetime | None = None
    new_certificate: bool = False

    def status_after(self, status: DomainStatus) -> DomainStatus:
        """Returns the status with what this result changes in it."""
        if self.done_time is not None:
            error = status.last_error
            over = error is not None and error.type in REVOCATION_PROBLEMS
            return replace(status, revocation_done_time=self.done_time, last_error=None if over else error)
        return status if self.failure is None else replace(status, last_error=shown_problem(status, self.failure.problem))


class Revoker:
    """Revokes what a domain asks for; one a worker, since it remembers which CA wants to be left alone.

    `certificates` is read for the certificate that was in force before.
    """

    def __init__(self, certificates: CertificateStore) -> None:
        self._certificates = certificates
        self._left_alone: dict[str, datetime] = {}

    async def carry_out(self, authority_of_certificate: AuthorityOf, work: Work, now: datetime) -> RevocationResult:
        """Does what is due for the pending revocation of a leased domain.

        A CA that does not answer, or is at fault, is asked again later; what it refuses for good is shown, and asked again seldom, until an
        operator acts or asks anew. Asking twice is harmless: a certificate that is revoked already counts as revoked.

        Raises:
            Unavailable: the store does not answer.
        """
        pending = work.domain.pending_revocation
        wanted = needs_new_certificate(work.domain, work.certificate)
        if pending is None:
            return RevocationResult(RevocationStep.NOTHING, new_certificate=wanted)
        standing, record = standing_of(pending.certificate_id, work.certificate, await self._previous(pending, work), now)
        step = next_step(pending, standing, paused=work.domain.status.state is DomainState.PAUSED)
        name = work.domain.spec.fqdn.value
        if step is RevocationStep.CLOSE or record is None:
            _revocations.labels("nothing_to_revoke").inc()
            _log.warning("nothing to revoke", domain=name, certificate=pending.certificate_id, standing=standing.name)
            return RevocationResult(RevocationStep.CLOSE, done_time=pending.request_time, new_certificate=wanted)
        if step is RevocationStep.ISSUE_FIRST:
            return RevocationResult(step, new_certificate=wanted)
        authority = authority_of_certificate(record)
        directory_url = "" if authority is None else authority.directory_url
        if now < (until := self._left_alone.get(directory_url, now)):
            return RevocationResult(step, retry_time=until, new_certificate=wanted)
        failure = await self._revoke(authority, record, pending, now)
        if failure is None:
            _revocations.labels("revoked").inc()
            _log.info("certificate revoked", domain=name, certificate=record.id, reason=pending.reason)
            return RevocationResult(step, done_time=pending.request_time, new_certificate=wanted)
        if failure.retry_after:
            self._left_alone[directory_url] = now + min(timedelta(seconds=failure.retry_after), LONGEST)
        by_operator = failure.problem.must_act is Actor.OPERATOR
        _revocations.labels("refused" if by_operator else "authority_failed").inc()
        (_log.error if by_operator else _log.warning)(
            "revocation failed", domain=name, certificate=record.id, problem=failure.problem.type, must_act=failure.problem.must_act.name
        )
        longest = LONGEST_OPERATOR_WAIT if by_operator else LONGEST_WAIT
        wait = retry_wait(pending, now, name, longest=longest, retry_after=failure.retry_after)
        return RevocationResult(step, failure=failure, retry_time=now + wait, new_certificate=wanted)

    async def _previous(self, pending: Revocation, work: Work) -> CertificateRecord | None:
        if work.certificate is not None and work.certificate.id == pending.certificate_id:
            return None
        name = work.domain.spec.fqdn.value
        found = (await self._certificates.previous([name])).get(name)
        return found if isinstance(found, CertificateRecord) else None

    async def _revoke(
        self, authority: CertificateAuthority | None, record: CertificateRecord, pending: Revocation, now: datetime
    ) -> Failure | None:
        if authority is None:
            detail = f"the certificate is to be revoked, but its CA ({record.directory_url or 'not known'}) is not configured any more"
            return failures.own(AUTHORITY_NOT_CONFIGURED, detail, Actor.OPERATOR, now, FailureKind.AUTHORITY)
        try:
            await authority.revoke(record.leaf, pending.reason)
        except AcmeUnreachable as error:
            return failures.unreachable(error, now)
        except AcmeError as error:
            failure = failures.refused(error.problem, now)
            if failure.kind is FailureKind.AUTHORITY:
                return failure
            # Whatever it refuses lies with us: the customer has no part in a revocation.
            told = f"the CA refuses to revoke the certificate: {failure.problem.detail}"
            return failures.own(REVOCATION_REFUSED, told, Actor.OPERATOR, now, FailureKind.AUTHORITY)
        return None
