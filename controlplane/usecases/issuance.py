"""Issues and renews the certificate of one domain, under a lease.

Every step is persisted before it is taken, so that a killed worker's successor goes on with the same order. The leaf key is sealed
as soon as it is made and never opened here; a certificate in force stays in force until the write that replaces it.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from controlplane.core import failure as failures
from controlplane.core.backoff import FailureKind
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.chain import ChainRejected, check_chain, csr_spki_digest
from controlplane.core.errors import CertplaneError, DomainGone, LeaseLost, Unavailable
from controlplane.core.failure import Failure
from controlplane.core.issuance_plan import Need, admit, can_resume, keeps_names, need
from controlplane.core.leaf_key import LeafKey
from controlplane.core.managed_domain import Actor, DomainState, Problem
from controlplane.core.order import OrderRecord, Phase
from controlplane.core.ports import CertificateAuthority, Clock, Lease, Preflight, PreflightVerdict, Sealer, TokenStore, Work, WorkStore
from controlplane.core.sealing import Envelope
from controlplane.usecases.concurrently import all_of
from controlplane.usecases.issuance_metrics import ISSUANCES, Outcome, timed
from controlplane.usecases.order_endings import FinishedOrder, OrderAbandoned, OrderFailed, OrderInterrupted, OrderSlow
from controlplane.usecases.order_run import OrderRun
from controlplane.usecases.preflight_round import PreflightRound
from controlplane.usecases.progress import Progress

_log = structlog.get_logger(__name__)

# One order, one more without the additional names that the CA refused, one more in place of an order that was gone.
_MOST_ORDERS = 3

MakeLeafKey = Callable[[Sequence[str]], LeafKey]
"""Makes a leaf key and its CSR for the names."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What one attempt knows: the work as read, why it is done, and its writer."""

    lease: Lease
    work: Work
    need: Need
    progress: Progress
    planted: set[str] = field(default_factory=set)
    """Tokens of challenges that this attempt has planted."""

    @property
    def token_names(self) -> tuple[str, ...]:
        """Every name of the domain record, its own first: a token answers for all of them."""
        return tuple(name.value for name in self.work.domain.spec.all_names)


@dataclass(frozen=True, slots=True)
class _SealedKey:
    """A new leaf key, sealed already, and its CSR."""

    csr: bytes
    envelope: Envelope


