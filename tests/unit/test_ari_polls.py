"""When a CA is asked for renewal windows again."""

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.core.ari_polls import JITTER, first_poll, usual_wait, wait_after_failure, wait_after_reply, wait_without_ari
from tests.fakes.ari import certificate

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
HELD = certificate(NOW)


def about(expected: timedelta, actual: timedelta) -> bool:
    return expected <= actual < expected * (1 + JITTER)


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [(None, 6 * HOUR), (21600.0, 6 * HOUR), (0.0, MINUTE), (59.0, MINUTE), (61.0, timedelta(seconds=61)), (604800.0, DAY)],
)
def test_retry_after_is_obeyed_within_a_minute_and_a_day(retry_after: float | None, wait: timedelta) -> None:
    """As the CA says, in reasonable limits (section 4.3.2); six hours when it says nothing."""
    assert about(wait, wait_after_reply(HELD, NOW, retry_after))


@pytest.mark.parametrize(
    ("lifetime", "wait"),
    [
        (90 * DAY, 6 * HOUR),
        (timedelta(hours=160), 6 * HOUR),
        (6 * DAY, 6 * HOUR),
        (143 * HOUR, 5 * HOUR + 57.5 * MINUTE),
        (DAY, HOUR),
        (HOUR, 2.5 * MINUTE),
        (MINUTE, MINUTE),
    ],
)
def test_short_lives_are_asked_about_more_often(lifetime: timedelta, wait: timedelta) -> None:
    """Six hours, or a twenty-fourth of the lifetime, but never more than once a minute."""
    assert wait == usual_wait(certificate(NOW, lifetime))


@pytest.mark.parametrize(
    ("failing", "retry_after", "wait"),
    [
        (timedelta(0), None, 10 * MINUTE),
        (10 * MINUTE, None, 10 * MINUTE),
        (40 * MINUTE, None, 40 * MINUTE),
        (DAY, None, 6 * HOUR),
        (timedelta(0), 1800.0, 30 * MINUTE),
        (timedelta(0), 5.0, 10 * MINUTE),
        (timedelta(0), 604800.0, DAY),
        (None, None, 6 * HOUR),
        (None, 36000.0, 10 * HOUR),
    ],
)
def test_failed_polls_back_off(failing: timedelta | None, retry_after: float | None, wait: timedelta) -> None:
    """As long as the CA has been failing, from ten minutes to six hours; six hours after a refusal; never sooner than Retry-After."""
    since = None if failing is None else NOW - failing
    assert about(wait, wait_after_failure(HELD, NOW, failing_since=since, retry_after=retry_after))


def test_waits_double_through_an_outage() -> None:
    """A domain whose every poll fails is asked about about seven times in a day."""
    now, polls = NOW, 0
    while now < NOW + DAY:
        now += wait_after_failure(HELD, now, failing_since=NOW, retry_after=None)
        polls += 1
    assert 6 <= polls <= 9


def test_a_ca_without_windows_is_asked_daily() -> None:
    """Its directory may get them."""
    assert about(DAY, wait_without_ari(HELD, NOW))


def test_polls_that_come_together_drift_apart() -> None:
    """Ten thousand polls of one second are spread over seventy-two minutes a round later, each round in another order."""
    held = [certificate(NOW, id=str(number)) for number in range(10_000)]
    minutes = [int((wait_after_reply(each, NOW, 21600.0) - 6 * HOUR) / MINUTE) for each in held]
    assert set(range(72)) == set(minutes)
    assert max(minutes.count(minute) for minute in range(72)) < 200
    again = [int((wait_after_reply(each, NOW + DAY, 21600.0) - 6 * HOUR) / MINUTE) for each in held]
    assert sum(first == second for first, second in zip(minutes, again, strict=True)) < 250


def test_first_polls_of_a_burst_are_spread() -> None:
    """A thousand certificates of one second are asked about all over the hour after."""
    minutes = [int((first_poll(certificate(NOW, id=str(number))) - NOW) / MINUTE) for number in range(1000)]
    assert set(range(60)) == set(minutes)
