"""When a certificate is renewed by its lifetime alone: as long as its CA does not say (RFC 9773), and at the latest whatever it says.

| lifetime        | renewed with this left | at the latest with this left |
|-----------------|------------------------|------------------------------|
| 90 days         | 30 days                | 15 days                      |
| 64 days         | 21 days 8 hours        | 10 days 16 hours             |
| 45 days         | 15 days                | 7 days 12 hours              |
| 160 hours       | 80 hours               | 40 hours                     |
| 6 days          | 72 hours               | 36 hours                     |

Both moments are spread by the name over the twentieth of the lifetime before them. What is left is time for retries: an outage of the CA
of a whole day fits into it even for the shortest.
"""

from datetime import datetime, timedelta
from functools import lru_cache

from controlplane.core.jitter import fraction

SHORT_LIVED = timedelta(days=10)
SOONEST = timedelta(hours=6)
# The part of the lifetime over which renewals are spread, before the latest moment.
SPREAD = 0.05
_SOONEST_PART = 24
_LONG_LIFETIME = SOONEST * _SOONEST_PART


def renew_time(not_before: datetime, not_after: datetime, name: str) -> datetime:
    """Returns when to renew: with a third of the lifetime left, or half of a lifetime under ten days, or a little earlier.

    How much earlier follows from the name, up to a twentieth of the lifetime: domains that were onboarded in a burst are not
    renewed in one.
    """
    lifetime = not_after - not_before
    return not_after - _planned_rest(lifetime) - lifetime * (SPREAD * fraction("renewal", name))


def latest_renewal(not_before: datetime, not_after: datetime, name: str) -> datetime:
    """Returns the backstop: when to renew at the latest, whatever the CA suggests.

    Half of what `renew_time` leaves is left then: a sixth of the lifetime, or a quarter of one under ten days, or a little more, as the
    name says. A CA that suggests the last hour for all of its certificates does not get them all in that hour.
    """
    lifetime = not_after - not_before
    return not_after - _planned_rest(lifetime) / 2 - lifetime * (SPREAD * fraction("backstop", name))


def is_before_backstop(time: datetime, not_before: datetime, not_after: datetime) -> bool:
    """Returns whether a moment is no later than `latest_renewal`, whatever the name: it costs less than to hash one."""
    return not_after - time >= _most_left_at_backstop(not_after - not_before)


def soonest_renewal(not_before: datetime, not_after: datetime, issued: datetime) -> datetime:
    """Returns the moment before which no lifetime is a reason to renew: six hours after the issue, or a twenty-fourth of the lifetime.

    By a clock that is a month ahead of the CA's, every new certificate is old already, and without this would be renewed at once.
    """
    lifetime = not_after - not_before
    return issued + (SOONEST if lifetime >= _LONG_LIFETIME else lifetime / _SOONEST_PART)


# There are few lifetimes.
@lru_cache(maxsize=64)
def _most_left_at_backstop(lifetime: timedelta) -> timedelta:
    return _planned_rest(lifetime) / 2 + lifetime * SPREAD


def _planned_rest(lifetime: timedelta) -> timedelta:
    return lifetime / 2 if lifetime < SHORT_LIVED else lifetime / 3
