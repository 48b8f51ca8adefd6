"""Runs orders against the virtual CA by the core's tables of steps and faults.

While the CA is well, the orders of domains that are well all take the same way through the table. It is walked once an hour, and the
requests that it asks for are then sent without asking the table each time.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from bench.simulation.scenario import HOUR
from bench.simulation.site import Site, Truth
from bench.simulation.virtual_ca import Issued, Order, VirtualCa
from controlplane.core import failure as failures
from controlplane.core.failure import ACME, Failure
from controlplane.core.managed_domain import Actor
from controlplane.core.order import OrderRecord, Phase
from controlplane.core.order_faults import Reaction, fault_of, pause, react
from controlplane.core.order_steps import RemoteStatus, Step, next_step, remote_status
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable, RemoteAuthorization, RemoteOrder
from controlplane.core.sealing import Envelope, Scheme


@dataclass(slots=True)
class Ended:
    """How a run ended, and when: with a certificate, with a failure, or interrupted (then the order is kept, if it was placed).

    `refusal` is what the CA sent if it refused newOrder.
    """

    at: datetime
    order: Order | None = None
    failure: Failure | None = None
    kept: OrderRecord | None = None
    refusal: AcmeProblem | None = None


def _remote(status: str) -> RemoteOrder:
    return RemoteOrder("", status, "", (), "", None)


_STATUSES = {status: remote_status(_remote(status)) for status in ("pending", "ready", "processing", "valid", "invalid", "expired")}
_WRONG = AcmeProblem(ACME + "unauthorized", "the key authorization is not what was expected")
_SMOOTH = (Step.PLACE_ORDER, Step.ANSWER_CHALLENGES, Step.POLL, Step.FINALIZE, Step.POLL, Step.DOWNLOAD)


class OrderRuns:
    """Runs orders. The records that steps are decided on are made once an hour: nothing in them but their age tells orders apart."""

    def __init__(self, ca: VirtualCa, order_time: timedelta) -> None:
        self._ca = ca
        self._order_time = order_time
        self._records: dict[tuple[Phase, bool], OrderRecord] = {}
        self._made_until = datetime.min.replace(tzinfo=UTC)
        self._smooth = False

    def run(self, site: Site, replaces: str | Issued, now: datetime) -> Ended:
        """Runs the order that the site has open, else a new one, to its end or its interruption."""
        if now > self._made_until:
            self._make_records(now)
        refusal: AcmeError | None = None
        if self._smooth and site.order is None and not site.truth:
            at = now + self._order_time
            if self._ca.is_well_until(at):
                try:
                    order = self._ca.new_order(site.name, replaces, now)
                except AcmeError as error:
                    refusal = error
                else:
                    self._ca.answer(order, now, reaches=True)
                    self._ca.finalize(order, at)
                    return Ended(at, order)
        at, order = now, site.open_order
        record = site.order or self._records[Phase.PREPARED, bool(replaces)]
        status, answered, finalized, repetitions = RemoteStatus.UNREAD, False, False, 0
        while True:
            step = next_step(record, status, answered=answered, now=at, finalized=finalized)
            try:
                if refusal is not None:
                    raised, refusal = refusal, None
                    raise raised
                if step is Step.POLL:
                    assert order is not None
                    status = _STATUSES[self._ca.read(order, at)]
                elif step is Step.PLACE_ORDER:
                    order = self._ca.new_order(site.name, replaces, at)
                    record, status = self._records[Phase.PLACED, bool(replaces)], RemoteStatus.PENDING
                elif step is Step.ANSWER_CHALLENGES:
                    assert order is not None
                    self._ca.answer(order, at, reaches=site.truth is Truth.WELL)
                    answered = True
                elif step is Step.FINALIZE:
                    assert order is not None
                    at = now + self._order_time
                    record = (
                        self._records[Phase.FINALIZING, bool(replaces)] if site.order is None else replace(record, phase=Phase.FINALIZING)
                    )
                    self._ca.finalize(order, at)
                    finalized, status = True, RemoteStatus.UNREAD
                elif step is Step.DOWNLOAD:
                    return Ended(at, order)
                elif step is Step.FAIL:
                    return Ended(at, order, self._why_invalid(site, at))
                else:
                    return Ended(at, order, failures.own(failures.ORDER_LOST, "the order is gone", Actor.CA, at))
            except (AcmeError, AcmeUnreachable) as error:
                retry_after = error.problem.retry_after if isinstance(error, AcmeError) else error.retry_after
                reaction = react(step, fault_of(error), record, repetitions=repetitions, retry_after=retry_after, now=at)
                if reaction in {Reaction.REPEAT, Reaction.READ_AGAIN}:
                    at += timedelta(seconds=pause(repetitions, retry_after))
                    repetitions += 1
                    status = RemoteStatus.UNREAD if reaction is Reaction.READ_AGAIN else status
                elif reaction is Reaction.REPLACE_NOTHING:
                    replaces = ""
                    record = self._records[Phase.PREPARED, False]
                else:
                    return self._stopped(site, error, reaction, order, record, at)

    def _stopped(
        self, site: Site, error: AcmeError | AcmeUnreachable, reaction: Reaction, order: Order | None, record: OrderRecord, at: datetime
    ) -> Ended:
        refusal = error.problem if isinstance(error, AcmeError) else None
        failure = failures.unreachable(error, at) if isinstance(error, AcmeUnreachable) else failures.refused(error.problem, at, site.name)
        if reaction in {Reaction.FAIL, Reaction.ABANDON} or order is None:
            return Ended(at, None, failure, refusal=refusal)
        kept = site.order or replace(record, start_time=order.placed_at, expire_time=order.placed_at + self._ca.order_life)
        return Ended(at, order, failure, kept, refusal)

    def _why_invalid(self, site: Site, at: datetime) -> Failure:
        authorization = RemoteAuthorization("", site.name, "invalid", "invalid", "", "", _WRONG)
        return failures.order_invalid(_remote("invalid"), [authorization], site.name, at)

    def _make_records(self, now: datetime) -> None:
        envelope = Envelope("", Scheme.HPKE_X25519, b"")
        for phase in Phase:
            for replacing in (False, True):
                self._records[phase, replacing] = OrderRecord(
                    phase,
                    ("an.example",),
                    b"",
                    envelope,
                    self._ca.directory_url,
                    now,
                    # Made up to an hour ago when it is used.
                    expire_time=now + self._ca.order_life,
                    account_url=self._ca.account_url,
                    replaces="a.certificate" if replacing else "",
                )
        self._made_until = now + HOUR
        self._smooth = self._walk(now) == _SMOOTH

    def _walk(self, now: datetime) -> tuple[Step, ...]:
        """Returns the steps of an order for which everything goes well."""
        steps = []
        for phase, status, answered, finalized in (
            (Phase.PREPARED, RemoteStatus.UNREAD, False, False),
            (Phase.PLACED, RemoteStatus.PENDING, False, False),
            (Phase.PLACED, RemoteStatus.PENDING, True, False),
            (Phase.PLACED, RemoteStatus.READY, True, False),
            (Phase.FINALIZING, RemoteStatus.UNREAD, True, True),
            (Phase.FINALIZING, RemoteStatus.VALID, True, True),
        ):
            steps.append(next_step(self._records[phase, True], status, answered=answered, now=now, finalized=finalized))
        return tuple(steps)
