"""How long the limits of the CAs make orders take, for those who never talk to a CA."""

from datetime import timedelta

import structlog

from controlplane.core.authority_report import time_for, usual
from controlplane.core.ports import Clock
from controlplane.core.ports.authority_reports import AuthorityReports

_log = structlog.get_logger(__name__)


class AuthorityEstimate:
    """Estimates by what workers last reported."""

    def __init__(self, reports: AuthorityReports, clock: Clock) -> None:
        self._reports = reports
        self._clock = clock

    async def estimate(self, orders: int, exempt: int = 0) -> timedelta:
        """Returns how long orders take from now on, by the CA that most of them go to; see `core.authority_report`.

        `exempt` are further orders that replace a certificate within its renewal window (RFC 9773 section 5).

        Zero when no worker has reported its CAs lately, which is logged; the status of the fleet then shows no CA either.

        Raises:
            Unavailable: the store does not answer.
        """
        report = usual(await self._reports.live())
        if report is None:
            _log.warning("no worker has reported its certificate authorities, estimated as without limits", orders=orders + exempt)
            return timedelta()
        return time_for(report, orders, self._clock(), exempt)
