"""Gets a certificate for a domain from one of the CAs: order after order, until one ends well or none is worth placing.

A prepared order goes through its CA's gate before it is sent, and what becomes of it is told to the gate: that is how limits are kept
without a refusal, and how a CA that is out of order is left alone.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from controlplane.core import failure as failures
from controlplane.core.ari import is_exempt, replaces_for
from controlplane.core.authority_choice import ALL_REFUSE, NoneAvailable
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.chain import ChainRejected, CheckedChain, NotValidNow, check_chain, csr_spki_digest
from controlplane.core.errors import FailedPrecondition
from controlplane.core.failure import Failure
from controlplane.core.issuance_plan import Need, keeps_names
from controlplane.core.leaf_key import LeafKey
from controlplane.core.managed_domain import Actor, Problem
from controlplane.core.order import OrderRecord, Phase
from controlplane.core.order_faults import LONGEST_PAUSE, PAUSES, pause
from controlplane.core.ports import AcmeError, AcmeUnreachable, CertificateAuthority, Clock, Sealer, TokenStore
from controlplane.core.revocation_plan import needs_new_certificate
from controlplane.core.sealing import Envelope
from controlplane.usecases import order_books
from controlplane.usecases.attempt import Attempt
from controlplane.usecases.authorities import Authorities, Chosen
from controlplane.usecases.ca_gate import CaGate, Held
from controlplane.usecases.issuance_metrics import Outcome
from controlplane.usecases.order_books import CertificateCa, window_in_force
from controlplane.usecases.order_endings import FinishedOrder, OrderAbandoned, OrderFailed, OrderInterrupted, OrderSlow
from controlplane.usecases.order_run import OrderRun
from controlplane.usecases.order_slots import OrderSlots

_log = structlog.get_logger(__name__)

# One order, one more without the additional names that the CA refused, and one more in place of one that was gone.
_MOST_ORDERS = 3

MakeLeafKey = Callable[[Sequence[str]], LeafKey]
"""Makes a leaf key and its CSR for the names."""


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A new leaf key, sealed already, and its CSR."""

    csr: bytes
    envelope: Envelope


