"""What a worker tells of its CAs."""

import asyncio
import contextlib
from datetime import timedelta

import pytest
import structlog
from prometheus_client import REGISTRY

from controlplane.core.authority_report import AuthorityReport, ReportedLimit
from controlplane.core.breaker import FAULTS_IN_A_ROW, BreakerState
from controlplane.core.ca_profile import Scope
from controlplane.core.errors import Unavailable
from tests.fakes.authority_reports import NOW, InMemoryAuthorityReports, authority_report
from tests.fakes.eventually import eventually
from tests.fakes.watched_authorities import ACCOUNT, FREE, LIMITED, Workers


def gauge(name: str, authority: str, **labels: str) -> float | None:
    """A gauge of a CA."""
    return REGISTRY.get_sample_value(f"certplane_ca_{name}", {"authority": authority, **labels})


async def test_everything_is_reported() -> None:
    """Each CA is reported with its place, its limits as they stand, and its breaker."""
    workers, reports = Workers(), InMemoryAuthorityReports()
    await workers.order(12)
    for _ in range(FAULTS_IN_A_ROW):
        await workers.gates()[1].faulty()
    made = await workers.watch(reports).check()
    assert made == await reports.live()
    limited, free = made
    seven_minutes = NOW + timedelta(seconds=12 * 36)
    assert (
        AuthorityReport(
            name="limited",
            directory_url=LIMITED,
            account_url=ACCOUNT,
            preference=0,
            for_all_tenants=True,
            breaker=BreakerState.CLOSED,
            breaker_until=None,
            room=288,
            seconds_per_order=36.0,
            exempts_renewals=True,
            orders_per_second=250 / 6,
            limits=(
                ReportedLimit("new-orders-per-account", Scope.ACCOUNT, 300, 288, seven_minutes),
                ReportedLimit("registrations-per-address", Scope.ADDRESS, 10, 10, NOW),
                ReportedLimit("registrations-per-ipv6-range", Scope.ADDRESS, 500, 500, NOW),
            ),
            report_time=NOW,
        )
        == limited
    )
    assert ("free", FREE, 1, False, BreakerState.OPEN) == (
        free.name,
        free.directory_url,
        free.preference,
        free.for_all_tenants,
        free.breaker,
    )
    assert (None, 0.0, None, ()) == (free.room, free.seconds_per_order, free.orders_per_second, free.limits)
    assert free.breaker_until is not None
    assert NOW < free.breaker_until < NOW + timedelta(minutes=2)


async def test_gauges_show_the_same() -> None:
    """Room, limits and breakers are metrics too, by the CA's host as all metrics of CAs are."""
    workers = Workers()
    await workers.order(7)
    await workers.gates()[0].faulty(retry_after=60)
    await workers.watch(InMemoryAuthorityReports()).check()
    limit = {"limit": "new-orders-per-account"}
    assert [293, 293, 300, 2] == [
        gauge("room", "limited.example"),
        gauge("limit_available", "limited.example", **limit),
        gauge("limit_capacity", "limited.example", **limit),
        gauge("breaker_state", "limited.example"),
    ]
    assert [float("inf"), None, 0] == [
        gauge("room", "free.example"),
        gauge("limit_available", "free.example", **limit),
        gauge("breaker_state", "free.example"),
    ]


async def test_worker_that_has_ordered_nothing_reports_the_account_of_others() -> None:
    """A worker does not know its account before it needs it; its report must not tell that limits are unused which others use."""
    workers, reports = Workers(), InMemoryAuthorityReports()
    await workers.order(12)
    await workers.watch(reports).check()
    limited, free = await workers.watch(reports, account_url="").check()
    assert (ACCOUNT, 288, 288) == (limited.account_url, limited.room, limited.limits[0].available)
    assert ACCOUNT == free.account_url


async def test_account_that_nobody_knows() -> None:
    """As long as no worker has needed the account, nothing of it is used."""
    limited, _ = await Workers().watch(InMemoryAuthorityReports(), account_url="").check()
    assert ("", 300) == (limited.account_url, limited.room)


@pytest.mark.parametrize("away", ["limits", "breakers", "reports"])
async def test_store_that_is_away_leaves_everything_as_it_is(away: str) -> None:
    """Whatever part of the store does not answer, the last report and the gauges stay, and the next check is as good as ever."""
    workers, reports = Workers(), InMemoryAuthorityReports()
    watch = workers.watch(reports)
    before = await watch.check()
    await workers.order(3)
    parts = {"limits": workers.limits, "breakers": workers.breakers, "reports": reports}
    parts[away].away = True
    with pytest.raises(Unavailable):
        await watch.check()
    parts[away].away = False
    assert before == await reports.live()
    assert 300 == gauge("room", "limited.example")
    await watch.check()
    assert [297, None] == [each.room for each in await reports.live()]
    assert 297 == gauge("room", "limited.example")


async def test_watch_goes_on_after_failures() -> None:
    """It reports again and again; a store that is away, or whatever else is wrong, is logged and ends nothing."""
    failures: list[Exception] = [Unavailable("the store is away"), ValueError("what is in there?")]
    told: list[str] = []

    class FailingReports(InMemoryAuthorityReports):
        async def report(self, report: AuthorityReport) -> None:
            if failures:
                raise failures.pop(0)
            told.append(report.name)

    watch = Workers().watch(FailingReports(), interval=timedelta(milliseconds=1))
    with structlog.testing.capture_logs() as log:
        running = asyncio.create_task(watch.run())
        async with asyncio.timeout(5):
            await eventually(lambda: len(told) >= 4)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert ["limited", "free", "limited", "free"] == told[:4]
    assert ["certificate authorities not reported", "certificate authorities could not be reported"] == [line["event"] for line in log]


async def test_report_of_another_ca_stays() -> None:
    """Workers with different CAs do not forget each other's."""
    reports = InMemoryAuthorityReports()
    await reports.report(authority_report("other", preference=5))
    await Workers().watch(reports).check()
    assert ["limited", "free", "other"] == [each.name for each in await reports.live()]
