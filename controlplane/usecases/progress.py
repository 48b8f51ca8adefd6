"""Writes where a domain stands while a worker is at it. Every write is fenced by the lease.

A domain rests until the next thing is due, whatever that is (see `core.due`), in the lane that goes with where it stands.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from controlplane.core import failure as failures
from controlplane.core.backoff import FailureKind, delay
from controlplane.core.certificate import CertificateRecord
from controlplane.core.chain import CheckedChain, csr_spki_digest
from controlplane.core.due import due_time
from controlplane.core.failure import Failure
from controlplane.core.issuance_plan import attempts_after, planned_renewal
from controlplane.core.lanes import lane_of
from controlplane.core.managed_domain import Actor, Domain, DomainState, DomainStatus, Problem
from controlplane.core.order import OrderRecord
from controlplane.core.ports import Clock, Lease, Work, WorkStore
from controlplane.core.renewal import renew_time
from controlplane.core.revocation_plan import REVOCATION_PROBLEMS
from controlplane.usecases.issuance_metrics import Outcome

_log = structlog.get_logger(__name__)

_FAILED: Mapping[Actor, Outcome] = {
    Actor.CUSTOMER: Outcome.FAILED_CUSTOMER,
    Actor.OPERATOR: Outcome.FAILED_OPERATOR,
    Actor.CA: Outcome.FAILED_CA,
    Actor.NOBODY: Outcome.FAILED_NOBODY,
}


class Progress:
    """The status of one leased domain, as this worker has read and written it. What is noted in `status` is written with the next write."""

    def __init__(self, store: WorkStore, lease: Lease, work: Work, clock: Clock) -> None:
        self._store = store
        self._lease = lease
        self._domain = work.domain
        self._spec = work.domain.spec
        self._certificate = work.certificate
        self._order_open = work.order is not None
        self._clock = clock
        self.status = self._told = work.domain.status

    @property
    def domain(self) -> Domain:
        """The domain, with the status as it is known now."""
        return replace(self._domain, status=self.status)

    @property
    def serving(self) -> bool:
        """Whether a valid certificate is in force."""
        return self._certificate is not None and self._certificate.not_after > self._clock()

    async def step(self, order: OrderRecord | None, step: str) -> None:
        """Persists the order, with the step that it leads to, before that is taken."""
        self._order_open = order is not None
        if step == self.status.current_step and order is not None:
            # Nothing for people to see: a write without a status publishes no change.
            await self._store.save_order(self._lease, order)
            return
        self.status = replace(self.status, current_step=step, reconciling=self.serving)
        await self._store.save_order(self._lease, order, self.status)
        self._told = self.status

    async def drop_order(self) -> None:
        """Removes the order: it is over."""
        await self._store.save_order(self._lease, None)
        self._order_open = False

    def leave_out(self, omitted: Mapping[str, Problem]) -> None:
        """Notes why names are left out; it is persisted with the next step, for a successor."""
        if omitted:
            self.status = replace(self.status, last_error=next(iter(omitted.values())))

    def note_refusal(self, authority_name: str) -> None:
        """Notes that a CA refuses the domain by policy; persisted with the next step."""
        refusing = dict.fromkeys((*self.status.refusing_authorities, authority_name))
        self.status = replace(self.status, refusing_authorities=tuple(refusing))

    def forget_refusals(self) -> None:
        """Lets every CA be asked again, at the next attempt."""
        self.status = replace(self.status, refusing_authorities=())

    async def rest(self) -> Outcome:
        """Nothing is to be done before the planned renewal: all is well, or work is suspended."""
        if self.status.state is DomainState.PAUSED or self._certificate is None:
            await self._finish(replace(self.status, next_attempt_time=None), None)
            return Outcome.NOTHING_TO_DO
        renewal = planned_renewal(self.domain, self._certificate)
        shown = self.status.last_error
        if self.domain.pending_revocation is None or shown is None or shown.type not in REVOCATION_PROBLEMS:
            shown = None
        status = replace(self.status, state=DomainState.ACTIVE, renew_time=renewal, attempt_count=0, last_error=shown, omitted_names=())
        await self._finish(status, renewal)
        return Outcome.NOTHING_TO_DO

    async def keep(self) -> Outcome:
        """Leaves the next attempt where it is: this was only for what else was due."""
        await self._finish(self.status, self.status.next_attempt_time)
        return Outcome.NOTHING_TO_DO

    async def delay(self, problem: Problem) -> Outcome:
        """An inconclusive pre-flight: tried again soon, and not called a failure yet."""
        count = attempts_after(self.status, FailureKind.PREFLIGHT)
        again = self._clock() + delay(FailureKind.PREFLIGHT, count, self._spec.fqdn.value, None, problem.must_act)
        await self._finish(replace(self.status, attempt_count=count, last_error=problem), again)
        return Outcome.DELAYED

    async def hold(self, problem: Problem, until: datetime) -> Outcome:
        """The CA's limits, or its being away, put the attempt off. That is nobody's failure, and the domain keeps its place."""
        await self._finish(replace(self.status, last_error=problem), until)
        return Outcome.HELD

    async def wait(self, seconds: float) -> Outcome:
        """The order goes on at the CA and is read again later; nothing has failed."""
        await self._finish(self.status, self._clock() + timedelta(seconds=seconds))
        return Outcome.WAITING

    async def fail(self, failure: Failure) -> Outcome:
        """Writes a failure. The certificate in force, if any, stays in force."""
        if self.status.state is DomainState.PAUSED:
            # What failed has shown that the domain has left.
            return await self.keep()
        count = attempts_after(self.status, failure.kind)
        again = self._clock() + failures.wait(failure, count, self._spec.fqdn.value)
        state = DomainState.DEGRADED if self.serving else DomainState.FAILED
        await self._finish(replace(self.status, state=state, attempt_count=count, last_error=failure.problem), again)
        (_log.error if failures.alerts(failure) else _log.warning)(
            "attempt failed",
            domain=self._spec.fqdn.value,
            problem=failure.problem.type,
            must_act=failure.problem.must_act.name,
            attempt_count=count,
            next_attempt_time=again.isoformat(),
        )
        return _FAILED[failure.problem.must_act]

    async def issued(self, order: OrderRecord, chain: CheckedChain, authority_name: str) -> Outcome:
        """Puts the certificate in force, with the status that belongs to it in the same write."""
        now, fqdn = self._clock(), self._spec.fqdn.value
        certificate = CertificateRecord(
            id=chain.id,
            fqdn=fqdn,
            generation=self._certificate.generation if self._certificate is not None else 0,
            names=order.names,
            leaf=chain.leaf,
            intermediates=chain.intermediates,
            sealed_leaf_key=order.sealed_leaf_key,
            spki_digest=csr_spki_digest(order.csr),
            not_before=chain.not_before,
            not_after=chain.not_after,
            issue_time=now,
            tenant=self._spec.tenant,
            directory_url=order.directory_url,
            account_url=order.account_url,
            profile=order.profile,
        )
        renewal = renew_time(chain.not_before, chain.not_after, fqdn)
        omitted = tuple(name for name in self._spec.all_names if name.value not in order.names)
        problem, count, again = None, 0, renewal
        if omitted:
            problem = (
                self.status.last_error
                or failures.own(failures.ORDER_INVALID, "left out of the certificate in force", Actor.CUSTOMER, now).problem
            )
            kind = failures.kind_of(problem)
            count = attempts_after(self.status, kind)
            again = min(renewal, now + delay(kind, count, fqdn, None, problem.must_act))
        status = DomainStatus(
            state=DomainState.DEGRADED if omitted else DomainState.ACTIVE,
            certificate_id=certificate.id,
            serial_number=chain.serial_number,
            issue_time=now,
            expire_time=chain.not_after,
            renew_time=renewal,
            next_attempt_time=again,
            attempt_count=count,
            last_error=problem,
            omitted_names=omitted,
            renewal_done_time=self._spec.renewal_request_time or self.status.renewal_done_time,
            # Another certificate's, so it says nothing of this one; but a CA that calls each new one late is known by it.
            renewal_window=self.status.renewal_window,
            certificate_authority=authority_name,
            # The CA has found the domain here a moment ago.
            checked_time=now,
            revocation_done_time=self.status.revocation_done_time,
        )
        domain = replace(self._domain, status=status)
        due = now if domain.pending_revocation is not None else due_time(domain, certificate, again, now)
        await self._store.save_certificate(self._lease, certificate, status, due, lane_of(domain, due or now))
        _log.info(
            "certificate issued",
            domain=fqdn,
            certificate=certificate.id,
            authority=authority_name,
            expire_time=chain.not_after.isoformat(),
            omitted_names=len(omitted),
        )
        return Outcome.ISSUED_IN_PART if omitted else Outcome.ISSUED

    async def _finish(self, status: DomainStatus, attempt: datetime | None) -> None:
        """Writes the status and when the domain is due: at its next attempt, or earlier for something else."""
        now = self._clock()
        self.status = replace(status, reconciling=False, current_step="", next_attempt_time=attempt)
        due = due_time(self.domain, self._certificate, attempt, now)
        lane = lane_of(self.domain, max(due or now, now), order_open=self._order_open)
        publish = _visible(self.status) != _visible(self._told)
        await self._store.save_status(self._lease, self.status, due, lane, publish=publish)
        self._told = self.status


def _visible(status: DomainStatus) -> DomainStatus:
    """Returns the status without what only workers read: millions of polls and checks that find nothing new concern nobody."""
    window = status.renewal_window
    # Without a length it only says when to ask the CA again.
    shown = None if window is None or window.start >= window.end else replace(window, poll_time=window.start)
    return replace(status, checked_time=None, renewal_window=shown)
