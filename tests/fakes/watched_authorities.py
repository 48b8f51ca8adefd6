"""The CAs of a worker, with limits and breakers that tests use up, for the watch that reports them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controlplane.adapters.ca_profiles import load_profile
from controlplane.core.certificate_authorities import AuthoritySettings
from controlplane.core.ports.authority_reports import AuthorityReports
from controlplane.core.token_bucket import SECOND
from controlplane.usecases.authorities import Authorities, Authority
from controlplane.usecases.authority_watch import AuthorityWatch
from controlplane.usecases.ca_gate import Admitted, CaGate
from tests.fakes.authority_reports import NOW
from tests.fakes.limits import InMemoryBreakers, InMemoryRateLimits

ACCOUNT = "https://ca.example/acct/1"
LIMITED, FREE = "https://limited.example/directory", "https://free.example/directory"


@dataclass
class Client:
    """A client of a CA, as far as the watch asks it. `account_url` is empty until the account was needed."""

    account_url: str = ""


@dataclass
class Workers:
    """What workers share: the counts of `limited`, preferred, with Let's Encrypt's limits, and of `free`, for some tenants, without any."""

    now: datetime = NOW
    breakers: InMemoryBreakers = field(default_factory=InMemoryBreakers)

    def __post_init__(self) -> None:
        self.limits = InMemoryRateLimits(now=lambda: round(self.now.timestamp() * SECOND))

    def gates(self, account_url: str = ACCOUNT) -> list[CaGate]:
        """The gates of a worker that knows this account."""
        return [
            CaGate(
                load_profile(profile),
                directory_url,
                limits=self.limits,
                breakers=self.breakers,
                clock=lambda: self.now,
                account_url=lambda: account_url,
            )
            for profile, directory_url in (("letsencrypt", LIMITED), ("pebble", FREE))
        ]

    def watch(self, reports: AuthorityReports, account_url: str = ACCOUNT, interval: timedelta = timedelta(seconds=15)) -> AuthorityWatch:
        """The watch of a worker that knows this account."""
        settings = AuthoritySettings("limited", LIMITED), AuthoritySettings("free", FREE, tenants=("acme",))
        listed = [Authority(one, Client(account_url), gate) for one, gate in zip(settings, self.gates(account_url), strict=True)]
        authorities = Authorities(listed, lambda: self.now)  # type: ignore[type-var]
        return AuthorityWatch(authorities, reports, lambda: self.now, interval)  # type: ignore[arg-type]

    async def order(self, count: int) -> None:
        """Places so many orders at the CA with limits."""
        gate = self.gates()[0]
        for number in range(count):
            assert Admitted() == await gate.admit([f"d{number}.example"], profile="", replacing=False, account_url=ACCOUNT)
