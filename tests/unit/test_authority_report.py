"""How long orders take by what is reported of a CA."""

from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import pytest
import structlog

from controlplane.adapters.ca_profiles import load_profile
from controlplane.core.authority_report import (
    LONGEST_ESTIMATE,
    REQUESTS_OF_AN_ORDER,
    AuthorityReport,
    ReportedLimit,
    exempts_renewals,
    orders_per_second,
    seconds_per_order,
    time_for,
    usual,
)
from controlplane.core.breaker import BreakerState
from controlplane.core.ca_profile import ENDPOINTS, CaProfile, Counts, OrderLimit, RequestRate, Scope
from controlplane.core.errors import Unavailable
from controlplane.core.token_bucket import SECOND
from controlplane.usecases.authority_estimate import AuthorityEstimate
from tests.fakes.authority_reports import NOW, InMemoryAuthorityReports, authority_report

LIMITED = authority_report(limits=())
FREE = authority_report("pebble", room=None, seconds_per_order=0.0, orders_per_second=None, limits=())
HOUR = timedelta(hours=1)


def blocked(scope: Scope) -> tuple[ReportedLimit, ...]:
    """A limit that is blocked for three hours."""
    return (ReportedLimit("a-limit", scope, 300, 0, NOW, NOW + 3 * HOUR),)


def profile(**requests: float) -> CaProfile:
    """A CA that limits requests only."""
    rates = {endpoint: RequestRate(rate, 10) for endpoint, rate in requests.items()}
    return CaProfile("a", "A", requests=MappingProxyType(rates))


@pytest.mark.parametrize(
    ("report", "orders", "expected"),
    [
        # The room is used at the rate of requests; the rest comes one by one.
        (LIMITED, 0, timedelta()),
        (LIMITED, 80, timedelta(seconds=2)),
        (LIMITED, 289, timedelta(seconds=36)),
        (LIMITED, 1288, timedelta(seconds=36_000)),
        (replace(LIMITED, room=0), 100, HOUR),
        # Requests may be what takes longest.
        (replace(LIMITED, room=10_000), 8_000, timedelta(seconds=200)),
        (replace(LIMITED, orders_per_second=0.01), 289, timedelta(seconds=28_900)),
        (replace(FREE, orders_per_second=5.0), 1_000_000, timedelta(seconds=200_000)),
        (FREE, 1_000_000, timedelta()),
        # Nothing is sent before a block or an open breaker lets it; tokens come meanwhile.
        (replace(LIMITED, limits=blocked(Scope.ACCOUNT), room=0), 40, 3 * HOUR + timedelta(seconds=1)),
        (replace(LIMITED, limits=blocked(Scope.ACCOUNT), room=0), 1_000, 10 * HOUR),
        (replace(LIMITED, limits=blocked(Scope.ADDRESS)), 80, timedelta(seconds=2)),
        (replace(FREE, breaker=BreakerState.OPEN, breaker_until=NOW + HOUR), 1, HOUR),
        (replace(FREE, breaker=BreakerState.OPEN, breaker_until=NOW - HOUR), 1, timedelta()),
        (replace(FREE, breaker=BreakerState.HALF_OPEN, breaker_until=NOW + HOUR), 1, timedelta()),
        # However wrong the figures are, an end of it can be written as a date.
        (replace(LIMITED, seconds_per_order=1e300), 10**6, LONGEST_ESTIMATE),
        (replace(LIMITED, orders_per_second=1e-320), 10**6, LONGEST_ESTIMATE),
    ],
)
def test_time_for_orders(report: AuthorityReport, orders: int, expected: timedelta) -> None:
    """Orders take as long as the slowest of the limits, the rate of requests and what holds all of them."""
    assert expected == time_for(report, orders, NOW)


@pytest.mark.parametrize(
    ("report", "orders", "exempt", "expected"),
    [
        # A million renewals within their windows take hours, not a year.
        (LIMITED, 0, 1_000_000, timedelta(seconds=25_000)),
        (LIMITED, 289, 80, timedelta(seconds=36)),
        (LIMITED, 288, 112, timedelta(seconds=10)),
        (replace(LIMITED, exempts_renewals=False), 0, 289, timedelta(seconds=36)),
        (replace(LIMITED, exempts_renewals=False), 200, 89, timedelta(seconds=36)),
        (replace(LIMITED, limits=blocked(Scope.ACCOUNT)), 0, 40, 3 * HOUR + timedelta(seconds=1)),
        (FREE, 0, 1, timedelta()),
    ],
)
async def test_time_with_exempt_orders(report: AuthorityReport, orders: int, exempt: int, expected: timedelta) -> None:
    """Orders within the renewal window are bound by the rate of requests and by blocks only, where the CA exempts them."""
    assert expected == time_for(report, orders, NOW, exempt)
    reports = InMemoryAuthorityReports()
    await reports.report(report)
    assert expected == await AuthorityEstimate(reports, lambda: NOW).estimate(orders, exempt)


