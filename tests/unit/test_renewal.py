"""When certificates are renewed."""

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.core.renewal import SPREAD, renew_time

START = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("lifetime", "left"),
    [
        (timedelta(days=90), timedelta(days=30)),
        (timedelta(days=45), timedelta(days=15)),
        (timedelta(days=10), timedelta(days=10) / 3),
        (timedelta(days=6), timedelta(days=3)),
        (timedelta(hours=1), timedelta(minutes=30)),
    ],
)
def test_what_is_left_at_renewal(lifetime: timedelta, left: timedelta) -> None:
    """A third of the lifetime is left, or half of one under ten days, or up to a twentieth more."""
    end = START + lifetime
    remaining = end - renew_time(START, end, "shop.example.com")
    assert left <= remaining <= left + lifetime * SPREAD


def test_a_burst_of_onboarding_is_not_a_burst_of_renewal() -> None:
    """A thousand names issued at one moment are renewed over four days and more, in no four hours more than a tenth of them."""
    end = START + timedelta(days=90)
    times = sorted(renew_time(START, end, f"shop{number}.example.com") for number in range(1000))
    assert times[-1] - times[0] > timedelta(days=4)
    assert max(sum(start <= each < start + timedelta(hours=4) for each in times) for start in times) < 100


def test_the_same_name_is_renewed_at_the_same_time() -> None:
    """The spread follows from the name, not from chance: a decision made twice is the same."""
    end = START + timedelta(days=90)
    assert renew_time(START, end, "a.example") == renew_time(START, end, "a.example")