class Issuance:
    """Carries out what a domain needs."""

    def __init__(
        self,
        *,
        work: WorkStore,
        tokens: TokenStore,
        sealer: Sealer,
        authority: CertificateAuthority,
        preflight: Preflight,
        make_leaf_key: MakeLeafKey,
        clock: Clock,
        make_token: Callable[[], str] = lambda: secrets.token_urlsafe(32),
    ) -> None:
        """Takes its ports; `make_token` makes the random tokens and bodies of pre-flight probes."""
        self._work = work
        self._tokens = tokens
        self._sealer = sealer
        self._authority = authority
        self._preflight = PreflightRound(tokens, preflight, clock, make_token)
        self._make_leaf_key = make_leaf_key
        self._clock = clock

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
        progress = Progress(self._work, lease, work, self._clock)
        attempt = _Attempt(lease, work, need(work, self._clock()), progress)
        try:
            return await self._attempt(attempt)
        except DomainGone:
            # No successor will: the tokens would answer until their time is over.
            await self._tokens.withdraw(attempt.planted)
            raise
        except (LeaseLost, Unavailable):
            raise
        except Exception as error:
            # A domain that makes us stumble must not be taken up again at once, and must not stop the others.
            _log.exception("unexpected error", domain=lease.name.value)
            told = str(error) if isinstance(error, CertplaneError) else "an unexpected error; the worker's log has it"
            return await progress.fail(failures.own(failures.INTERNAL, told, Actor.OPERATOR, self._clock()))

    async def _attempt(self, attempt: _Attempt) -> Outcome:
        order, progress = attempt.work.order, attempt.progress
        if attempt.work.domain.status.state is DomainState.PAUSED:
            return await progress.rest()
        if order is not None and not can_resume(order, attempt.work.domain, self._authority.directory_url):
            await self._over(attempt, order)
            order = None
        if order is None:
            if attempt.need is Need.NOTHING:
                return await progress.rest()
            prepared = await self._after_preflight(attempt)
            if isinstance(prepared, Outcome):
                return prepared
            order = prepared
        for _ in range(_MOST_ORDERS):
            try:
                finished = await self._run(attempt, order)
                return await self._store(attempt, finished)
            except OrderSlow as slow:
                return await progress.wait(slow.retry_after)
            except OrderInterrupted as interrupted:
                return await progress.fail(interrupted.failure)
            except OrderAbandoned as abandoned:
                _log.info("order abandoned", domain=attempt.lease.name.value, order_url=abandoned.order.order_url)
                await self._over(attempt, abandoned.order)
                names = order.names
            except OrderFailed as failed:
                await self._over(attempt, failed.order)
                blamed = self._to_leave_out(attempt, order, failed.failure)
                if not blamed:
                    return await progress.fail(failed.failure)
                progress.leave_out(blamed)
                names = tuple(name for name in order.names if name not in blamed)
            order = await self._prepare(attempt, names, await self._new_key(names))
        return await progress.fail(failures.own(failures.ORDER_LOST, "the CA forgets our orders", Actor.CA, self._clock()))

    async def _after_preflight(self, attempt: _Attempt) -> OrderRecord | Outcome:
        """Returns the prepared order for the names that pass, or how the attempt ended without one."""
        with timed("preflight"):
            # The key is made while the probe is on its way; in most cases all names pass.
            checked, _, key = await all_of(
                self._preflight.check(attempt.work.domain.spec.all_names),
                attempt.progress.step(None, "preflight"),
                self._new_key(attempt.token_names),
            )
        # Nobody waits for the probe to be gone, so that goes beside the write of what comes next.
        prepared: OrderRecord | Outcome
        prepared, _ = await all_of(self._after_verdicts(attempt, checked.verdicts, key), self._preflight.withdraw(checked))
        return prepared

    async def _after_verdicts(self, attempt: _Attempt, verdicts: Sequence[PreflightVerdict], key: _SealedKey) -> OrderRecord | Outcome:
        domain, progress = attempt.work.domain, attempt.progress
        admission = admit(verdicts, status=domain.status, certificate=attempt.work.certificate, need=attempt.need, now=self._clock())
        if admission.problem is not None:
            if admission.delayed:
                return await progress.delay(admission.problem)
            return await progress.fail(Failure(admission.problem, FailureKind.PREFLIGHT))
        progress.leave_out(dict(admission.omitted))
        if admission.names != attempt.token_names:
            key = await self._new_key(admission.names)
        return await self._prepare(attempt, admission.names, key)

    async def _new_key(self, names: tuple[str, ...]) -> _SealedKey:
        key = self._make_leaf_key(names)
        return _SealedKey(key.csr, self._sealer.seal(key.private_key, leaf_seal_context(key.spki_digest, names)))

    async def _prepare(self, attempt: _Attempt, names: tuple[str, ...], key: _SealedKey) -> OrderRecord:
        order = OrderRecord(
            phase=Phase.PREPARED,
            names=names,
            csr=key.csr,
            sealed_leaf_key=key.envelope,
            directory_url=self._authority.directory_url,
            start_time=self._clock(),
        )
        await attempt.progress.step(order, "order")
        return order

    async def _run(self, attempt: _Attempt, order: OrderRecord) -> FinishedOrder:
        run = OrderRun(
            order,
            token_names=attempt.token_names,
            authority=self._authority,
            tokens=self._tokens,
            clock=self._clock,
            save=attempt.progress.step,
            planted=attempt.planted,
        )
        return await run.finish()

    async def _store(self, attempt: _Attempt, finished: FinishedOrder) -> Outcome:
        order = finished.order
        try:
            chain = check_chain(finished.chain, order.names, csr_spki_digest(order.csr), self._clock())
        except ChainRejected as rejected:
            detail = f"the CA's certificate is not what was ordered: {rejected}"
            raise OrderFailed(failures.own(failures.CHAIN_REJECTED, detail, Actor.CA, self._clock()), order) from rejected
        outcome = await attempt.progress.issued(order, chain)
        # Only now: nobody waits for it any more, and whoever has lost the lease must not take its successor's tokens away.
        await self._withdraw(order)
        return outcome

    def _to_leave_out(self, attempt: _Attempt, order: OrderRecord, failure: Failure) -> dict[str, Problem]:
        """Returns the additional names that the CA refused, when the rest is worth another order at once; else none."""
        blamed, certificate = dict(failure.names), attempt.work.certificate
        own_name = attempt.token_names[0]
        if attempt.need is Need.EXTENSION or own_name in blamed or not blamed.keys() <= set(order.names):
            return {}
        if certificate is not None and attempt.progress.serving and blamed.keys() & set(certificate.names):
            return {} if keeps_names(certificate, attempt.work.domain.status, self._clock()) else blamed
        return blamed

    async def _over(self, attempt: _Attempt, order: OrderRecord) -> None:
        await attempt.progress.drop_order()
        await self._withdraw(order)

    async def _withdraw(self, order: OrderRecord) -> None:
        if order.tokens:
            await self._tokens.withdraw(order.tokens)
