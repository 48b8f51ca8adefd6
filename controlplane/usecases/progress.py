"""Writes where a domain stands while a worker is at it. Every write is fenced by the lease."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from controlplane.core import failure as failures
from controlplane.core.backoff import FailureKind, delay
from controlplane.core.certificate import CertificateRecord
from controlplane.core.chain import CheckedChain, csr_spki_digest
from controlplane.core.failure import Failure
from controlplane.core.issuance_plan import attempts_after, planned_renewal
from controlplane.core.managed_domain import Actor, DomainState, DomainStatus, Problem
from controlplane.core.order import OrderRecord
from controlplane.core.ports import Clock, Lease, Work, WorkStore
from controlplane.core.renewal import renew_time
from controlplane.usecases.issuance_metrics import Outcome

_log = structlog.get_logger(__name__)

_FAILED: Mapping[Actor, Outcome] = {
    Actor.CUSTOMER: Outcome.FAILED_CUSTOMER,
    Actor.OPERATOR: Outcome.FAILED_OPERATOR,
    Actor.CA: Outcome.FAILED_CA,
    Actor.NOBODY: Outcome.FAILED_NOBODY,
}


class Progress:
    """The status of one leased domain, as this worker has read and written it."""

    def __init__(self, store: WorkStore, lease: Lease, work: Work, clock: Clock) -> None:
        self._store = store
        self._lease = lease
        self._domain = work.domain
        self._spec = work.domain.spec
        self._certificate = work.certificate
        self._clock = clock
        self.status = work.domain.status

    @property
    def serving(self) -> bool:
        """Whether a valid certificate is in force."""
        return self._certificate is not None and self._certificate.not_after > self._clock()

    async def step(self, order: OrderRecord | None, step: str) -> None:
        """Persists the order, with the step that it leads to, before that is taken."""
        if step == self.status.current_step and order is not None:
            # Nothing for people to see: a write without a status publishes no change.
            await self._store.save_order(self._lease, order)
            return
        self.status = replace(self.status, current_step=step, reconciling=self.serving)
        await self._store.save_order(self._lease, order, self.status)

    async def drop_order(self) -> None:
        """Removes the order: it is over."""
        await self._store.save_order(self._lease, None)

    def leave_out(self, omitted: Mapping[str, Problem]) -> None:
        """Notes why names are left out; it is persisted with the next step, for a successor."""
        if omitted:
            self.status = replace(self.status, last_error=next(iter(omitted.values())))

    async def rest(self) -> Outcome:
        """Nothing is to be done before the planned renewal."""
        if self.status.state is DomainState.PAUSED or self._certificate is None:
            await self._store.save_status(self._lease, replace(self.status, current_step="", next_attempt_time=None), None)
            return Outcome.NOTHING_TO_DO
        due = planned_renewal(replace(self._domain, status=self.status), self._certificate)
        status = replace(
            self.status,
            state=DomainState.ACTIVE,
            reconciling=False,
            current_step="",
            renew_time=due,
            next_attempt_time=due,
            attempt_count=0,
            last_error=None,
            omitted_names=(),
        )
        await self._store.save_status(self._lease, status, due)
        return Outcome.NOTHING_TO_DO

    async def delay(self, problem: Problem) -> Outcome:
        """An inconclusive pre-flight: tried again soon, and not called a failure yet."""
        count = attempts_after(self.status, FailureKind.PREFLIGHT)
        due = self._clock() + delay(FailureKind.PREFLIGHT, count, self._spec.fqdn.value)
        await self._finish(replace(self.status, attempt_count=count, last_error=problem), due)
        return Outcome.DELAYED

    async def wait(self, seconds: float) -> Outcome:
        """The order goes on at the CA and is read again later; nothing has failed."""
        await self._finish(self.status, self._clock() + timedelta(seconds=seconds))
        return Outcome.WAITING

    async def fail(self, failure: Failure) -> Outcome:
        """Writes a failure. The certificate in force, if any, stays in force."""
        count = attempts_after(self.status, failure.kind)
        due = self._clock() + delay(failure.kind, count, self._spec.fqdn.value, failure.retry_after)
        state = DomainState.DEGRADED if self.serving else DomainState.FAILED
        await self._finish(replace(self.status, state=state, attempt_count=count, last_error=failure.problem), due)
        _log.warning(
            "attempt failed",
            domain=self._spec.fqdn.value,
            problem=failure.problem.type,
            must_act=failure.problem.must_act.name,
            attempt_count=count,
            next_attempt_time=due.isoformat(),
        )
        return _FAILED[failure.problem.must_act]

    async def issued(self, order: OrderRecord, chain: CheckedChain) -> Outcome:
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
        )
        renewal = renew_time(chain.not_before, chain.not_after, fqdn)
        omitted = tuple(name for name in self._spec.all_names if name.value not in order.names)
        problem, count, due = None, 0, renewal
        if omitted:
            problem = (
                self.status.last_error
                or failures.own(failures.ORDER_INVALID, "left out of the certificate in force", Actor.CUSTOMER, now).problem
            )
            kind = failures.kind_of(problem)
            count = attempts_after(self.status, kind)
            due = min(renewal, now + delay(kind, count, fqdn))
        status = DomainStatus(
            state=DomainState.DEGRADED if omitted else DomainState.ACTIVE,
            certificate_id=certificate.id,
            serial_number=chain.serial_number,
            issue_time=now,
            expire_time=chain.not_after,
            renew_time=renewal,
            next_attempt_time=due,
            attempt_count=count,
            last_error=problem,
            omitted_names=omitted,
            renewal_done_time=self._spec.renewal_request_time or self.status.renewal_done_time,
        )
        await self._store.save_certificate(self._lease, certificate, status, due)
        _log.info(
            "certificate issued",
            domain=fqdn,
            certificate=certificate.id,
            expire_time=chain.not_after.isoformat(),
            omitted_names=len(omitted),
        )
        return Outcome.ISSUED_IN_PART if omitted else Outcome.ISSUED

    async def _finish(self, status: DomainStatus, due: datetime) -> None:
        self.status = replace(status, reconciling=False, current_step="", next_attempt_time=due)
        await self._store.save_status(self._lease, self.status, due)
