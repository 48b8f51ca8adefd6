"""Carries an ACME order from wherever it stands to a downloaded chain: a thin loop around the table in `core.order_steps`.

Each pass asks the table for the step, persists what the step needs, and takes it. Whatever goes wrong on the way to the CA leads back to
the table: after a lost reply the order is read again (or posted again, when it has no URL yet), so there is one way to resume and not a
second one for faults.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog

from controlplane.core import failure as failures
from controlplane.core.backoff import FailureKind
from controlplane.core.failure import Failure
from controlplane.core.managed_domain import Actor
from controlplane.core.order import OrderRecord, Phase
from controlplane.core.order_steps import RemoteStatus, Step, is_absent, is_gone, is_not_ready, next_step, remote_status
from controlplane.core.ports import (
    AcmeError,
    AcmeUnreachable,
    CertificateAuthority,
    Clock,
    RemoteAuthorization,
    RemoteOrder,
    TokenRecord,
    TokenStore,
)
from controlplane.usecases.concurrently import all_of
from controlplane.usecases.issuance_metrics import timed
from controlplane.usecases.order_endings import FinishedOrder, OrderAbandoned, OrderFailed, OrderInterrupted, OrderSlow

_log = structlog.get_logger(__name__)

T = TypeVar("T")

# Seconds between reads of an order, begun anew after finalize. A CA on the same network validates in milliseconds and signs in one or two.
FIRST_PAUSE, FIRST_PAUSE_AFTER_FINALIZE, PAUSE_GROWTH, LONGEST_PAUSE = 0.007, 0.001, 1.4, 5.0
# A run holds one of the worker's places, so it waits neither longer than this in all nor for a Retry-After longer than that.
RUN_LIMIT, LONGEST_WAIT, LOOK_AGAIN = timedelta(minutes=5), 15.0, 60.0
# Longer than an attempt lasts, and each attempt plants anew: so little is left when everything dies.
TOKEN_LIFETIME = timedelta(minutes=15)
_WORTH_TELLING = timedelta(seconds=0.25)
_UNREACHABLE_PAUSES = (0.2, 1.0, 3.0)

# Authorizations that will not become valid any more without having failed (RFC 8555 section 7.1.6).
_DEAD = frozenset({"deactivated", "expired", "revoked"})

SaveOrder = Callable[[OrderRecord, str], Awaitable[None]]
"""Persists an order with the step's name for people; raises `LeaseLost` and `Unavailable`."""


