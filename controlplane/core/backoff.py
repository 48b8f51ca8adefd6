"""How long to wait after a failure: decided by what failed and by who must act, not only by how often.

What the customer must act on is put off to once a day in the end, and what costs an order or an authorization at the CA soon. The CA's
own faults are put off by minutes: they end without anybody's knowing. What the operator can mend is looked at every hour at the latest
when that spends no order, since one hand may mend thousands of names at once.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum, auto
from types import MappingProxyType

from controlplane.core.jitter import fraction
from controlplane.core.managed_domain import Actor


class FailureKind(Enum):
    """What failed, and so what another attempt costs."""

    PREFLIGHT = auto()
    """Our own check of the customer's host: it spends no order, and the customer may be at it just now."""
    ORDER = auto()
    """The CA refused for a reason that lies with the names: each attempt counts against the CA's limits for failed authorizations."""
    AUTHORITY = auto()
    """The CA, or our account there: the names are not to blame, so they are never put off for a day unless the CA says so."""


_SECOND, _MINUTE, _HOUR, _DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

# The last delay of a row repeats.
DELAYS: Mapping[FailureKind, tuple[timedelta, ...]] = MappingProxyType(
    {
        # Quick while somebody may sit before it, hourly for the rest of the day, then rarer: a check costs the CA nothing, but us.
        FailureKind.PREFLIGHT: (
            10 * _SECOND,
            30 * _SECOND,
            _MINUTE,
            5 * _MINUTE,
            15 * _MINUTE,
            *(_HOUR,) * 24,
            *(6 * _HOUR,) * 4,
            _DAY,
        ),
        # Let's Encrypt's integration guide: after 1, 10 and 100 minutes, then daily.
        FailureKind.ORDER: (_MINUTE, 10 * _MINUTE, 100 * _MINUTE, _DAY),
        FailureKind.AUTHORITY: (10 * _SECOND, 30 * _SECOND, _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE),
    }
)

LONGEST_UNLESS_CUSTOMER = _HOUR
"""The longest wait after a failed pre-flight that is not for the customer to mend."""

LONGEST_HELD = timedelta(minutes=10)
"""What is added at most to the wait for a limit, for having waited long."""

# Waits are made longer by up to this part, so that names that failed together do not come back together.
JITTER = 0.2


def delay(
    kind: FailureKind, attempt_count: int, name: str, retry_after: float | None = None, must_act: Actor = Actor.CUSTOMER
) -> timedelta:
    """Returns how long to wait before the next attempt.

    Args:
        kind: what failed.
        attempt_count: failed attempts up to now, this one included; from 1.
        name: the domain, which decides the jitter.
        retry_after: seconds that the CA asked for; the wait is never shorter.
        must_act: who can mend it.
    """
    row = DELAYS[kind]
    base = row[min(max(attempt_count, 1), len(row)) - 1]
    if kind is FailureKind.PREFLIGHT and must_act is not Actor.CUSTOMER:
        base = min(base, LONGEST_UNLESS_CUSTOMER)
    # Beside a Retry-After the jitter grows from the schedule's own wait: a day's wait is not made longer by hours.
    jitter = base * (JITTER * fraction("backoff", name, str(attempt_count)))
    return (max(base, timedelta(seconds=retry_after)) if retry_after else base) + jitter


def held_until(until: datetime, since: datetime, now: datetime, name: str) -> datetime:
    """Returns when a domain that waits for a CA's limit, or for a CA, tries again.

    Many wait for the same moment, and few are let through then. So who has waited for long asks again after a part of that time, and no
    two at once.

    Args:
        until: when it may be let through at the earliest.
        since: since when it has been held.
        now: the time.
        name: the domain, which decides the jitter.
    """
    wait = max(until - now, min((now - since) / 4, LONGEST_HELD))
    return now + wait * (1 + JITTER * fraction("held", name, now.isoformat()))
