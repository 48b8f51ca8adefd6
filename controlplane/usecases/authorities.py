"""The CAs that may issue: a client and a gate for each, and which of them is for a domain."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from controlplane.core.authority_choice import Candidate, InForce, NoneAvailable, choose
from controlplane.core.breaker import Breaker
from controlplane.core.certificate import CertificateRecord
from controlplane.core.certificate_authorities import AuthoritySettings
from controlplane.core.certificate_profile import ProfileChoice, choose_profile
from controlplane.core.managed_domain import Domain, DomainStatus
from controlplane.core.order import OrderRecord
from controlplane.core.ports import CertificateAuthority, Clock
from controlplane.usecases.concurrently import all_of


class Gate(Protocol):
    """What is asked of a CA's gate here."""

    async def breaker(self) -> Breaker:
        """Returns how the CA's circuit breaker stands; asking changes nothing.

        Raises:
            Unavailable: the store does not answer.
        """
        ...


ClientT = TypeVar("ClientT", bound=CertificateAuthority)
GateT = TypeVar("GateT", bound=Gate)


@dataclass(frozen=True, slots=True)
class Authority(Generic[ClientT, GateT]):
    """One CA: what is configured of it, its client and its gate."""

    settings: AuthoritySettings
    client: ClientT
    gate: GateT

    @property
    def name(self) -> str:
        """As a domain's status keeps it."""
        return self.settings.name

    async def certificate_profile(self, now: datetime) -> ProfileChoice:
        """Decides which certificate profile an order asks for, of those that the directory offers.

        Raises:
            AcmeUnreachable: the directory was never read, and does not answer.
        """
        if not self.settings.profiles:
            return ProfileChoice("")
        return choose_profile(self.settings.profiles, await self.client.profiles(), now)


@dataclass(frozen=True, slots=True)
class Chosen(Generic[ClientT, GateT]):
    """The CA that is to issue."""

    authority: Authority[ClientT, GateT]


class Authorities(Generic[ClientT, GateT]):
    """All CAs, in order of preference."""

    def __init__(self, authorities: Sequence[Authority[ClientT, GateT]], clock: Clock) -> None:
        """Takes at least one; names and directories are different."""
        self._all = tuple(authorities)
        self._clock = clock
        self._by_name = {each.name: each for each in self._all}
        self._by_directory = {each.settings.directory_url: each for each in self._all}

    @property
    def all(self) -> Sequence[Authority[ClientT, GateT]]:
        """The most preferred first."""
        return self._all

    def named(self, name: str) -> Authority[ClientT, GateT] | None:
        """Returns the CA of this name, None when none is configured."""
        return self._by_name.get(name)

    def of_directory(self, directory_url: str) -> Authority[ClientT, GateT] | None:
        """Returns the CA with this directory, None when none is configured."""
        return self._by_directory.get(directory_url)

    def of_order(self, order: OrderRecord) -> Authority[ClientT, GateT] | None:
        """Returns the CA that an order in progress was placed with, preferred or not; None when it is not configured any more."""
        return self.of_directory(order.directory_url)

    def of_certificate(self, certificate: CertificateRecord, status: DomainStatus | None = None) -> Authority[ClientT, GateT] | None:
        """Returns the CA that issued a certificate; None when it is not configured any more, or not known.

        The status helps with records of versions that did not write the directory: it names the CA of the certificate in force.
        """
        if certificate.directory_url:
            return self.of_directory(certificate.directory_url)
        if status is not None and status.certificate_authority and status.certificate_id == certificate.id:
            return self.named(status.certificate_authority)
        # A record that says nothing is from when there was one CA only.
        return self._all[0] if len(self._all) == 1 else None

    async def choose(
        self,
        domain: Domain,
        status: DomainStatus,
        certificate: CertificateRecord | None,
        *,
        needed_until: datetime | None = None,
        excluded: Collection[str] = (),
    ) -> Chosen[ClientT, GateT] | NoneAvailable:
        """Decides which CA issues for a domain now; see `core.authority_choice`.

        Args:
            domain: whose tenant decides who may.
            status: the domain's, with who refuses it.
            certificate: in force, or None.
            needed_until: when a successor must be there if that is before the certificate's end (it is to be revoked).
            excluded: names of CAs that may not issue now, beside those that refuse the domain.

        Raises:
            Unavailable: the store does not answer.
        """
        breakers = await all_of(*(each.gate.breaker() for each in self._all))
        candidates = [
            Candidate(each.name, each.settings.directory_url, breaker, each.settings.tenants)
            for each, breaker in zip(self._all, breakers, strict=True)
        ]
        in_force = None
        if certificate is not None:
            issuer = self.of_certificate(certificate, status)
            in_force = InForce(
                directory_url=certificate.directory_url,
                authority=issuer.name if issuer is not None else "",
                not_before=certificate.not_before,
                needed_until=min(needed_until or certificate.not_after, certificate.not_after),
            )
        refusing = {*status.refusing_authorities, *excluded}
        found = choose(candidates, tenant=domain.spec.tenant, refusing=refusing, certificate=in_force, now=self._clock())
        return found if isinstance(found, NoneAvailable) else Chosen(self._by_name[found.name])
