"""Backoff after failures."""

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.core.backoff import DELAYS, JITTER, LONGEST_UNLESS_CUSTOMER, FailureKind, delay, held_until
from controlplane.core.managed_domain import Actor


@pytest.mark.parametrize(
    ("attempt_count", "least"),
    [(1, timedelta(minutes=1)), (2, timedelta(minutes=10)), (3, timedelta(minutes=100)), (4, timedelta(days=1)), (400, timedelta(days=1))],
)
def test_orders_back_off_to_once_a_day(attempt_count: int, least: timedelta) -> None:
    """Failed orders are tried again after 1, 10 and 100 minutes, then daily, each with up to a fifth more."""
    assert least <= delay(FailureKind.ORDER, attempt_count, "shop.example.com") <= least * (1 + JITTER)


@pytest.mark.parametrize("kind", [FailureKind.PREFLIGHT, FailureKind.AUTHORITY])
def test_what_spends_no_order_is_tried_again_sooner(kind: FailureKind) -> None:
    """Failed pre-flights and an absent CA start at seconds."""
    assert timedelta(seconds=10) <= delay(kind, 1, "a.example") < timedelta(seconds=13)


def test_a_ca_is_never_put_off_for_long() -> None:
    """A CA that fails for weeks is tried again every half hour."""
    assert timedelta(minutes=30) <= delay(FailureKind.AUTHORITY, 1000, "a.example", must_act=Actor.CA) <= timedelta(minutes=36)


@pytest.mark.parametrize(
    ("attempt_count", "least"),
    [(6, timedelta(hours=1)), (29, timedelta(hours=1)), (30, timedelta(hours=6)), (34, timedelta(days=1)), (999, timedelta(days=1))],
)
def test_a_customers_host_is_looked_at_once_a_day_in_the_end(attempt_count: int, least: timedelta) -> None:
    """Pre-flights that the customer must act on go from hourly on the first day to once a day."""
    assert least <= delay(FailureKind.PREFLIGHT, attempt_count, "a.example", must_act=Actor.CUSTOMER) <= least * (1 + JITTER)


@pytest.mark.parametrize("must_act", [Actor.OPERATOR, Actor.CA, Actor.NOBODY])
def test_what_the_customer_cannot_mend_is_looked_at_every_hour(must_act: Actor) -> None:
    """A pre-flight that failed for another's fault is never put off for longer than an hour."""
    assert LONGEST_UNLESS_CUSTOMER <= delay(FailureKind.PREFLIGHT, 999, "a.example", must_act=must_act) <= LONGEST_UNLESS_CUSTOMER * 1.2


@pytest.mark.parametrize("must_act", Actor)
def test_what_costs_an_order_is_put_off_whoever_must_act(must_act: Actor) -> None:
    """A failed order costs the CA's limits, so that its pace is the same for all."""
    assert delay(FailureKind.ORDER, 9, "a.example", must_act=must_act) >= timedelta(days=1)


@pytest.mark.parametrize("kind", list(FailureKind))
def test_delays_only_grow(kind: FailureKind) -> None:
    """No later delay of a kind is shorter than an earlier one."""
    assert sorted(DELAYS[kind]) == list(DELAYS[kind])


def test_jitter_follows_from_the_name() -> None:
    """The same name and count always give the same delay; a thousand names give a spread over the jitter's width."""
    delays = [delay(FailureKind.ORDER, 4, f"shop{number}.example.com") for number in range(1000)]
    assert delay(FailureKind.ORDER, 4, "shop7.example.com") == delays[7]
    assert max(delays) - min(delays) > timedelta(days=1) * JITTER * 0.95


def test_retry_after_is_a_lower_bound() -> None:
    """A wait that the CA asks for is never cut short, and never made much longer."""
    waited = delay(FailureKind.AUTHORITY, 1, "a.example", retry_after=7200.0)
    assert timedelta(hours=2) <= waited <= timedelta(hours=2, seconds=2)


def test_a_short_retry_after_does_not_shorten_the_backoff() -> None:
    """A Retry-After below the schedule changes nothing."""
    assert delay(FailureKind.ORDER, 2, "a.example") == delay(FailureKind.ORDER, 2, "a.example", retry_after=1.0)


def test_an_attempt_count_of_zero_counts_as_the_first() -> None:
    """A count that was never raised does not index before the schedule."""
    assert DELAYS[FailureKind.ORDER][0] <= delay(FailureKind.ORDER, 0, "a.example") <= DELAYS[FailureKind.ORDER][0] * 1.2


def test_who_is_held_long_asks_less_often() -> None:
    """At first at the time that the limit gives, later after a quarter of the time waited, ten minutes at most; never all at once."""
    now = datetime(2026, 11, 1, tzinfo=UTC)
    minute = timedelta(minutes=1)
    for waited, expected in ((0, 1), (4, 1), (20, 5), (400, 10)):
        waits = [held_until(now + minute, now - waited * minute, now, f"shop{number}.example") - now for number in range(200)]
        assert expected * minute <= min(waits)
        assert max(waits) <= 1.2 * expected * minute
        assert len(set(waits)) > 150
