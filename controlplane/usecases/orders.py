"""Gets a certificate for a domain from one of the CAs: order after order, until one ends well or none is worth placing.

A prepared order goes through its CA's gate before it is sent, and what becomes of it is told to the gate: that is how limits are kept
without a refusal, and how a CA that is out of order is left alone.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import structlog

from controlplane.core import failure as failures
from controlplane.core.ari import is_exempt, replaces_for, window_of
from controlplane.core.authority_choice import ALL_REFUSE, NoneAvailable
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.chain import ChainRejected, CheckedChain, NotValidNow, check_chain, csr_spki_digest
from controlplane.core.errors import FailedPrecondition, Unavailable
from controlplane.core.failure import Failure
from controlplane.core.issuance_plan import Need, keeps_names
from controlplane.core.leaf_key import LeafKey
from controlplane.core.managed_domain import Actor, Problem, RenewalWindow
from controlplane.core.order import OrderRecord, Phase
from controlplane.core.order_faults import LONGEST_PAUSE, PAUSES, pause
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable, CertificateAuthority, Clock, Sealer, TokenStore
from controlplane.core.revocation_plan import needs_new_certificate
from controlplane.core.sealing import Envelope
from controlplane.usecases.attempt import Attempt
from controlplane.usecases.authorities import Authorities, Authority, Chosen
from controlplane.usecases.ca_gate import CaGate, Held
from controlplane.usecases.issuance_metrics import Outcome
from controlplane.usecases.order_endings import FinishedOrder, OrderAbandoned, OrderFailed, OrderInterrupted, OrderSlow
from controlplane.usecases.order_run import OrderRun
from controlplane.usecases.order_slots import OrderSlots

_log = structlog.get_logger(__name__)

# One order, one more without the additional names that the CA refused, one more in place of one that was gone, and one for each further CA.
_MOST_ORDERS = 3

# Seconds for which a CA is left alone that wants the operator to act: as long as nobody does, each order would be refused. One order each
# time finds out whether somebody has.
_ACCOUNT_STOP_SECONDS = 300.0

MakeLeafKey = Callable[[Sequence[str]], LeafKey]
"""Makes a leaf key and its CSR for the names."""

CertificateCa: TypeAlias = Authority[CertificateAuthority, CaGate]
"""A CA as it is used here."""


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

    async def place(self, attempt: Attempt, authority: CertificateCa, names: Sequence[str], key: SealedKey) -> Outcome:
        """Orders a certificate for `names`, and whatever follows from that, to its end or to where it must wait."""
        return await self._orders(attempt, authority, None, tuple(names), key)

    async def resume(self, attempt: Attempt, order: OrderRecord) -> Outcome:
        """Goes on with the order that a worker before has left."""
        authority = self._authorities.of_order(order)
        if authority is None:
            raise ValueError("an order of a CA that is not configured cannot be gone on with")
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
        return await self._authorities.choose(domain, attempt.progress.status, certificate, needed_until=needed_until)

    async def _orders(
        self, attempt: Attempt, authority: CertificateCa, order: OrderRecord | None, names: tuple[str, ...], key: SealedKey
    ) -> Outcome:
        last: Failure | None = None
        for _ in range(_MOST_ORDERS + len(self._authorities.all) - 1):
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
                    await self._note_success(authority, finished.order)
                    return outcome
                except OrderSlow as slow:
                    # It answers all the time.
                    await authority.gate.healthy()
                    return await attempt.progress.wait(slow.retry_after)
                except (OrderInterrupted, AcmeError, AcmeUnreachable) as error:
                    last = error.failure if isinstance(error, OrderInterrupted) else failures.of_error(error, self._clock())
                    elsewhere = await self._interrupted(attempt, authority, names, last)
                    if elsewhere is None:
                        return await attempt.progress.fail(last)
                    authority = elsewhere
                except OrderAbandoned as abandoned:
                    _log.info("order abandoned", domain=attempt.lease.name.value, order_url=abandoned.order.order_url)
                    await self._ended(attempt, authority, abandoned.order, counted=abandoned.order.phase is Phase.FINALIZING)
                    names, last = abandoned.order.names, None
                except OrderFailed as failed:
                    last = failed.failure
                    await self._ended(attempt, authority, failed.order, counted=last.problem.type == failures.CHAIN_REJECTED)
                    await self._note_failed(attempt, authority, failed)
                    blamed = self._to_leave_out(attempt, failed.order, failed.failure)
                    if blamed:
                        attempt.progress.leave_out(blamed)
                        names = tuple(name for name in failed.order.names if name not in blamed)
                    elif failures.refused_by_policy(failed.failure):
                        attempt.progress.note_refusal(authority.name)
                        another = await self._another(attempt, failed.failure)
                        if isinstance(another, Outcome):
                            return another
                        authority = another
                    else:
                        return await attempt.progress.fail(failed.failure)
            order, key = None, await self.new_key(names)
        lost = failures.own(failures.ORDER_LOST, "the CA forgets our orders", Actor.CA, self._clock())
        return await attempt.progress.fail(last or lost)

    async def _another(self, attempt: Attempt, refusal: Failure) -> CertificateCa | Outcome:
        """Returns another CA after one has refused a name by policy; without another the refusal is what is told."""
        found = await self._choice(attempt)
        if isinstance(found, Chosen):
            _log.info("another CA is tried", domain=attempt.lease.name.value, authority=found.authority.name, problem=refusal.problem.type)
            return found.authority
        if found.until is not None:
            return await attempt.progress.hold(found.problem, found.until)
        attempt.progress.forget_refusals()
        return await attempt.progress.fail(refusal)

    async def _prepare(self, attempt: Attempt, authority: CertificateCa, names: tuple[str, ...], key: SealedKey) -> OrderRecord | Outcome:
        """Lets the gate decide, then persists the order that is about to be placed."""
        now, client = self._clock(), authority.client
        account_url = await _account_url(client)
        profile = await self._profile(authority, now)
        window = _window(attempt)
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
            if not changed.replaces and self._counts_as_replacing(attempt, attempt.progress.order):
                await authority.gate.exemption_lost(changed.names, account_url=changed.account_url)
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
    ) -> CertificateCa | None:
        """Tells the gate why a CA does not go on; returns another CA that may issue now, None: nothing is to be done now.

        An order that the CA has not taken yet is dropped. Nothing is lost with it, and choice and gate decide about the next one.
        """
        order = attempt.progress.order
        if failures.stops_account(failure):
            await authority.gate.faulty(_ACCOUNT_STOP_SECONDS)
        else:
            replacing = self._counts_as_replacing(attempt, order)
            await self._tell(authority, names, failure, authority.client.account_url, replacing=replacing)
        if order is not None and order.phase is not Phase.PREPARED:
            return None
        if order is not None:
            await self._ended(attempt, authority, order, counted=False)
        found = await self._choice(attempt)
        return found.authority if isinstance(found, Chosen) and found.authority is not authority else None

    async def _ended(self, attempt: Attempt, authority: CertificateCa, order: OrderRecord, *, counted: bool) -> None:
        """Drops an order that is over; `counted` when the CA has issued a certificate for it all the same, or may have."""
        await self._over(attempt, order)
        if not counted:
            replacing = self._counts_as_replacing(attempt, order)
            await authority.gate.ended_without_certificate(order.names, replacing=replacing, account_url=order.account_url)

    async def _over(self, attempt: Attempt, order: OrderRecord) -> None:
        await attempt.progress.drop_order()
        await self._withdraw(order)

    async def _note_success(self, authority: CertificateCa, order: OrderRecord) -> None:
        with suppress(Unavailable):
            # The certificate is in force, whatever becomes of the books.
            await authority.gate.healthy()
            await authority.gate.authorization_succeeded(order.names, order.account_url)

    async def _note_failed(self, attempt: Attempt, authority: CertificateCa, failed: OrderFailed) -> None:
        """Tells the gate what an order's end says of the CA, and of the names."""
        failure, order = failed.failure, failed.order
        blamed = [name for name, _ in failure.names]
        if blamed and order.order_url:
            await authority.gate.authorization_failed(blamed, order.account_url)
        replacing = self._counts_as_replacing(attempt, order)
        await self._tell(authority, order.names, failure, order.account_url, replacing=replacing)

    async def _tell(
        self, authority: CertificateCa, names: Sequence[str], failure: Failure, account_url: str, *, replacing: bool = False
    ) -> None:
        problem = AcmeProblem(failure.problem.type, failure.problem.detail, retry_after=failure.retry_after)
        await authority.gate.learn(problem, names, account_url, replacing=replacing)
        if failures.is_authority_fault(failure):
            await authority.gate.faulty(failure.retry_after)
        else:
            # A refusal is an answer: the CA is there.
            await authority.gate.healthy()

    def _counts_as_replacing(self, attempt: Attempt, order: OrderRecord | None) -> bool:
        """Whether an order counts as one that replaces a certificate in time. That stays so: no window is asked for until it ends."""
        return order is not None and is_exempt(order.replaces, _window(attempt), order.start_time)

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


def _window(attempt: Attempt) -> RenewalWindow | None:
    """Returns the window that the CA gave for the certificate in force, if there are both."""
    certificate = attempt.work.certificate
    return None if certificate is None else window_of(attempt.progress.status.renewal_window, certificate)


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
