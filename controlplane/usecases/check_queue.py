"""`CheckDomain` as `serve` does it: the check is written down, and the result of the worker that carries it out is waited for.

`serve` itself never talks to a CA or a customer's host.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from controlplane.core.errors import NotFound, NoWorker
from controlplane.core.names import domain_resource_name, parse_domain_resource
from controlplane.core.ports import DomainStore
from controlplane.core.ports.checks import CheckPhase, CheckRequest, CheckResult, CheckStore
from controlplane.usecases.domain_validation import NewDomain, check_new_domain

NO_WORKER_SECONDS: Final = 2.0
"""So long a check waits although no worker is heard of: one may be starting."""

_FIRST_PAUSE: Final = 0.02
_LAST_PAUSE: Final = 0.5
_RETRY_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


class CheckQueue:
    """Asks for checks. Every method raises `Unavailable` when the store does not answer."""

    def __init__(self, domains: DomainStore, checks: CheckStore) -> None:
        self._domains = domains
        self._checks = checks

    async def check_domain(self, name: str, seconds: float) -> CheckResult:
        """Returns the verdicts on all names of an existing domain, waiting for them up to `seconds`.

        Raises:
            InvalidArgument: `name` is not a resource name.
            NotFound: no such domain.
            NoWorker: no worker is there.
            ResourceExhausted: too many checks wait.
            TimeoutError: there is no result yet; it is worked on.
        """
        fqdn = parse_domain_resource(name, field="name")
        domain = await self._domains.get(fqdn)
        if domain is None:
            raise NotFound(domain_resource_name(fqdn))
        return await self._check(CheckRequest(domain.spec.all_names, domain.spec.tenant), seconds)

    async def check_new(self, domain_id: str, tenant: str, additional_names: Sequence[str], seconds: float) -> CheckResult:
        """Returns the verdicts on names that need not be onboarded, waiting for them up to `seconds`. Nothing is claimed.

        Raises:
            InvalidArgument: a name or the tenant is wrong, as for a domain that is created.
            NoWorker: no worker is there.
            ResourceExhausted: too many checks wait.
            TimeoutError: there is no result yet; it is worked on.
        """
        checked = check_new_domain(NewDomain(domain_id, tenant=tenant, additional_names=tuple(additional_names)))
        return await self._check(CheckRequest((checked.fqdn, *checked.additional_names), tenant), seconds)

    async def _check(self, request: CheckRequest, seconds: float) -> CheckResult:
        clock = asyncio.get_running_loop().time
        started = clock()
        pause = _FIRST_PAUSE
        await self._checks.ask(request)
        _log.info("check asked for", domain=request.names[0].value, names=len(request.names))
        while True:
            progress = await self._checks.progress(request)
            if progress is None:
                # It waited longer than it may, or the store was emptied.
                await self._checks.ask(request)
            elif progress.result is not None:
                return progress.result
            elif progress.phase is CheckPhase.WAITING and not progress.workers and clock() - started >= min(NO_WORKER_SECONDS, seconds):
                raise NoWorker("no worker took the check: none is running", _RETRY_SECONDS)
            if clock() - started >= seconds:
                raise TimeoutError
            await asyncio.sleep(min(pause, max(started + seconds - clock(), 0)))
            pause = min(pause * 1.5, _LAST_PAUSE)
