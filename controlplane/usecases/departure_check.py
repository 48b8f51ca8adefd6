"""Checks whether a domain still points here, for its own sake: no order is placed, and nothing is written."""

from datetime import timedelta

import structlog
from prometheus_client import Counter

from controlplane.core.caa import Issuer
from controlplane.core.departure import GRACE, after_check, whereabouts
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.ports import Clock, Work
from controlplane.core.ports.preflight import FULL_PATIENCE
from controlplane.usecases.preflight_round import PreflightRound

_CHECKS = Counter("certplane_departure_checks_total", "Checks whether a domain still points here, by what they showed.", ["found"])

_log = structlog.get_logger(__name__)


class DepartureCheck:
    """One check of a domain's own name. Additional names are not looked at: they do not tell whether the domain has left."""

    def __init__(self, preflight: PreflightRound, clock: Clock, grace: timedelta = GRACE) -> None:
        """Takes what checks; `grace` is how long a domain may point elsewhere before it is paused."""
        self._preflight = preflight
        self._clock = clock
        self._grace = grace

    async def run(
        self, work: Work, status: DomainStatus, *, issuer: Issuer | None = None, patience: timedelta = FULL_PATIENCE
    ) -> DomainStatus:
        """Returns the status after the check; nothing of it is stored.

        Args:
            work: the domain as leased.
            status: where it stands now; it may be newer than what `work` has.
            issuer: for CAA, which does not matter here, but is logged with the rest.
            patience: the check ends by then.

        Raises:
            Unavailable: the store is away, so that no probe could be planted.
        """
        fqdn = work.domain.spec.fqdn
        checked = await self._preflight.check((fqdn,), patience=patience, issuer=issuer)
        await self._preflight.withdraw(checked)
        verdict = checked.verdicts[0]
        after = after_check(status, verdict, self._clock(), self._grace)
        _CHECKS.labels(whereabouts(verdict).name.lower()).inc()
        if after.departed_time is not None and status.departed_time is None:
            _log.warning("domain points elsewhere", domain=fqdn.value, detail="" if verdict.problem is None else verdict.problem.detail)
        if (after.state is DomainState.PAUSED) is not (status.state is DomainState.PAUSED):
            told = "domain paused: it has left" if after.state is DomainState.PAUSED else "domain is back"
            _log.info(told, domain=fqdn.value, departed_time=str(after.departed_time or status.departed_time))
        return after
