"""AuthorityReports in memory, and reports to put there."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from controlplane.core.authority_report import AuthorityReport, ReportedLimit, in_order
from controlplane.core.breaker import BreakerState
from controlplane.core.ca_profile import Scope
from controlplane.core.errors import Unavailable
from controlplane.core.ports.authority_reports import REPORT_LASTS

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@dataclass
class InMemoryAuthorityReports:
    """`AuthorityReports` in memory, by a clock in seconds; `away` makes it Unavailable."""

    lasts: timedelta = REPORT_LASTS
    now: Callable[[], float] = time.monotonic
    away: bool = False
    _reports: dict[str, tuple[float, AuthorityReport]] = field(default_factory=dict)

    async def report(self, report: AuthorityReport) -> None:
        """See `AuthorityReports.report`."""
        self._answer()
        self._reports[report.directory_url] = self.now() + self.lasts.total_seconds(), report

    async def live(self) -> Sequence[AuthorityReport]:
        """See `AuthorityReports.live`."""
        self._answer()
        return in_order([report for end, report in self._reports.values() if self.now() < end])

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the store is away")


def authority_report(name: str = "letsencrypt", **fields: Any) -> AuthorityReport:
    """A report with every field set: Let's Encrypt with twelve orders used, unless said otherwise."""
    full = {
        "directory_url": f"https://{name}.example/directory",
        "account_url": f"https://{name}.example/acct/1",
        "preference": 0,
        "for_all_tenants": True,
        "breaker": BreakerState.CLOSED,
        "breaker_until": None,
        "room": 288,
        "seconds_per_order": 36.0,
        "exempts_renewals": True,
        "orders_per_second": 40.0,
        "limits": (ReportedLimit("new-orders-per-account", Scope.ACCOUNT, 300, 288, NOW + timedelta(seconds=432)),),
        "report_time": NOW,
    }
    return AuthorityReport(name, **(full | fields))