class Orders:
    """Places orders and carries them on."""

    def __init__(
        self,
        *,
        authorities: Authorities[CertificateAuthority, CaGate],
        slots: OrderSlots,
        tokens: TokenStore,
        sealer: Sealer,
        make_leaf_key: MakeLeafKey,
        clock: Clock,
    ) -> None:
        self._authorities = authorities
        self._slots = slots
        self._tokens = tokens
        self._sealer = sealer
        self._make_leaf_key = make_leaf_key
        self._clock = clock
        self._told: set[str] = set()

    async def new_key(self, names: Sequence[str]) -> SealedKey:
        """Makes a leaf key and seals it at once."""
        key = self._make_leaf_key(names)
        return SealedKey(key.csr, self._sealer.seal(key.private_key, leaf_seal_context(key.spki_digest, tuple(names))))

    async def place(self, attempt: Attempt, authority: CertificateCa, names: Sequence[str], key: SealedKey) -> CertificateCa | Outcome:
        """Orders a certificate for `names`, and whatever follows from that, to its end or to where it must wait.

        Returns another CA when this one does not issue now and that one may: nothing is ordered there before the pre-flight, since what CAA
        says is about one CA.
        """
        return await self._orders(attempt, authority, None, tuple(names), key)

    async def resume(self, attempt: Attempt, order: OrderRecord) -> CertificateCa | Outcome:
        """Goes on with the order that a worker before has left; returns what `place` does."""
        authority = self._authorities.of_order(order)
        if authority is None:
            raise ValueError("an order of a CA that is not configured cannot be gone on with")
        attempt.tried.add(authority.name)
        return await self._orders(attempt, authority, order, order.names, SealedKey(order.csr, order.sealed_leaf_key))

    async def drop(self, attempt: Attempt, order: OrderRecord) -> None:
        """Drops an order that is of no use any more, and its tokens."""
        authority = self._authorities.of_order(order)
        if authority is None:
            await self._over(attempt, order)
        else:
            await self._ended(attempt, authority, order, counted=order.phase is Phase.FINALIZING)

    async def choose(self, attempt: Attempt) -> CertificateCa | Outcome:
        """Returns the CA to order from, or how the attempt ended since there is none."""
        progress = attempt.progress
        found = await self._choice(attempt)
        if isinstance(found, Chosen):
            return found.authority
        if found.until is not None:
            return await progress.hold(found.problem, found.until)
        if found.problem.type == ALL_REFUSE:
            # They are asked again one day: policies change.
            progress.forget_refusals()
        return await progress.fail(Failure(found.problem, failures.kind_of(found.problem)))

    async def _choice(self, attempt: Attempt) -> Chosen[CertificateAuthority, CaGate] | NoneAvailable:
        domain, certificate = attempt.work.domain, attempt.work.certificate
        # One that is revoked, or is to be, has no time left to wait for its CA.
        needed_until = self._clock() if needs_new_certificate(domain, certificate) else None
        return await self._authorities.choose(
            domain, attempt.progress.status, certificate, needed_until=needed_until, excluded=attempt.caa_forbidden
        )

    async def _orders(
        self, attempt: Attempt, authority: CertificateCa, order: OrderRecord | None, names: tuple[str, ...], key: SealedKey
    ) -> CertificateCa | Outcome:
        last: Failure | None = None
        for _ in range(_MOST_ORDERS):
            async with self._slots.taken(attempt.lease.lane):
                try:
                    if order is None:
                        prepared = await self._prepare(attempt, authority, names, key)
                        if isinstance(prepared, Outcome):
                            return prepared
                        order = prepared
                    finished = await self._run(attempt, authority, order)
                    chain = self._checked(finished)
                    outcome = await attempt.progress.issued(finished.order, chain, authority.name)
                    # Only now: nobody waits for it any more, and whoever has lost the lease must not take its successor's tokens away.
                    await self._withdraw(finished.order)
                    await order_books.note_issued(authority, finished.order)
                    return outcome
                except OrderSlow as slow:
                    # It answers all the time.
                    await authority.gate.healthy()
                    return await attempt.progress.wait(slow.retry_after)
                except (OrderInterrupted, AcmeError, AcmeUnreachable) as error:
                    last = error.failure if isinstance(error, OrderInterrupted) else failures.of_error(error, self._clock())
                    return await self._interrupted(attempt, authority, names, last)
                except OrderAbandoned as abandoned:
                    _log.info("order abandoned", domain=attempt.lease.name.value, order_url=abandoned.order.order_url)
                    await self._ended(attempt, authority, abandoned.order, counted=abandoned.order.phase is Phase.FINALIZING)
                    names, last = abandoned.order.names, None
                except OrderFailed as failed:
                    last = failed.failure
                    await self._ended(attempt, authority, failed.order, counted=last.problem.type == failures.CHAIN_REJECTED)
                    await order_books.note_failed(attempt, authority, failed)
                    blamed = self._to_leave_out(attempt, failed.order, failed.failure)
                    if blamed:
                        attempt.progress.leave_out(blamed)
                        names = tuple(name for name in failed.order.names if name not in blamed)
                    elif failures.refused_by_policy(failed.failure):
                        attempt.progress.note_refusal(authority.name)
                        return await self.another(attempt, failed.failure)
                    else:
                        return await attempt.progress.fail(failed.failure)
            order, key = None, await self.new_key(names)
        lost = failures.own(failures.ORDER_LOST, "the CA forgets our orders", Actor.CA, self._clock())
        return await attempt.progress.fail(last or lost)

    async def another(self, attempt: Attempt, refusal: Failure) -> CertificateCa | Outcome:
        """Returns another CA after one has refused a name by policy, or must not issue for it (CAA).

        Without another the refusal is what is told; one that is out of order is waited for.
        """
        found = await self._choice(attempt)
        if isinstance(found, NoneAvailable) and found.until is not None:
            return await attempt.progress.hold(found.problem, found.until)
        if isinstance(found, Chosen) and found.authority.name not in attempt.tried:
            _log.info("another CA is tried", domain=attempt.lease.name.value, authority=found.authority.name, problem=refusal.problem.type)
            return found.authority
        if failures.refused_by_policy(refusal):
            attempt.progress.forget_refusals()
        return await attempt.progress.fail(refusal)

    async def _prepare(self, attempt: Attempt, authority: CertificateCa, names: tuple[str, ...], key: SealedKey) -> OrderRecord | Outcome:
        """Lets the gate decide, then persists the order that is about to be placed."""
        now, client = self._clock(), authority.client
        account_url = await _account_url(client)
        profile = await self._profile(authority, now)
        window = window_in_force(attempt)
        replaces = replaces_for(
            attempt.work.certificate, window, directory_url=client.directory_url, account_url=account_url, names=names, now=now
        )
        try:
            admitted = await authority.gate.admit(
                names, profile=profile, replacing=is_exempt(replaces, window, now), account_url=account_url
            )
        except FailedPrecondition as error:
            return await attempt.progress.fail(failures.own(failures.TOO_MANY_NAMES, str(error), Actor.OPERATOR, now))
        if isinstance(admitted, Held):
            return await attempt.progress.hold(Problem(failures.LIMIT, admitted.reason, Actor.NOBODY, now), admitted.until)
        order = OrderRecord(
            phase=Phase.PREPARED,
            names=names,
            csr=key.csr,
            sealed_leaf_key=key.envelope,
            directory_url=client.directory_url,
            start_time=now,
            account_url=account_url,
            replaces=replaces,
            profile=profile,
        )
        await attempt.progress.step(order, "order")
        return order

    async def _profile(self, authority: CertificateCa, now: datetime) -> str:
        choice = await authority.certificate_profile(now)
        if choice.problem is not None and authority.name not in self._told:
            # Once: it holds for every order until the configuration or the CA changes.
            _log.error("certificate profile not offered", authority=authority.name, reason=choice.problem.detail)
        (self._told.discard if choice.problem is None else self._told.add)(authority.name)
        return choice.profile

    async def _run(self, attempt: Attempt, authority: CertificateCa, order: OrderRecord) -> FinishedOrder:
        async def save(changed: OrderRecord, step: str) -> None:
            await order_books.note_change(attempt, authority, changed)
            await attempt.progress.step(changed, step)

        run = OrderRun(
            order,
            token_names=tuple(attempt.token_names),
            authority=authority.client,
            tokens=self._tokens,
            clock=self._clock,
            save=save,
            planted=attempt.planted,
        )
        return await run.finish()

    def _checked(self, finished: FinishedOrder) -> CheckedChain:
        order = finished.order
        try:
            return check_chain(finished.chain, order.names, csr_spki_digest(order.csr), self._clock())
        except NotValidNow as rejected:
            detail = f"our clock or the CA's is wrong: {rejected}"
            raise OrderFailed(failures.own(failures.CHAIN_REJECTED, detail, Actor.OPERATOR, self._clock()), order) from rejected
        except ChainRejected as rejected:
            detail = f"the CA's certificate is not what was ordered: {rejected}"
            raise OrderFailed(failures.own(failures.CHAIN_REJECTED, detail, Actor.CA, self._clock()), order) from rejected

    async def _interrupted(
        self, attempt: Attempt, authority: CertificateCa, names: Sequence[str], failure: Failure
    ) -> CertificateCa | Outcome:
        """Tells the gate why a CA does not go on; returns another CA that may issue now, or how the attempt ended since there is none.

        An order that the CA has not taken yet is dropped. Nothing is lost with it, and choice and gate decide about the next one.
        """
        order = attempt.progress.order
        await order_books.note_interrupted(attempt, authority, names, failure)
        if order is None or order.phase is Phase.PREPARED:
            if order is not None:
                await self._ended(attempt, authority, order, counted=False)
            found = await self._choice(attempt)
            if isinstance(found, Chosen) and found.authority.name not in attempt.tried:
                return found.authority
        return await attempt.progress.fail(failure)

    async def _ended(self, attempt: Attempt, authority: CertificateCa, order: OrderRecord, *, counted: bool) -> None:
        """Drops an order that is over; `counted` when the CA has issued a certificate for it all the same, or may have."""
        await self._over(attempt, order)
        if not counted:
            await order_books.note_without_certificate(attempt, authority, order)

    async def _over(self, attempt: Attempt, order: OrderRecord) -> None:
        await attempt.progress.drop_order()
        await self._withdraw(order)

    def _to_leave_out(self, attempt: Attempt, order: OrderRecord, failure: Failure) -> dict[str, Problem]:
        """Returns the additional names that the CA refused, when the rest is worth another order at once; else none."""
        blamed, certificate = dict(failure.names), attempt.work.certificate
        own_name = attempt.token_names[0]
        if attempt.need is Need.EXTENSION or own_name in blamed or not blamed.keys() <= set(order.names):
            return {}
        if certificate is not None and attempt.progress.serving and blamed.keys() & set(certificate.names):
            return {} if keeps_names(certificate, attempt.work.domain.status, self._clock()) else blamed
        return blamed

    async def _withdraw(self, order: OrderRecord) -> None:
        if order.tokens:
            await self._tokens.withdraw(order.tokens)


async def _account_url(client: CertificateAuthority) -> str:
    """Returns the account's URL; registers the account at the first order, as patiently as an order is placed."""
    for repetition in itertools.count():
        try:
            return await client.ensure_account()
        except AcmeUnreachable as error:
            if repetition >= len(PAUSES) or (error.retry_after or 0.0) > LONGEST_PAUSE:
                raise
            await asyncio.sleep(pause(repetition, error.retry_after))
    raise AssertionError("the last repetition returns or raises")
