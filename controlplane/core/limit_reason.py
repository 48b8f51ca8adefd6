"""Sentences for people: which limit of a CA somebody waits for."""

from collections.abc import Mapping
from types import MappingProxyType

from controlplane.core.breaker import BreakerState
from controlplane.core.ca_profile import Counts, Scope
from controlplane.core.order_limits import LimitedBucket
from controlplane.core.token_bucket import SECOND

_COUNTED: Mapping[Counts, tuple[str, str]] = MappingProxyType(
    {
        Counts.ORDERS: ("new order", "new orders"),
        Counts.CERTIFICATES: ("certificate", "certificates"),
        Counts.FAILED_AUTHORIZATIONS: ("failed authorization", "failed authorizations"),
        Counts.CONSECUTIVE_FAILURES: ("failed authorization in a row", "failed authorizations in a row"),
        Counts.REGISTRATIONS: ("new account", "new accounts"),
    }
)
_FOR: Mapping[Scope, str] = MappingProxyType(
    {
        Scope.ADDRESS: "our address",
        Scope.ACCOUNT: "our account",
        Scope.NAME_SET: "exactly these names",
    }
)
_UNITS = (("day", 86_400 * SECOND), ("hour", 3600 * SECOND), ("minute", 60 * SECOND), ("second", SECOND))


def limit_reason(title: str, limited: LimitedBucket) -> str:
    """Returns what somebody waits for, such as "Let's Encrypt's limit of 50 certificates for example.com in 7 days"."""
    limit = limited.limit
    whom = limited.subject or _FOR[limit.scope]
    if limited.waits_only:
        return f"{title} refused an order for {whom}, and it is not time yet to ask again"
    one, many = _COUNTED[limit.counts]
    text = f"{title}'s limit of {limit.capacity:,} {one if limit.capacity == 1 else many} for {whom}"
    # A row of failures has no time in which it happens.
    return text if limit.counts is Counts.CONSECUTIVE_FAILURES else f"{text} in {_duration(limit.capacity * limit.interval)}"


def breaker_reason(title: str, state: BreakerState) -> str:
    """Returns why all orders wait."""
    if state is BreakerState.HALF_OPEN:
        return f"{title} did not answer as it should; one order is trying it now, and the others wait"
    return f"{title} does not answer as it should; all orders wait, then one will try it again"


def _duration(microseconds: int) -> str:
    for unit, length in _UNITS:
        if microseconds >= length and microseconds % length == 0:
            count = microseconds // length
            return f"{count:,} {unit}" if count == 1 else f"{count:,} {unit}s"
    return f"{microseconds / SECOND:,.3f} seconds"
