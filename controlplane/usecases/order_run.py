"""Carries an ACME order from wherever it stands to a downloaded chain: a thin loop around two tables.

Each pass asks the table in `core.order_steps` for the step, persists what the step needs, and takes it. Whatever goes wrong on the way to
the CA is looked up in the table of `core.order_faults`, and mostly leads back to the first: after a lost reply the order is read again (or
posted again, when it has no URL yet), so there is one way to resume and not a second one for faults.
"""

import asyncio
from collections import Counter
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
from controlplane.core.order_faults import PAUSES, Reaction, fault_of, pause, react
from controlplane.core.order_steps import Step, expiry, expiry_by_our_clock, look_again, next_step, remote_status
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
from controlplane.usecases.order_endings import (
    AccountStopped,
    FinishedOrder,
    OrderAbandoned,
    OrderFailed,
    OrderInterrupted,
    OrderSlow,
)

_log = structlog.get_logger(__name__)

T = TypeVar("T")

# Seconds between reads of an order, begun anew after finalize. A CA on the same network validates in milliseconds and signs in one or two.
FIRST_PAUSE, FIRST_PAUSE_AFTER_FINALIZE, PAUSE_GROWTH, LONGEST_PAUSE = 0.007, 0.001, 1.4, 5.0
# A run holds one of the worker's places, so it waits neither longer than this in all nor for a Retry-After longer than that.
RUN_LIMIT, LONGEST_WAIT = timedelta(minutes=2), 15.0
# Longer than an attempt lasts, and each attempt plants anew: so little is left when everything dies.
TOKEN_LIFETIME = timedelta(minutes=15)
_WORTH_TELLING = timedelta(seconds=0.25)

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
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
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
        self._sleep = sleep
        self._remote: RemoteOrder | None = None
        self._asked = 0.0
        self._read_ahead: list[RemoteAuthorization] | AcmeError | AcmeUnreachable | None = None
        self._reasons: list[RemoteAuthorization] = []
        self._answered = False
        self._finalized: datetime | None = None
        self._told = False
        self._reads = 0
        self._pause = FIRST_PAUSE
        self._repetitions: Counter[Step] = Counter()
        self._started = clock()
        self._slept = 0.0

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
            step = next_step(
                self._order,
                remote_status(self._remote),
                answered=self._answered,
                now=self._clock(),
                finalized=self._finalized is not None,
            )
            try:
                chain = await self._take(step)
            except (AcmeError, AcmeUnreachable) as error:
                await self._after(step, error)
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
        order = self._order
        remote = await self._authority.new_order(order.names, profile=order.profile, replaces=order.replaces)
        placed = replace(
            order,
            phase=Phase.PLACED,
            order_url=remote.url,
            finalize_url=remote.finalize_url,
            authorization_urls=remote.authorization_urls,
            expire_time=expiry_by_our_clock(remote.expire_time, self._clock()),
            account_url=self._authority.account_url,
        )
        if remote.status == "pending":
            # To read an authorization takes no step, so it need not wait for the write. What became of it is for the step that wants it.
            reading = _outcome(self._read_authorizations(remote.authorization_urls))
            _, self._read_ahead = await all_of(self._persist(placed, "challenge"), reading)
        else:
            await self._persist(placed, "challenge")
        self._look_at(remote)

    async def _answer(self) -> None:
        found = await self._authorizations()
        if any(a.status in _DEAD for a in found):
            raise OrderAbandoned(self._order)
        if any(a.status == "invalid" for a in found):
            # The order cannot become valid any more (section 7.1.6), whether or not the CA shows that already.
            raise OrderFailed(self._invalid(found), self._order)
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
        # Each is answered, whatever becomes of the others.
        for outcome in await all_of(*(_outcome(self._authority.answer(a.challenge_url)) for a in pending)):
            _result(outcome)
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

    async def _poll(self) -> None:
        if self._reads or self._remote is not None:
            if self._asked > LONGEST_WAIT or self._elapsed > RUN_LIMIT:
                raise OrderSlow(look_again(self._order, self._asked, self._clock()))
            await self._wait(max(self._pause, self._asked))
            self._pause = min(self._pause * PAUSE_GROWTH, LONGEST_PAUSE)
        self._reads += 1
        self._look_at(await self._authority.order(self._order.order_url))
        if self._finalized is not None and not self._told and self._clock() - self._finalized > _WORTH_TELLING:
            # The CA takes its time: people want to see what is waited for. The order as persisted leads here again.
            self._told = True
            await self._persist(self._order, "download")

    async def _finalize(self) -> None:
        if self._order.phase is not Phase.FINALIZING:
            await self._persist(replace(self._order, phase=Phase.FINALIZING), "finalize")
        self._look_at(await self._authority.finalize(self._order.finalize_url, self._order.csr))
        self._pause = FIRST_PAUSE_AFTER_FINALIZE
        self._finalized = self._clock()

    async def _download(self) -> tuple[bytes, ...] | None:
        if self._remote is None or not self._remote.certificate_url:
            if expiry(self._order) <= self._clock():
                raise OrderAbandoned(self._order)
            # "valid" without a certificate's URL: RFC 8555 section 7.1.3 has it appear, so look again.
            await self._poll()
            return None
        return await self._authority.download(self._remote.certificate_url)

    async def _why_invalid(self) -> Failure:
        """Reads every authorization; what was read is kept for when the rest cannot be."""
        outcomes = await all_of(*(_outcome(self._authority.authorization(url)) for url in self._order.authorization_urls))
        self._reasons = [outcome for outcome in outcomes if isinstance(outcome, RemoteAuthorization)]
        return self._invalid([_result(outcome) for outcome in outcomes])

    def _invalid(self, authorizations: Sequence[RemoteAuthorization]) -> Failure:
        if self._remote is None:
            raise AssertionError("an order that was not read is not invalid")
        return failures.order_invalid(self._remote, authorizations, self._token_names[0], self._clock())

    def _look_at(self, remote: RemoteOrder) -> None:
        self._remote = remote
        self._asked = remote.retry_after or 0.0

    @property
    def _elapsed(self) -> timedelta:
        # Two measures: a clock that is set back while we wait must not make us wait for ever.
        return max(self._clock() - self._started, timedelta(seconds=self._slept))

    async def _wait(self, seconds: float) -> None:
        self._slept += seconds
        await self._sleep(seconds)

    async def _persist(self, order: OrderRecord, step: str) -> None:
        await self._save(order, step)
        self._order = order

    async def _after(self, step: Step, error: AcmeError | AcmeUnreachable) -> None:
        """Does what the table says about a fault."""
        fault, failure = fault_of(error), failures.of_error(error, self._clock())
        # A CA that hangs at every step must not hold the worker at every step.
        repetitions = self._repetitions[step] if self._elapsed <= RUN_LIMIT else len(PAUSES)
        match react(step, fault, self._order, repetitions=repetitions, retry_after=failure.retry_after, now=self._clock()):
            case Reaction.READ_AGAIN:
                self._forget()
                await self._before_repeating(step, failure)
            case Reaction.REPEAT:
                await self._before_repeating(step, failure)
            case Reaction.REPLACE_NOTHING:
                await self._persist(replace(self._order, replaces=""), "order")
            case Reaction.ABANDON:
                raise OrderAbandoned(self._order) from error
            case Reaction.FAIL:
                raise OrderFailed(self._invalid(self._reasons) if step is Step.FAIL else failure, self._order) from error
            case Reaction.INTERRUPT:
                # While nothing is placed another attempt costs nothing at the CA, so it need not be rare.
                kind = FailureKind.AUTHORITY if step is Step.PLACE_ORDER else failure.kind
                raise OrderInterrupted(replace(failure, kind=kind)) from error
            case Reaction.STOP_ACCOUNT:
                raise AccountStopped(failure) from error

    async def _before_repeating(self, step: Step, failure: Failure) -> None:
        seconds = pause(self._repetitions[step], failure.retry_after)
        _log.info("repeating after a fault", order_url=self._order.order_url, step=step.name.lower(), problem=failure.problem.type)
        self._repetitions[step] += 1
        await self._wait(seconds)

    def _forget(self) -> None:
        """Forgets what the CA said: the table then has the order read before anything else."""
        self._remote = None
        self._asked = 0.0
        self._read_ahead = None
        self._answered = False


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
