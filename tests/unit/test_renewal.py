"""When certificates are renewed by their lifetime."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.core.renewal import SPREAD, is_before_backstop, latest_renewal, renew_time

START = datetime(2027, 1, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)

# Let's Encrypt's lifetimes: classic now, from 2027 and from 2028 (as `tlsserver` is already), `shortlived`; and the six days of others.
LIFETIMES = [90 * DAY, 64 * DAY, 45 * DAY, 160 * HOUR, 6 * DAY]


@pytest.mark.parametrize(
    ("lifetime", "left", "left_at_the_latest"),
    [
        (90 * DAY, 30 * DAY, 15 * DAY),
        (64 * DAY, 21 * DAY + 8 * HOUR, 10 * DAY + 16 * HOUR),
        (45 * DAY, 15 * DAY, 7 * DAY + 12 * HOUR),
        (10 * DAY, 80 * HOUR, 40 * HOUR),
        (160 * HOUR, 80 * HOUR, 40 * HOUR),
        (6 * DAY, 72 * HOUR, 36 * HOUR),
        (HOUR, timedelta(minutes=30), timedelta(minutes=15)),
    ],
)
def test_what_is_left_at_renewal(lifetime: timedelta, left: timedelta, left_at_the_latest: timedelta) -> None:
    """A third of the lifetime is left, or half of one under ten days, and half as much at the backstop; or up to a twentieth more."""
    end = START + lifetime
    for number in range(100):
        name = f"shop{number}.example.com"
        assert left <= end - renew_time(START, end, name) <= left + lifetime * SPREAD
        assert left_at_the_latest <= end - latest_renewal(START, end, name) <= left_at_the_latest + lifetime * SPREAD


@given(st.timedeltas(timedelta(seconds=1), 3650 * DAY), st.text(max_size=80))
def test_renewal_is_planned_within_the_lifetime_and_before_the_backstop(lifetime: timedelta, name: str) -> None:
    """For any lifetime and any name: issued, planned, backstop, expired, in this order."""
    end = START + lifetime
    assert START < renew_time(START, end, name) < latest_renewal(START, end, name) < end


@given(st.timedeltas(timedelta(seconds=1), 3650 * DAY), st.timedeltas(-DAY, 3651 * DAY), st.text(max_size=80))
def test_what_is_before_every_backstop_is_before_that_of_any_name(lifetime: timedelta, age: timedelta, name: str) -> None:
    """For any lifetime, any moment and any name."""
    end = START + lifetime
    assert not is_before_backstop(START + age, START, end) or START + age <= latest_renewal(START, end, name)


@pytest.mark.parametrize("lifetime", LIFETIMES)
def test_what_is_planned_is_known_to_be_before_the_backstop(lifetime: timedelta) -> None:
    """Of what is planned by the lifetime, or lies in a CA's window around that, no name needs to be hashed for the backstop."""
    end = START + lifetime
    assert is_before_backstop(renew_time(START, end, "shop.example.com") + lifetime / 100, START, end)
    assert not is_before_backstop(end - lifetime / 5, START, end)


@pytest.mark.parametrize("lifetime", LIFETIMES)
def test_an_outage_of_a_day_is_survived(lifetime: timedelta) -> None:
    """A CA that goes away for 24 hours just as a renewal begins, at the backstop even, leaves twelve hours for it."""
    end = START + lifetime
    for number in range(100):
        assert latest_renewal(START, end, f"shop{number}.example.com") + 24 * HOUR + 12 * HOUR <= end


@pytest.mark.parametrize("lifetime", LIFETIMES)
@pytest.mark.parametrize("moment", [renew_time, latest_renewal])
def test_a_burst_of_onboarding_is_not_a_burst_of_renewal(lifetime: timedelta, moment: Callable[..., datetime]) -> None:
    """Ten thousand names issued at one moment are renewed over a twentieth of the lifetime, with a peak below 1.5 times the mean."""
    end = START + lifetime
    times = [moment(START, end, f"shop{number}.example.com") for number in range(10_000)]
    first, spread = min(times), lifetime * SPREAD
    assert max(times) - first > spread * 0.99
    counts = Counter(int((each - first) / (spread / 50)) for each in times)
    assert 50 == len(counts)
    assert max(counts.values()) < 1.5 * 10_000 / 50


def test_the_same_name_is_renewed_at_the_same_time() -> None:
    """The spread follows from the name, not from chance: a decision made twice is the same."""
    end = START + 90 * DAY
    assert renew_time(START, end, "a.example") == renew_time(START, end, "a.example")
    assert latest_renewal(START, end, "a.example") == latest_renewal(START, end, "a.example")
