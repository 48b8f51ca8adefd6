"""What a worker says of a CA for those who never talk to one, and how long orders take by it.

The figures come from the CA's profile and from what all workers together have counted; see `core.order_limits` and `core.token_bucket`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from controlplane.core.breaker import BreakerState
from controlplane.core.ca_profile import CaProfile, Scope
from controlplane.core.order_limits import account_draws
from controlplane.core.token_bucket import SECOND

REQUESTS_OF_AN_ORDER: Final[Mapping[str, int]] = MappingProxyType(
    {"new_order": 1, "authorization": 1, "challenge": 1, "order": 2, "finalize": 1, "certificate": 1}
)
"""What one order of one name sends, by endpoint."""

LONGEST_ESTIMATE: Final = timedelta(days=3650)
"""Whatever the figures say: times that follow from an estimate must be ones that a calendar has."""


@dataclass(frozen=True, slots=True)
class ReportedLimit:
    """A limit of the whole deployment: `available` of `capacity` tokens are there, all at `full_time`; none before `blocked_until`."""

    name: str
    scope: Scope
    capacity: int
    available: int
    full_time: datetime
    blocked_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuthorityReport:
    """A CA as a worker sees it at a time.

    Attributes:
        name: As it is configured.
        directory_url: Which CA it is.
        account_url: Of the account that orders; empty when it is not known yet, and then limits by account count as unused.
        preference: Its place in the order of preference, 0 the first.
        for_all_tenants: Whether domains of every tenant may be issued there.
        breaker: How the circuit breaker stands.
        breaker_until: When an open breaker lets a probe through; None when it is not open.
        room: How many new orders the account's limits allow now; None: any number.
        seconds_per_order: After how long each further order is allowed once the room is used up; 0 when there is no such limit.
        exempts_renewals: Whether orders that replace a certificate within its renewal window (RFC 9773 section 5) draw nothing from these.
        orders_per_second: How many orders a second the rates of requests allow, exempt from limits or not; None: any number.
        limits: Those of the deployment as a whole, by account and by address.
        report_time: When it was so.
    """

    name: str
    directory_url: str
    account_url: str
    preference: int
    for_all_tenants: bool
    breaker: BreakerState
    breaker_until: datetime | None
    room: int | None
    seconds_per_order: float
    exempts_renewals: bool
    orders_per_second: float | None
    limits: tuple[ReportedLimit, ...]
    report_time: datetime


def in_order(reports: Sequence[AuthorityReport]) -> Sequence[AuthorityReport]:
    """Returns reports, the most preferred CA first."""
    return sorted(reports, key=lambda each: (each.preference, each.name, each.directory_url))


def seconds_per_order(profile: CaProfile) -> float:
    """Returns after how long each further order of an account is allowed; 0 at a CA without such a limit."""
    return max((draw.limited.bucket.interval for draw in account_draws(profile, "")), default=0) / SECOND


def exempts_renewals(profile: CaProfile) -> bool:
    """Returns whether no limit by account counts orders that replace a certificate within its renewal window."""
    return all(draw.limited.limit.exempt_by_ari for draw in account_draws(profile, ""))


def orders_per_second(profile: CaProfile) -> float | None:
    """Returns how many orders a second the rates of requests allow, None when there are none. Endpoints may share a rate."""
    requests: Counter[str] = Counter()
    rates = {}
    for endpoint, count in REQUESTS_OF_AN_ORDER.items():
        found = profile.rate_of(endpoint)
        if found is not None:
            group, rate = found
            requests[group] += count
            rates[group] = rate.per_second
    return min((rates[group] / count for group, count in requests.items()), default=None)


def usual(reports: Sequence[AuthorityReport]) -> AuthorityReport | None:
    """Returns the CA that most orders go to: the most preferred that every tenant may use, else the most preferred; None of none."""
    return min(in_order(reports), key=lambda each: not each.for_all_tenants, default=None)


def time_for(report: AuthorityReport, orders: int, now: datetime, exempt: int = 0) -> timedelta:
    """Returns how long a CA makes orders take from `now` on.

    With several limits by account it is the least room and the slowest refill of them: rather too long.

    Args:
        report: on the CA.
        orders: how many.
        now: the time.
        exempt: how many more that replace a certificate within its renewal window (RFC 9773 section 5).
    """
    if orders + exempt <= 0:
        return timedelta()
    holds = [limit.blocked_until for limit in report.limits if limit.scope is Scope.ACCOUNT and limit.blocked_until is not None]
    if report.breaker is BreakerState.OPEN and report.breaker_until is not None:
        holds.append(report.breaker_until)
    held = max(((until - now).total_seconds() for until in holds), default=0.0)
    counted = orders if report.exempts_renewals else orders + exempt
    further = 0 if report.room is None else max(0, counted - report.room)
    sending = (orders + exempt) / report.orders_per_second if report.orders_per_second else 0.0
    seconds = max(further * report.seconds_per_order, max(held, 0.0) + sending)
    return timedelta(seconds=min(seconds, LONGEST_ESTIMATE.total_seconds()))
