"""An issuer against a real Pebble: stores in memory, a real responder, real sealing."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from controlplane.adapters.acme_client import AcmeClient
from controlplane.adapters.envelope_sealer import EnvelopeOpener, EnvelopeSealer
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.core.managed_domain import DomainStatus
from controlplane.core.names import DomainName
from controlplane.embedded.pebble import Pebble, PebblePorts
from controlplane.usecases.issuance import Issuance
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes.authority import FaultyAuthority
from tests.fakes.http01 import http01_responder
from tests.fakes.preflight import TablePreflight
from tests.fakes.sealing import sealer_and_opener
from tests.fakes.tokens import InMemoryTokens
from tests.fakes.work import InMemoryAccounts, InMemoryWork, utc_now

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

    def another_client(self) -> FaultyAuthority:
        """A new client of the same CA and account store, as another process has."""
        client = AcmeClient(
            self.pebble.directory_url,
            accounts=self.accounts,
            sealer=self.sealer,
            opener=self.opener,
            clock=utc_now,
            ca_bundle=str(self.pebble.ca_bundle),
            contact="operator@example.com",
        )
        self.clients.append(client)
        return FaultyAuthority(client)

    def issuance(self, authority: FaultyAuthority | None = None) -> Issuance:
        """The use case, with this or another client."""
        return Issuance(
            work=self.work,
            tokens=self.tokens,
            sealer=self.sealer,
            authority=authority or self.authority,
            preflight=self.preflight,
            make_leaf_key=make_leaf_key,
            clock=utc_now,
        )

    async def attempt(self, name: str, authority: FaultyAuthority | None = None) -> Outcome:
        """Takes the lease, carries out what the domain needs, and gives it back."""
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
    sealer, opener = sealer_and_opener()
    with http01_responder(tokens) as port:
        async with Pebble(directory, PebblePorts.free(http=port), env=env) as pebble:
            issuer = Issuer(
                pebble,
                InMemoryWork(),
                tokens,
                InMemoryAccounts(),
                TablePreflight(tokens),
                sealer,
                opener,
                [],
                None,  # type: ignore[arg-type]
            )
            issuer.authority = issuer.another_client()
            try:
                yield issuer
            finally:
                for client in issuer.clients:
                    await client.close()
