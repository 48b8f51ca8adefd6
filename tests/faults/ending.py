"""Runs a domain's attempts one after the other, as the scheduler would, and tells how it ended and what it cost at the CA."""

from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

from controlplane.core.managed_domain import Actor, DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes import samples
from tests.fakes.issuer import Issuer
from tests.faults.endpoints import Endpoint
from tests.faults.proxy import FaultProxy
from tests.faults.shifted_clock import ShiftedClock

_numbers = count()
_MOST_HELD = 3
_ISSUED = (Outcome.ISSUED, Outcome.ISSUED_IN_PART)


def fresh_name() -> str:
    """Returns a name that the CA has never heard of, so that it has no authorization for it."""
    return f"shop{next(_numbers)}.faults.example.com"


@dataclass(slots=True)
class Ending:
    """How it went: every attempt's outcome, and the status after each."""

    outcomes: list[Outcome] = field(default_factory=list)
    statuses: list[DomainStatus] = field(default_factory=list)
    ended: list[datetime] = field(default_factory=list)

    @property
    def problems(self) -> list[tuple[str, Actor]]:
        """What the attempts before the last said: problem type without its prefix, and who must act."""
        found = [status.last_error for status in self.statuses if status.last_error is not None]
        return [(each.type.rpartition(":")[2], each.must_act) for each in found]

    @property
    def shown(self) -> str:
        """What people are shown after the last attempt."""
        error = self.statuses[-1].last_error
        return "" if error is None else error.detail

    def waited(self, attempt: int = 0) -> float:
        """Returns the seconds between the end of an attempt and the time when the domain is due again."""
        due = self.statuses[attempt].next_attempt_time
        assert due is not None
        return (due - self.ended[attempt]).total_seconds()


async def attempts_until_issued(issuer: Issuer, name: str, most: int) -> Ending:
    """Attempts until there is a certificate, `most` times at most, each when the domain is due: the clock passes the time until then.

    An attempt that is held, by the CA's limits or its breaker, asks the CA for nothing and is not counted.
    """
    ending, held = Ending(), 0
    while len(ending.outcomes) < most:
        _wait_until_due(issuer, name)
        outcome = await issuer.attempt(name)
        if outcome is Outcome.HELD and held < _MOST_HELD:
            held += 1
            continue
        ending.outcomes.append(outcome)
        ending.statuses.append(issuer.status(name))
        ending.ended.append(issuer.clock())
        if outcome in _ISSUED:
            break
    return ending


def _wait_until_due(issuer: Issuer, name: str) -> None:
    """Lets the time pass until the domain's next attempt; what is never due again would never be tried again."""
    assert isinstance(issuer.clock, ShiftedClock)
    due = issuer.work.due_of(DomainName(name))
    assert due is not None
    issuer.clock.wait_until(due)


async def add(issuer: Issuer, *additional: str) -> str:
    """Adds a new domain with these labels as additional names below it; returns its name."""
    name = fresh_name()
    await issuer.work.add(samples.spec(name, *(f"{label}.{name}" for label in additional)))
    return name


def check_issued(issuer: Issuer, proxy: FaultProxy, name: str, ending: Ending, *, orders: int = 1, finalized: int = 1) -> None:
    """Fails unless the domain ended ACTIVE with nothing left behind, at this cost in orders and finalized orders."""
    status = issuer.status(name)
    assert (Outcome.ISSUED, DomainState.ACTIVE, None) == (ending.outcomes[-1], status.state, status.last_error), ending
    check_nothing_left(issuer, name)
    assert (orders, finalized) == (proxy.log.accepted(Endpoint.NEW_ORDER), proxy.log.accepted(Endpoint.FINALIZE))
    assert 1 == issuer.accounts.created
    assert 1 == sum(201 in each.ca_statuses for each in proxy.log.of(Endpoint.NEW_ACCOUNT))


def check_nothing_left(issuer: Issuer, name: str) -> None:
    """Fails when an order is left in the record, or a token planted."""
    assert issuer.work.order_of(DomainName(name)) is None
    assert {} == issuer.tokens.records
