"""Writes where a domain stands while a worker is at it. Every write is fenced by the lease.

A domain rests until the next thing is due, whatever that is (see `core.due`), in the lane that goes with where it stands.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from controlplane.core import failure as failures
from controlplane.core.backoff import FailureKind, delay, held_until
from controlplane.core.certificate import CertificateRecord
from controlplane.core.chain import CheckedChain, csr_spki_digest
from controlplane.core.due import due_time, without_renewal
from controlplane.core.failure import Failure
from controlplane.core.issuance_plan import attempts_after, planned_renewal
from controlplane.core.lanes import lane_of
from controlplane.core.managed_domain import Actor, Domain, DomainState, DomainStatus, Problem
from controlplane.core.order import OrderRecord
from controlplane.core.ports import Clock, Lease, Work, WorkStore
from controlplane.core.renewal import renew_time, soonest_renewal
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
        self._clock = clock
        self.status = self._told = work.domain.status
        self.order = work.order
        """The order in progress, as persisted."""
        self.revocation_retry_time: datetime | None = None
        """When a revocation that has failed in this attempt may be tried again."""

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
        if step == self.status.current_step and order is not None:
            # Nothing for people to see: a write without a status publishes no change.
            await self._store.save_order(self._lease, order)
        else:
            self.status = replace(self.status, current_step=step, reconciling=self.serving)
            await self._store.save_order(self._lease, order, self.status)
            self._told = self.status
        self.order = order

    async def drop_order(self) -> None:
        """Removes the order: it is over."""
        await self._store.save_order(self._lease, None)
        self.order = None

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
        # What is asked for is not written down as planned: it counts until somebody asks for another time, or stops the replacement.
        planned = planned_renewal(without_renewal(self.domain), self._certificate)
        status = replace(self.status, state=DomainState.ACTIVE, renew_time=planned, attempt_count=0, last_error=shown, omitted_names=())
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
        """The CA's limits, or its being away, put the attempt off. That is nobody's failure; the problem keeps the time since when."""
        before = self.status.last_error
        since = before.time if before is not None and failures.is_held(before) else problem.time
        again = held_until(until, since, self._clock(), self._spec.fqdn.value)
        await self._finish(replace(self.status, last_error=replace(problem, time=since)), again)
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
        renewal = max(renew_time(chain.not_before, chain.not_after, fqdn), soonest_renewal(chain.not_before, chain.not_after, now))
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
        retry = self.revocation_retry_time
        due = due_time(domain, certificate, again, now, revocation=retry)
        if domain.pending_revocation is not None and retry is None:
            # It has waited for this.
            due = now
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
        if status.state in (DomainState.ACTIVE, DomainState.DEGRADED) and not self.serving:
            # It ended while the domain waited for something that is nobody's failure.
            status = replace(status, state=DomainState.FAILED)
        self.status = replace(status, reconciling=False, current_step="", next_attempt_time=attempt)
        # While an order is open nobody asks when the certificate in force is to be renewed.
        asked_for = self._certificate if self.order is None else None
        due = due_time(self.domain, asked_for, attempt, now, revocation=self.revocation_retry_time)
        lane = lane_of(self.domain, max(due or now, now), order_open=self.order is not None)
        publish = _visible(self.status) != _visible(self._told)
        await self._store.save_status(self._lease, self.status, due, lane, publish=publish)
        self._told = self.status


def _visible(status: DomainStatus) -> DomainStatus:
    """Returns the status without what only workers read: millions of polls and checks that find nothing new concern nobody."""
    window = status.renewal_window
    # Without a length it only says when to ask the CA again.
    shown = None if window is None or window.start >= window.end else replace(window, poll_time=window.start)
    return replace(status, checked_time=None, renewal_window=shown)
