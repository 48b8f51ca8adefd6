"""The table of the circuit breaker."""

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.core.breaker import (
    CLOSED,
    FAULTS_IN_A_ROW,
    JITTER,
    LONGEST,
    OPEN_FOR,
    PROBE_LASTS,
    Asked,
    Breaker,
    BreakerState,
    ask,
    failed,
    succeeded,
)

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
OPEN = Breaker(BreakerState.OPEN, 5, 1, NOW + MINUTE)
PROBED = Breaker(BreakerState.HALF_OPEN, 5, 1, NOW + PROBE_LASTS)


@pytest.mark.parametrize(
    ("before", "later", "expected"),
    [
        (CLOSED, 0 * SECOND, Asked(CLOSED, admitted=True)),
        (Breaker(faults=4), 0 * SECOND, Asked(Breaker(faults=4), admitted=True)),
        (OPEN, 59 * SECOND, Asked(OPEN, admitted=False, until=NOW + MINUTE)),
        (OPEN, MINUTE, Asked(Breaker(BreakerState.HALF_OPEN, 5, 1, NOW + MINUTE + PROBE_LASTS), admitted=True, probe=True)),
        (PROBED, PROBE_LASTS - SECOND, Asked(PROBED, admitted=False, until=NOW + PROBE_LASTS)),
        # The probe was never heard of again.
        (PROBED, PROBE_LASTS, Asked(Breaker(BreakerState.HALF_OPEN, 5, 1, NOW + 2 * PROBE_LASTS), admitted=True, probe=True)),
    ],
)
def test_who_may_send(before: Breaker, later: timedelta, expected: Asked) -> None:
    """Closed admits everybody, open nobody, and at its time one probe, until that is heard of or has taken too long."""
    assert expected == ask(before, NOW + later)


@pytest.mark.parametrize(("before", "after"), [(CLOSED, CLOSED), (Breaker(faults=4), CLOSED), (PROBED, CLOSED), (OPEN, OPEN)])
def test_success(before: Breaker, after: Breaker) -> None:
    """A success ends the row of faults and lets everybody through after a probe; an open breaker waits for its time all the same."""
    assert after == succeeded(before)


@pytest.mark.parametrize(
    ("before", "retry_after", "after"),
    [
        (CLOSED, None, Breaker(faults=1)),
        (Breaker(faults=FAULTS_IN_A_ROW - 2), None, Breaker(faults=FAULTS_IN_A_ROW - 1)),
        (Breaker(faults=FAULTS_IN_A_ROW - 1), None, Breaker(BreakerState.OPEN, FAULTS_IN_A_ROW, 1, NOW + OPEN_FOR[0])),
        # A balancer that says when to come back opens it at once, and is obeyed.
        (CLOSED, 5 * MINUTE, Breaker(BreakerState.OPEN, 1, 1, NOW + 5 * MINUTE)),
        (CLOSED, SECOND, Breaker(BreakerState.OPEN, 1, 1, NOW + OPEN_FOR[0])),
        (CLOSED, -SECOND, Breaker(BreakerState.OPEN, 1, 1, NOW + OPEN_FOR[0])),
        (CLOSED, timedelta(days=900), Breaker(BreakerState.OPEN, 1, 1, NOW + LONGEST)),
        # What was under way when it opened: no longer for that, but a Retry-After counts.
        (OPEN, None, Breaker(BreakerState.OPEN, 6, 1, NOW + MINUTE)),
        (OPEN, 30 * SECOND, Breaker(BreakerState.OPEN, 6, 1, NOW + MINUTE)),
        (OPEN, 3 * MINUTE, Breaker(BreakerState.OPEN, 6, 1, NOW + 3 * MINUTE)),
        # A probe that failed: longer.
        (PROBED, None, Breaker(BreakerState.OPEN, 6, 2, NOW + OPEN_FOR[1])),
        (PROBED, 7 * MINUTE, Breaker(BreakerState.OPEN, 6, 2, NOW + 7 * MINUTE)),
    ],
)
def test_fault(before: Breaker, retry_after: timedelta | None, after: Breaker) -> None:
    """Several faults in a row open the breaker, or one with a Retry-After, which it never undercuts."""
    assert after == failed(before, NOW, 0.0, retry_after)


def test_waits_grow_to_half_an_hour() -> None:
    """Probe after probe that fails makes the wait longer, up to half an hour."""
    breaker, now, waits = Breaker(faults=FAULTS_IN_A_ROW - 1), NOW, []
    for _ in range(8):
        breaker = failed(breaker, now, 0.0)
        assert breaker.until is not None
        waits.append((breaker.until - now) // MINUTE)
        now = breaker.until
        breaker = ask(breaker, now).breaker
    assert [1, 2, 5, 10, 20, 30, 30, 30] == waits


def test_success_forgets_how_often_it_opened() -> None:
    """After a success the first wait is short again."""
    breaker = succeeded(Breaker(BreakerState.HALF_OPEN, 60, 6, NOW))
    assert NOW + OPEN_FOR[0] == failed(breaker, NOW, 0.0, SECOND).until


@pytest.mark.parametrize(("jitter", "retry_after", "until"), [(0.5, None, MINUTE), (1.0, None, MINUTE), (0.5, 10 * MINUTE, 10 * MINUTE)])
def test_jitter(jitter: float, retry_after: timedelta | None, until: timedelta) -> None:
    """Waits are made longer by a part, never shorter, and a Retry-After by as much as the wait without one would be."""
    opened = failed(Breaker(faults=FAULTS_IN_A_ROW - 1), NOW, jitter, retry_after)
    assert NOW + until + OPEN_FOR[0] * (JITTER * jitter) == opened.until
