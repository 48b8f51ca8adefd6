"""One attempt at a domain under a lease: whatever is due for it is done, and what it needs is got.

Every step is persisted before it is taken, so that a killed worker's successor goes on with the same order. The leaf key is sealed
as soon as it is made and never opened here; a certificate in force stays in force until the write that replaces it.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import structlog

from controlplane.core import failure as failures
from controlplane.core.ari import window_of
from controlplane.core.backoff import FailureKind
from controlplane.core.caa import Issuer
from controlplane.core.certificate import CertificateRecord
from controlplane.core.departure import GRACE, after_attempt, check_is_due
from controlplane.core.due import must_wait, order_waits, without_stopped_renewal
from controlplane.core.errors import CertplaneError, DomainGone, LeaseLost, Unavailable
from controlplane.core.failure import Failure
from controlplane.core.issuance_plan import Need, admit, can_resume, need
from controlplane.core.managed_domain import Actor, DomainState
from controlplane.core.ports import CertificateAuthority, Clock, Lease, PreflightVerdict, TokenStore, WorkStore
from controlplane.core.ports.replacements import StoppedReplacements
from controlplane.core.preflight import forbids_issuer
from controlplane.core.revocation_plan import REVOCATION_PROBLEMS, needs_new_certificate
from controlplane.usecases.attempt import Attempt
from controlplane.usecases.authorities import Authorities
from controlplane.usecases.ca_gate import CaGate
from controlplane.usecases.concurrently import all_of
from controlplane.usecases.departure_check import DepartureCheck
from controlplane.usecases.issuance_metrics import ISSUANCES, Outcome, timed
from controlplane.usecases.order_books import CertificateCa
from controlplane.usecases.orders import Orders, SealedKey
from controlplane.usecases.preflight_round import PreflightRound
from controlplane.usecases.progress import Progress
from controlplane.usecases.renewal_info import RenewalInfoRound, ask_now
from controlplane.usecases.revocation import Revoker

_log = structlog.get_logger(__name__)


class Issuance:
    """Carries out what a domain needs."""

    def __init__(
        self,
        *,
        work: WorkStore,
        tokens: TokenStore,
        authorities: Authorities[CertificateAuthority, CaGate],
        issuer_of: Callable[[CertificateCa], Issuer],
        orders: Orders,
        preflight: PreflightRound,
        renewal_info: RenewalInfoRound,
        revoker: Revoker,
        stopped: StoppedReplacements,
        clock: Clock,
        departure_grace: timedelta = GRACE,
    ) -> None:
        """Takes its parts.

        `issuer_of` returns a CA as CAA knows it; `departure_grace` is how long a domain may point elsewhere before it is paused.
        """
        self._work = work
        self._tokens = tokens
        self._authorities = authorities
        self._issuer_of = issuer_of
        self._orders = orders
        self._preflight = preflight
        self._renewal_info = renewal_info
        self._revoker = revoker
        self._stopped = stopped
        self._clock = clock
        self._grace = departure_grace
        self._departure = DepartureCheck(preflight, clock, departure_grace)

    async def carry_out(self, lease: Lease) -> Outcome:
        """Does what the leased domain needs now, writes where it stands and when it is due next; returns how it ended.

        Raises:
            LeaseLost: somebody else has the domain, or it is gone; nothing more was written.
            Unavailable: the store is away; the domain stays due.
        """
        try:
            outcome = await self._carry_out(lease)
        except LeaseLost:
            ISSUANCES.labels(Outcome.LEASE_LOST).inc()
            raise
        except Unavailable:
            ISSUANCES.labels(Outcome.STORE_UNAVAILABLE).inc()
            raise
        ISSUANCES.labels(outcome).inc()
        return outcome

    async def _carry_out(self, lease: Lease) -> Outcome:
        work = await self._work.load(lease)
        if work.domain.spec.renewal_replacement:
            work = replace(work, domain=without_stopped_renewal(work.domain, await self._stopped.current()))
        attempt = Attempt(lease, work, Progress(self._work, lease, work, self._clock))
        try:
            return await self._attempt(attempt)
        except DomainGone:
            # No successor will: the tokens would answer until their time is over.
            await self._tokens.withdraw({*attempt.planted, *(work.order.tokens if work.order is not None else ())})
            raise
        except (LeaseLost, Unavailable):
            raise
        except Exception as error:
            # A domain that makes us stumble must not be taken up again at once, and must not stop the others.
            _log.exception("unexpected error", domain=lease.name.value)
            told = str(error) if isinstance(error, CertplaneError) else "an unexpected error; the worker's log has it"
            return await attempt.progress.fail(failures.own(failures.INTERNAL, told, Actor.OPERATOR, self._clock()))

    async def _attempt(self, attempt: Attempt) -> Outcome:
        order, progress = attempt.work.order, attempt.progress
        await self._revoke(attempt)
        if order is not None:
            authority = self._authorities.of_order(order)
            directory_url = authority.client.directory_url if authority is not None else ""
            if progress.status.state is DomainState.PAUSED or not can_resume(order, attempt.work.domain, directory_url):
                await self._orders.drop(attempt, order)
            elif not order_waits(progress.domain, self._clock()):
                attempt.need = need(attempt.work, self._clock())
                return await self._follow(attempt, await self._orders.resume(attempt, order))
        await self._look_around(attempt)
        if progress.order is not None and progress.status.state is DomainState.PAUSED:
            await self._orders.drop(attempt, progress.order)
        attempt.need = self._need(attempt)
        if self._must_wait(attempt):
            return await progress.keep()
        if attempt.need is Need.NOTHING:
            return await progress.rest()
        return await self._follow(attempt, await self._orders.choose(attempt))

    async def _revoke(self, attempt: Attempt) -> None:
        """Carries out a revocation that is due; one that failed is tried again when the domain is due for it."""
        result = await self._revoker.carry_out(self._client_of, attempt.work, self._clock())
        attempt.progress.status = result.status_after(attempt.progress.status)
        attempt.progress.revocation_retry_time = result.retry_time

    async def _look_around(self, attempt: Attempt) -> None:
        """Does what is due beside the certificate itself: asks the CA when to renew, and checks whether the domain is still here."""
        progress, certificate, now = attempt.progress, attempt.work.certificate, self._clock()
        if certificate is not None and progress.order is None and progress.status.state is not DomainState.PAUSED:
            authority = self._authorities.of_certificate(certificate, progress.status)
            client = None if authority is None else authority.client
            if self._counts_on_exemption(attempt, certificate):
                # The CA may have moved the window since: the order would be refused for a limit that is not mirrored for it.
                progress.status = ask_now(progress.status, now)
            progress.status = await self._renewal_info.refresh(client, certificate, progress.status)
        # An attempt that follows is a check too.
        stays = self._must_wait(attempt) or self._need(attempt) is Need.NOTHING
        if stays and check_is_due(progress.domain, now):
            progress.status = await self._departure.run(attempt.work, progress.status, patience=attempt.patience)

    def _counts_on_exemption(self, attempt: Attempt, certificate: CertificateRecord) -> bool:
        """Whether a renewal is about to be ordered in the certificate's window."""
        window, now = window_of(attempt.progress.status.renewal_window, certificate), self._clock()
        in_window = window is not None and window.start <= now < window.end
        return in_window and self._need(attempt) is Need.RENEWAL and not self._must_wait(attempt)

    def _must_wait(self, attempt: Attempt) -> bool:
        """Whether nothing is ordered now: an order in progress waits, or the next attempt does."""
        domain, now = attempt.progress.domain, self._clock()
        if attempt.progress.order is not None:
            return True
        error = domain.status.last_error
        if attempt.progress.revocation_retry_time is not None and error is not None and error.type in REVOCATION_PROBLEMS:
            # A revocation that has failed just now must not hide what else has.
            domain = replace(domain, status=replace(domain.status, last_error=attempt.work.domain.status.last_error))
        return must_wait(domain, now)

    def _need(self, attempt: Attempt) -> Need:
        if attempt.progress.status.state is DomainState.PAUSED:
            return Need.NOTHING
        if self._revoked(attempt):
            return Need.RENEWAL
        return need(replace(attempt.work, domain=attempt.progress.domain), self._clock())

    @staticmethod
    def _revoked(attempt: Attempt) -> bool:
        return needs_new_certificate(attempt.work.domain, attempt.work.certificate)

    async def _follow(self, attempt: Attempt, found: CertificateCa | Outcome) -> Outcome:
        """Orders from the CA, and from the next one as long as one does not issue and another may."""
        while not isinstance(found, Outcome):
            found = await self._order_what_passes(attempt, found)
        return found

    async def _order_what_passes(self, attempt: Attempt, authority: CertificateCa) -> CertificateCa | Outcome:
        """Orders the names that pass the pre-flight, which is made for each CA anew: CAA names who may issue."""
        attempt.tried.add(authority.name)
        issuer = self._issuer_of(authority)
        with timed("preflight"):
            # The key is made while the probe is on its way; in most cases all names pass.
            checked, _, key = await all_of(
                self._preflight.check(attempt.work.domain.spec.all_names, patience=attempt.patience, issuer=issuer),
                attempt.progress.step(None, "preflight"),
                self._orders.new_key(attempt.token_names),
            )
        # Nobody waits for the probe to be gone: that goes beside the first write, long before a CA looks.
        withdrawing = asyncio.create_task(self._preflight.withdraw(checked))
        try:
            return await self._after_verdicts(attempt, authority, checked.verdicts, key)
        finally:
            with suppress(Unavailable):
                # It expires by itself.
                await withdrawing

    async def _after_verdicts(
        self, attempt: Attempt, authority: CertificateCa, verdicts: Sequence[PreflightVerdict], key: SealedKey
    ) -> CertificateCa | Outcome:
        progress, now = attempt.progress, self._clock()
        progress.status = after_attempt(progress.status, verdicts[0], now, self._grace)
        admission = admit(verdicts, status=attempt.work.domain.status, certificate=attempt.work.certificate, need=attempt.need, now=now)
        if admission.problem is not None:
            if admission.delayed:
                return await progress.delay(admission.problem)
            if forbids_issuer(admission.problem):
                attempt.caa_forbidden.add(authority.name)
                attempt.caa_problem = attempt.caa_problem or admission.problem
                # Who may issue by CAA may be another of ours. Else the customer hears of the one that is preferred.
                return await self._orders.another(attempt, Failure(attempt.caa_problem, FailureKind.PREFLIGHT))
            return await progress.fail(Failure(admission.problem, FailureKind.PREFLIGHT))
        progress.leave_out(dict(admission.omitted))
        if tuple(admission.names) != tuple(attempt.token_names):
            key = await self._orders.new_key(admission.names)
        return await self._orders.place(attempt, authority, admission.names, key)

    def _client_of(self, certificate: CertificateRecord) -> CertificateAuthority | None:
        authority = self._authorities.of_certificate(certificate)
        return None if authority is None else authority.client
