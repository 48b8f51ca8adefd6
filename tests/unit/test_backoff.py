"""Backoff after failures."""

from datetime import timedelta

import pytest

from controlplane.core.backoff import DELAYS, JITTER, FailureKind, delay


@pytest.mark.parametrize(
    ("attempt_count", "least"),
    [(1, timedelta(minutes=1)), (2, timedelta(minutes=10)), (3, timedelta(minutes=100)), (4, timedelta(days=1)), (400, timedelta(days=1))],
)
def test_orders_back_off_to_once_a_day(attempt_count: int, least: timedelta) -> None:
    """Failed orders are tried again after 1, 10 and 100 minutes, then daily, each with up to a fifth more."""
    assert least <= delay(FailureKind.ORDER, attempt_count, "shop.example.com") <= least * (1 + JITTER)


@pytest.mark.parametrize("kind", [FailureKind.PREFLIGHT, FailureKind.AUTHORITY])
def test_what_spends_no_order_is_tried_again_sooner(kind: FailureKind) -> None:
    """Failed pre-flights and an absent CA start at seconds and are never put off for a day."""
    assert timedelta(seconds=10) <= delay(kind, 1, "a.example") < timedelta(seconds=13)
    assert delay(kind, 1000, "a.example") <= timedelta(hours=1.2)


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
