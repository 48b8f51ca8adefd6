"""A circuit breaker for a whole CA, as a table: when the CA is at fault, nobody's orders are sent there for some minutes.

    state       event                      next state
    CLOSED      fault                      CLOSED with one fault more; OPEN at `FAULTS_IN_A_ROW`, or at once with a Retry-After
    CLOSED      success                    CLOSED without faults
    OPEN        asked before its time      OPEN; held
    OPEN        asked at its time          HALF_OPEN; that one is the probe
    OPEN        fault                      OPEN, never shorter than the Retry-After
    OPEN        success                    OPEN: an answer to what was sent before does not make a Retry-After void
    HALF_OPEN   asked                      HALF_OPEN; held, the probe is under way
    HALF_OPEN   asked, probe too old       HALF_OPEN; that one is the probe now: whoever had it before died
    HALF_OPEN   fault                      OPEN, for longer than last time
    HALF_OPEN   success                    CLOSED without faults

A fault is what lies with the CA: no connection, a time-out, a balancer's 503, serverInternal. A refusal with any other problem document
is a success here: the CA answers.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

FAULTS_IN_A_ROW = 5
"""Faults without a success between them that open the breaker."""

PROBE_LASTS = timedelta(minutes=2)
"""After so long without a word, a probe counts as lost."""

OPEN_FOR = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 20, 30))
"""How long it is open the first time, the second in a row, and so on; the last repeats."""

JITTER = 0.2
"""The part by which waits are made longer at most, so that workers and deployments do not come back together."""

LONGEST = timedelta(days=7)
"""A Retry-After beyond this is taken as this."""


class BreakerState(StrEnum):
    """See the table."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker. Make one with no arguments: closed.

    `faults` were seen in a row; it was opened `openings` times without a success between; `until` is when the next probe may go (OPEN),
    or when the one under way counts as lost (HALF_OPEN).
    """

    state: BreakerState = BreakerState.CLOSED
    faults: int = 0
    openings: int = 0
    until: datetime | None = None


CLOSED = Breaker()


@dataclass(frozen=True, slots=True)
class Asked:
    """The answer to who wants to send an order: the breaker now, whether it may go, and whether it is the probe. Held: until when."""

    breaker: Breaker
    admitted: bool
    probe: bool = False
    until: datetime | None = None


def ask(breaker: Breaker, now: datetime) -> Asked:
    """Returns whether an order may be sent."""
    if breaker.state is BreakerState.CLOSED:
        return Asked(breaker, admitted=True)
    if breaker.until is not None and now < breaker.until:
        return Asked(breaker, admitted=False, until=breaker.until)
    probing = replace(breaker, state=BreakerState.HALF_OPEN, until=now + PROBE_LASTS)
    return Asked(probing, admitted=True, probe=True)


def succeeded(breaker: Breaker) -> Breaker:
    """Returns the breaker after the CA answered as it should."""
    return breaker if breaker.state is BreakerState.OPEN else CLOSED


def failed(breaker: Breaker, now: datetime, jitter: float, retry_after: timedelta | None = None) -> Breaker:
    """Returns the breaker after a fault of the CA.

    Args:
        breaker: before.
        now: the time.
        jitter: from 0 to 1, where in the room for jitter the wait lies.
        retry_after: what the CA asked for, if it did.
    """
    faults = breaker.faults + 1
    asked = None if retry_after is None else now + min(max(retry_after, timedelta(0)), LONGEST)
    if breaker.state is BreakerState.OPEN:
        until = max((time for time in (breaker.until, asked) if time is not None), default=now)
        return replace(breaker, faults=faults, until=until)
    if breaker.state is BreakerState.CLOSED and asked is None and faults < FAULTS_IN_A_ROW:
        return replace(breaker, faults=faults)
    openings = breaker.openings + 1
    base = OPEN_FOR[min(openings, len(OPEN_FOR)) - 1]
    spread = base * (JITTER * jitter)
    return Breaker(BreakerState.OPEN, faults, openings, max(now + base, asked or now) + spread)
