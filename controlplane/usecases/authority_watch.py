"""Tells everybody how the CAs are: a worker's reports to the store, and its gauges."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import structlog
from prometheus_client import Gauge

from controlplane.core.authority_report import AuthorityReport, ReportedLimit, exempts_renewals, orders_per_second, seconds_per_order
from controlplane.core.errors import Unavailable
from controlplane.core.ports import CertificateAuthority, Clock
from controlplane.core.ports.authority_reports import AuthorityReports
from controlplane.usecases.authorities import Authorities, Authority
from controlplane.usecases.ca_gate import CaGate

_log = structlog.get_logger(__name__)

_ROOM = Gauge(
    "certplane_ca_room", "New orders that the limits of our account at a CA allow now; +Inf when nothing limits them.", ["authority"]
)
_AVAILABLE = Gauge(
    "certplane_ca_limit_available", "Tokens that are there of a CA's limit, by account or address, and limit.", ["authority", "limit"]
)
_CAPACITY = Gauge("certplane_ca_limit_capacity", "Tokens that there are at most of a CA's limit.", ["authority", "limit"])

_INTERVAL: Final = timedelta(seconds=15)


class AuthorityWatch:
    """Looks at the gate of each CA from time to time. The gauge of its circuit breaker is refreshed by that look."""

    def __init__(
        self,
        authorities: Authorities[CertificateAuthority, CaGate],
        reports: AuthorityReports,
        clock: Clock,
        interval: timedelta = _INTERVAL,
    ) -> None:
        """Takes the CAs and its port; reports last for a minute, so `interval` is to be well below that."""
        self._authorities = authorities
        self._reports = reports
        self._clock = clock
        self._interval = interval

    async def check(self) -> Sequence[AuthorityReport]:
        """Does everything once; returns what it reported, the most preferred CA first.

        Raises:
            Unavailable: the store does not answer.
        """
        accounts = await self._account_urls()
        reports = []
        for preference, authority in enumerate(self._authorities.all):
            report = await self._report(preference, authority, accounts[authority.settings.directory_url])
            await self._reports.report(report)
            _show(report)
            reports.append(report)
        return reports

    async def run(self) -> None:
        """Does it for ever; a failure leaves the gauges as they are."""
        while True:
            try:
                await self.check()
            except Unavailable as error:
                _log.warning("certificate authorities not reported", reason=str(error))
            except Exception:
                # Nothing that is found in the store may end the process.
                _log.exception("certificate authorities could not be reported")
            await asyncio.sleep(self._interval.total_seconds())

    async def _account_urls(self) -> Mapping[str, str]:
        """Returns the URL of each account, by directory."""
        own = {each.settings.directory_url: each.client.account_url for each in self._authorities.all}
        if all(own.values()):
            return own
        # A worker that has ordered nothing yet does not know its account; it must not report limits as unused that others use.
        others = {report.directory_url: report.account_url for report in await self._reports.live()}
        return {directory_url: url or others.get(directory_url, "") for directory_url, url in own.items()}

    async def _report(self, preference: int, authority: Authority[CertificateAuthority, CaGate], account_url: str) -> AuthorityReport:
        gate = authority.gate
        levels = await gate.levels(account_url=account_url)
        return AuthorityReport(
            name=authority.name,
            directory_url=authority.settings.directory_url,
            account_url=account_url,
            preference=preference,
            for_all_tenants=authority.settings.tenants is None,
            breaker=levels.breaker,
            breaker_until=levels.breaker_until,
            room=await gate.room(account_url),
            seconds_per_order=seconds_per_order(gate.profile),
            exempts_renewals=exempts_renewals(gate.profile),
            orders_per_second=orders_per_second(gate.profile),
            limits=tuple(
                ReportedLimit(limit.limit, limit.scope, limit.capacity, limit.available, limit.full_time, limit.blocked_until)
                for limit in levels.limits
            ),
            report_time=self._clock(),
        )


def _show(report: AuthorityReport) -> None:
    # As the gate's own metrics call a CA.
    host = urlsplit(report.directory_url).hostname or ""
    _ROOM.labels(host).set(float("inf") if report.room is None else report.room)
    for limit in report.limits:
        _AVAILABLE.labels(host, limit.name).set(limit.available)
        _CAPACITY.labels(host, limit.name).set(limit.capacity)
