"""An issuer against a real Pebble: stores in memory, a real responder, real sealing."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from controlplane.adapters.acme_client import AcmeClient
from controlplane.adapters.ca_profiles import load_profile
from controlplane.adapters.envelope_sealer import EnvelopeOpener, EnvelopeSealer
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.core.ca_profile import CaProfile
from controlplane.core.caa import Issuer as CaaIssuer
from controlplane.core.certificate_authorities import AuthoritySettings
from controlplane.core.managed_domain import DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import CertificateAuthority, Clock
from controlplane.embedded.pebble import Pebble, PebblePorts
from controlplane.usecases.authorities import Authorities, Authority
from controlplane.usecases.ca_gate import CaGate
from controlplane.usecases.issuance import Issuance
from controlplane.usecases.issuance_metrics import Outcome
from controlplane.usecases.order_slots import OrderSlots
from controlplane.usecases.orders import Orders
from controlplane.usecases.preflight_round import PreflightRound
from controlplane.usecases.renewal_info import RenewalInfoRound
from controlplane.usecases.revocation import Revoker
from tests.fakes.accounts import InMemoryAccounts
from tests.fakes.authority import FaultyAuthority
from tests.fakes.http01 import http01_responder
from tests.fakes.limits import InMemoryBreakers, InMemoryRateLimits
from tests.fakes.preflight import TablePreflight
from tests.fakes.replacements import InMemoryReplacements
from tests.fakes.sealing import sealer_and_opener
from tests.fakes.tokens import InMemoryTokens
from tests.fakes.work import InMemoryWork, PreviousCertificates, utc_now

LEASE = timedelta(seconds=60)


@dataclass(slots=True)
class Issuer:
    """Everything that issuing needs. A second worker is `issuance(another_client())`: it shares the stores and nothing else."""

    pebble: Pebble
    work: InMemoryWork
    tokens: InMemoryTokens
    accounts: InMemoryAccounts
    preflight: TablePreflight
    sealer: EnvelopeSealer
    opener: EnvelopeOpener
    clients: list[AcmeClient]
    authority: FaultyAuthority
    directory_url: str
    ca_bundle: Path
    clock: Clock
    profile: CaProfile = field(default_factory=lambda: load_profile("pebble"))
    limits: InMemoryRateLimits = field(default_factory=InMemoryRateLimits)
    breakers: InMemoryBreakers = field(default_factory=InMemoryBreakers)
    stopped: InMemoryReplacements = field(default_factory=InMemoryReplacements)

    def another_client(self) -> FaultyAuthority:
        """A new client of the same CA and account store, as another process has."""
        client = AcmeClient(
            self.directory_url,
            accounts=self.accounts,
            sealer=self.sealer,
            opener=self.opener,
            clock=self.clock,
            ca_bundle=str(self.ca_bundle),
            contact="operator@example.com",
        )
        self.clients.append(client)
        return FaultyAuthority(client)

    def issuance(self, authority: FaultyAuthority | None = None) -> Issuance:
        """The use case, with this or another client."""
        authorities = Authorities([self.ca(authority or self.authority)], self.clock)
        return Issuance(
            work=self.work,
            tokens=self.tokens,
            authorities=authorities,
            issuer_of=lambda ca: CaaIssuer(frozenset(ca.settings.caa_identities), ca.client.account_url),
            orders=Orders(
                authorities=authorities,
                slots=OrderSlots(16),
                tokens=self.tokens,
                sealer=self.sealer,
                make_leaf_key=make_leaf_key,
                clock=self.clock,
            ),
            preflight=PreflightRound(self.tokens, self.preflight, self.clock, lambda: secrets.token_urlsafe(32)),
            renewal_info=RenewalInfoRound(self.clock),
            revoker=Revoker(PreviousCertificates(self.work)),
            stopped=self.stopped,
            clock=self.clock,
        )

    def ca(self, client: FaultyAuthority) -> Authority[CertificateAuthority, CaGate]:
        """The CA behind a client, with a gate over limits and a breaker that all clients share."""
        gate = CaGate(self.profile, self.directory_url, limits=self.limits, breakers=self.breakers, clock=self.clock)
        return Authority(AuthoritySettings("pebble", self.directory_url), client, gate)

    async def attempt(self, name: str, authority: FaultyAuthority | None = None) -> Outcome:
        """Lets the time for the next attempt come, takes the lease, carries out what the domain needs, and gives the lease back."""
        self.work.make_due(DomainName(name))
        lease = await self.work.acquire(DomainName(name), "worker", LEASE)
        assert lease is not None
        outcome = await self.issuance(authority).carry_out(lease)
        await self.work.release(lease)
        return outcome

    def status(self, name: str) -> DomainStatus:
        """The status as stored."""
        return self.work.domain(DomainName(name)).status


@asynccontextmanager
async def running_issuer(directory: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Issuer]:
    """Starts a Pebble whose validation connects to a responder over the token store."""
    tokens = InMemoryTokens()
    with http01_responder(tokens) as port:
        async with Pebble(directory, PebblePorts.free(http=port), env=env) as pebble, issuer_at(pebble, tokens) as issuer:
            yield issuer


@asynccontextmanager
async def issuer_at(
    pebble: Pebble, tokens: InMemoryTokens, *, directory_url: str = "", ca_bundle: Path | None = None, clock: Clock = utc_now
) -> AsyncIterator[Issuer]:
    """An issuer at a running Pebble whose validation connects to a responder over `tokens`.

    `directory_url` and `ca_bundle` are those of something in front of it.
    """
    sealer, opener = sealer_and_opener()
    issuer = Issuer(
        pebble,
        InMemoryWork(clock),
        tokens,
        InMemoryAccounts(),
        TablePreflight(tokens),
        sealer,
        opener,
        [],
        None,  # type: ignore[arg-type]
        directory_url or pebble.directory_url,
        ca_bundle or pebble.ca_bundle,
        clock,
    )
    issuer.authority = issuer.another_client()
    try:
        yield issuer
    finally:
        for client in issuer.clients:
            await client.close()