@pytest.mark.parametrize(
    ("exempt", "expected"), [((), True), ((True,), True), ((True, False), False)]
)  # fmt: skip
def test_exemption_must_be_of_all_limits_of_the_account(exempt: tuple[bool, ...], expected: bool) -> None:
    """One limit by account that counts renewals is enough for them to take as long as others; limits by name do not matter."""
    limits = [OrderLimit(f"limit-{number}", Scope.ACCOUNT, Counts.ORDERS, 9, SECOND, each) for number, each in enumerate(exempt)]
    limits.append(OrderLimit("by-name", Scope.NAME, Counts.ORDERS, 9, SECOND, exempt_by_ari=False))
    assert expected == exempts_renewals(CaProfile("a", "A", limits=tuple(limits)))


@pytest.mark.parametrize(
    ("name", "per_order", "per_second"), [("letsencrypt", 36.0, 250 / 6), ("pebble", 0.0, None)]
)  # fmt: skip
def test_figures_of_known_cas(name: str, per_order: float, per_second: float | None) -> None:
    """Let's Encrypt gives an account one order in 36 seconds, and every address 250 requests a second; Pebble limits nothing."""
    known = load_profile(name)
    assert (per_order, per_second) == (seconds_per_order(known), orders_per_second(known))


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        ({"new_order": 3.0}, 3.0),
        ({"order": 3.0}, 1.5),
        ({"other": 7.0}, 1.0),
        ({"other": 7.0, "new_order": 1.0}, 1.0),
        ({"other": 3.0, "new_order": 9.0}, 0.5),
        ({"renewal_info": 1.0}, None),
    ],
)
def test_orders_by_the_rates_of_requests(requests: dict[str, float], expected: float | None) -> None:
    """An order is as fast as the slowest of its requests; endpoints that share a rate count together."""
    assert expected == orders_per_second(profile(**requests))


def test_requests_of_an_order_are_endpoints() -> None:
    """They are called as profiles call them."""
    assert set(REQUESTS_OF_AN_ORDER) <= ENDPOINTS


def test_slowest_limit_of_the_account_counts() -> None:
    """Of several limits by account the one that refills slowest tells when further orders are allowed; others do not matter."""
    limits = tuple(
        OrderLimit(f"limit-{scope.lower()}-{seconds}", scope, Counts.ORDERS, 10, seconds * SECOND)
        for scope, seconds in ((Scope.ACCOUNT, 2), (Scope.ACCOUNT, 7), (Scope.NAME, 900))
    )
    assert 7.0 == seconds_per_order(CaProfile("a", "A", limits=limits))


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([], None),
        ([authority_report("b", preference=1), authority_report("a", preference=2)], "b"),
        ([authority_report("b", preference=1), authority_report("a", preference=0, for_all_tenants=False)], "b"),
        ([authority_report(each, preference=place, for_all_tenants=False) for place, each in enumerate("ba")], "b"),
    ],
)
def test_ca_that_most_orders_go_to(reports: list[AuthorityReport], expected: str | None) -> None:
    """The preferred one, but one for some tenants only where there is no other."""
    found = usual(reports)
    assert expected == (found.name if found else None)


async def test_estimate_is_by_the_preferred_ca() -> None:
    """What other CAs allow does not matter."""
    reports = InMemoryAuthorityReports()
    await reports.report(replace(FREE, preference=1))
    await reports.report(replace(LIMITED, preference=0))
    assert timedelta(hours=10) == await AuthorityEstimate(reports, lambda: NOW).estimate(1288)


async def test_estimate_without_a_report_is_zero_and_says_so() -> None:
    """When no worker has reported, nothing is known that would take time; the log says that this is why."""
    estimate = AuthorityEstimate(InMemoryAuthorityReports(), lambda: NOW)
    with structlog.testing.capture_logs() as log:
        assert timedelta() == await estimate.estimate(5)
    (line,) = log
    assert ("warning", 5) == (line["log_level"], line["orders"])
    assert "no worker has reported" in line["event"]


async def test_estimate_needs_the_store() -> None:
    """A store that is away is not the same as no report."""
    with pytest.raises(Unavailable):
        await AuthorityEstimate(InMemoryAuthorityReports(away=True), lambda: NOW).estimate(5)