class OrderRun:
    """One worker's work on one order."""

    def __init__(
        self,
        order: OrderRecord,
        *,
        token_names: tuple[str, ...],
        authority: CertificateAuthority,
        tokens: TokenStore,
        clock: Clock,
        save: SaveOrder,
        planted: set[str],
    ) -> None:
        """Prepares to go on with `order`.

        `token_names` are all names of the domain record, for which its tokens answer. Tokens are noted in `planted` before they are.
        """
        self._order = order
        self._token_names = token_names
        self._authority = authority
        self._tokens = tokens
        self._clock = clock
        self._save = save
        self._planted = planted
        self._remote: RemoteOrder | None = None
        self._read_ahead: list[RemoteAuthorization] | AcmeError | AcmeUnreachable | None = None
        self._gone = False
        self._answered = False
        self._finalized: datetime | None = None
        self._reads = 0
        self._pause = FIRST_PAUSE
        self._lost_replies = 0
        self._started = clock()

    async def finish(self) -> FinishedOrder:
        """Takes step after step.

        Raises:
            OrderFailed: see there, and so on for the others.
            OrderAbandoned: see there.
            OrderInterrupted: see there.
            OrderSlow: see there.
            LeaseLost: stop.
            Unavailable: the store is away.
        """
        self._started = self._clock()
        while True:
            status = RemoteStatus.GONE if self._gone else remote_status(self._remote)
            step = next_step(self._order, status, answered=self._answered, now=self._clock())
            try:
                chain = await self._take(step)
            except AcmeUnreachable as error:
                await self._after_lost_reply(error)
            except AcmeError as error:
                self._after_refusal(step, error)
            else:
                if chain is not None:
                    return FinishedOrder(self._order, chain)

    async def _take(self, step: Step) -> tuple[bytes, ...] | None:
        match step:
            case Step.PLACE_ORDER:
                with timed("order"):
                    await self._place()
            case Step.ANSWER_CHALLENGES:
                with timed("challenge"):
                    await self._answer()
            case Step.POLL:
                with timed("poll"):
                    await self._poll()
            case Step.FINALIZE:
                with timed("finalize"):
                    await self._finalize()
            case Step.DOWNLOAD:
                with timed("download"):
                    return await self._download()
            case Step.FAIL:
                raise OrderFailed(await self._why_invalid(), self._order)
            case Step.ABANDON:
                raise OrderAbandoned(self._order)
        return None

    async def _place(self) -> None:
        remote = await self._authority.new_order(self._order.names)
        placed = replace(
            self._order,
            phase=Phase.PLACED,
            order_url=remote.url,
            finalize_url=remote.finalize_url,
            authorization_urls=remote.authorization_urls,
            expire_time=remote.expire_time,
        )
        if remote.status == "pending":
            # To read an authorization takes no step, so it need not wait for the write. What became of it is for the step that wants it.
            reading = _outcome(self._read_authorizations(remote.authorization_urls))
            _, self._read_ahead = await all_of(self._persist(placed, "challenge"), reading)
        else:
            await self._persist(placed, "challenge")
        self._remote = remote

    async def _answer(self) -> None:
        found = await self._authorizations()
        if any(a.status in _DEAD for a in found):
            raise OrderAbandoned(self._order)
        pending = [a for a in found if a.status == "pending" and a.challenge_status == "pending" and a.token]
        if unanswerable := [a.name for a in found if a.status == "pending" and not a.token]:
            detail = f"the CA offers no HTTP-01 challenge for {', '.join(unanswerable)}"
            raise OrderFailed(failures.own(failures.ORDER_INVALID, detail, Actor.OPERATOR, self._clock()), self._order)
        # Tokens of challenges that are under way are planted again: this worker may be a successor, and the CA asks more than once.
        tokens = tuple(a.token for a in found if a.token and a.status == "pending")
        writes = [self._plant(token) for token in tokens]
        if set(tokens) - set(self._order.tokens):
            writes.append(self._persist(replace(self._order, tokens=tokens), "challenge"))
        await all_of(*writes)
        await all_of(*(self._tell(a.challenge_url) for a in pending))
        self._answered = True

    async def _authorizations(self) -> list[RemoteAuthorization]:
        ahead, self._read_ahead = self._read_ahead, None
        return await self._read_authorizations(self._order.authorization_urls) if ahead is None else _result(ahead)

    async def _read_authorizations(self, urls: Sequence[str]) -> list[RemoteAuthorization]:
        return await all_of(*(self._authority.authorization(url) for url in urls))

    async def _plant(self, token: str) -> None:
        now = self._clock()
        expire_time = min(self._order.expire_time or now + TOKEN_LIFETIME, now + TOKEN_LIFETIME)
        body = await self._authority.key_authorization(token)
        self._planted.add(token)
        await self._tokens.plant(TokenRecord(token, body, self._token_names, expire_time))

    async def _tell(self, challenge_url: str) -> None:
        try:
            await self._authority.answer(challenge_url)
        except AcmeError as error:
            # A challenge that is no longer pending (answered by whoever held the lease before) is refused; the order tells how it went.
            if not is_gone(error.problem):
                raise

    async def _poll(self) -> None:
        if self._reads or self._remote is not None:
            asked = (self._remote.retry_after if self._remote is not None else None) or 0.0
            if asked > LONGEST_WAIT or self._clock() - self._started > RUN_LIMIT:
                raise OrderSlow(max(asked, LOOK_AGAIN))
            await asyncio.sleep(max(self._pause, asked))
            self._pause = min(self._pause * PAUSE_GROWTH, LONGEST_PAUSE)
        self._reads += 1
        try:
            self._remote = await self._authority.order(self._order.order_url)
        except AcmeError as error:
            if not is_gone(error.problem):
                raise
            self._gone = True
        if self._finalized is not None and self._clock() - self._finalized > _WORTH_TELLING:
            # The CA takes its time: people want to see what is waited for. The order as persisted leads here again.
            self._finalized = None
            await self._persist(self._order, "download")

    async def _finalize(self) -> None:
        if self._order.phase is not Phase.FINALIZING:
            await self._persist(replace(self._order, phase=Phase.FINALIZING), "finalize")
        try:
            self._remote = await self._authority.finalize(self._order.finalize_url, self._order.csr)
        except AcmeError as error:
            if not is_not_ready(error.problem):
                raise
            self._reread()
            return
        self._pause = FIRST_PAUSE_AFTER_FINALIZE
        self._finalized = self._clock()
        if remote_status(self._remote) is RemoteStatus.READY:
            # Accepted and not begun: read again, with a pause, before it is finalized once more.
            self._reread()

    async def _download(self) -> tuple[bytes, ...] | None:
        if self._remote is None or not self._remote.certificate_url:
            # "valid" without a certificate's URL: RFC 8555 section 7.1.3 has it appear, so look again.
            await self._poll()
            return None
        return await self._authority.download(self._remote.certificate_url)

    async def _why_invalid(self) -> Failure:
        if self._remote is None:
            raise AssertionError("an order that was not read is not invalid")
        return failures.order_invalid(
            self._remote, await self._read_authorizations(self._order.authorization_urls), self._token_names[0], self._clock()
        )

    async def _persist(self, order: OrderRecord, step: str) -> None:
        await self._save(order, step)
        self._order = order

    def _reread(self) -> None:
        """Forgets what the CA said: the table then has the order read before anything else."""
        self._remote = None
        self._read_ahead = None
        self._answered = False

    async def _after_lost_reply(self, error: AcmeUnreachable) -> None:
        failure = failures.unreachable(error, self._clock())
        # A balancer that asks for a pause gets it from the schedule, not from a worker that waits.
        if self._lost_replies == len(_UNREACHABLE_PAUSES) or error.retry_after:
            raise OrderInterrupted(failure) from error
        _log.info("no usable answer from the ca", order_url=self._order.order_url, reason=str(error))
        await asyncio.sleep(_UNREACHABLE_PAUSES[self._lost_replies])
        self._lost_replies += 1
        self._reread()

    def _after_refusal(self, step: Step, error: AcmeError) -> None:
        # finalize uses the types that mean "gone" elsewhere to refuse a CSR, and newOrder to refuse names.
        gone = is_absent if step is Step.FINALIZE else is_gone
        if step is not Step.PLACE_ORDER and gone(error.problem):
            self._gone = True
            return
        failure = failures.refused(error.problem, self._clock())
        if failure.kind is FailureKind.AUTHORITY:
            raise OrderInterrupted(failure) from error
        raise OrderFailed(failure, self._order) from error


async def _outcome(request: Coroutine[Any, Any, T]) -> T | AcmeError | AcmeUnreachable:
    """Returns an error of the CA instead of raising it, so that it does not cancel a write beside it."""
    try:
        return await request
    except (AcmeError, AcmeUnreachable) as error:
        return error


def _result(outcome: T | AcmeError | AcmeUnreachable) -> T:
    """Raises what `_outcome` held back."""
    if isinstance(outcome, AcmeError | AcmeUnreachable):
        raise outcome
    return outcome
