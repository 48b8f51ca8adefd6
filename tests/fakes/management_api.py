"""The whole management API on one port over stores in memory: domains with real certificates, and replacements with their job."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from controlplane.core.certificate import CertificateRecord
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import CertificateStore, DomainStore
from controlplane.core.ports.certificates import CertificateSearch
from controlplane.endpoints.certificate_service import add_certificate_service
from controlplane.endpoints.domain_service import add_domain_service
from controlplane.endpoints.fleet_service import add_fleet_service
from controlplane.endpoints.grpc_server import build_server
from controlplane.usecases.certificates import Certificates
from controlplane.usecases.domains import DomainService
from controlplane.usecases.replacement_job import ReplacementJob
from controlplane.usecases.replacement_steps import ReplacementSteps
from controlplane.usecases.replacements import Replacements
from tests.fakes import samples
from tests.fakes.certificates import InMemoryCertificates, InMemorySealing
from tests.fakes.domains import InMemoryDomains
from tests.fakes.nodes import NOW, Clock, InMemoryNodes, Replica
from tests.fakes.replacements import InMemoryReplacements


@dataclass(slots=True)
class EveryDomain:
    """`CertificateSearch` that leaves the work to who reads the candidates."""

    domains: DomainStore

    async def candidates(self, certificate_id: str) -> AsyncIterator[DomainName]:
        """See `CertificateSearch.candidates`."""
        for domain in (await self.domains.list_page(1_000_000, "")).domains:
            yield domain.spec.fqdn


@dataclass
class ManagementApi:
    """What is behind the address."""

    address: str = ""
    clock: Clock = field(default_factory=Clock)
    domains: InMemoryDomains = field(default_factory=InMemoryDomains)
    certificates: InMemoryCertificates = field(default_factory=lambda: InMemoryCertificates(InMemorySealing()))
    replacements: InMemoryReplacements = field(default_factory=InMemoryReplacements)
    counting_time: float = 0.0
    counting_step: float = 0.0
    """Seconds that a call takes for each page that it counts."""

    async def issue(self, fqdn: str, *additional: str, tenant: str = "acme", authority: str = "letsencrypt") -> CertificateRecord:
        """Does what a worker does in the end: a certificate is in force, the status says so."""
        name = DomainName(fqdn)
        spec = samples.spec(fqdn, *additional, tenant=tenant)
        domain = await self.domains.get(name) or await self.domains.create(spec, DomainStatus())
        record = await self.certificates.put(fqdn, *additional, tenant=tenant)
        status = replace(
            domain.status,
            state=DomainState.ACTIVE,
            certificate_id=record.id,
            certificate_authority=authority,
            issue_time=self.clock() - timedelta(days=1),
            expire_time=record.not_after,
            renewal_done_time=domain.spec.renewal_request_time,
        )
        await self.domains.put_status(fqdn, status)
        return record

    async def estimate(self, orders: int, exempt: int) -> timedelta:
        """Each order takes a minute, a second when it is exempt from limits."""
        return timedelta(minutes=orders, seconds=exempt)

    @property
    def steps(self) -> ReplacementSteps:
        """What takes steps."""
        return ReplacementSteps(self.domains, self.estimate, self.clock)

    def job(self) -> ReplacementJob:
        """The job, which does not rest."""
        return ReplacementJob(self.replacements, self.steps, self.clock, "here", _no_rest)

    def counting(self) -> float:
        """The clock by which a call stops counting."""
        self.counting_time += self.counting_step
        return self.counting_time


async def _no_rest(_seconds: float) -> None:
    pass


@asynccontextmanager
async def management_api(
    behind: tuple[DomainStore, CertificateStore, CertificateSearch] | None = None, now: datetime = NOW
) -> AsyncIterator[ManagementApi]:
    """Serves the API until the block ends. `behind` is where certificates come from in place of those in memory."""
    api = ManagementApi(clock=Clock(now))
    domains, certificates, search = behind or (api.domains, api.certificates, EveryDomain(api.domains))
    listener = build_server("127.0.0.1:0")
    add_domain_service(listener.server, DomainService(domains, api.domains, api.clock, lambda: "0" * 32))
    add_certificate_service(listener.server, Certificates(domains, certificates, search, api.clock))
    replacements = Replacements(api.replacements, api.steps, api.clock, api.counting)
    add_fleet_service(listener.server, Replica("here", InMemoryNodes(), api.clock).fleet, replacements)
    await listener.server.start()
    api.address = listener.address
    try:
        yield api
    finally:
        await listener.server.stop(None)
