"""Whole attempts without any network: stores and CAs in memory, with a clock that moves only when it is told to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509

from controlplane.adapters.ca_profiles import load_profile
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.core.ca_profile import CaProfile
from controlplane.core.caa import Issuer
from controlplane.core.certificate import CertificateRecord
from controlplane.core.certificate_authorities import AuthoritySettings
from controlplane.core.departure import GRACE
from controlplane.core.managed_domain import DomainSpec, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import RemoteOrder, RenewalInfo
from controlplane.core.token_bucket import SECOND
from controlplane.usecases.authorities import Authorities, Authority
from controlplane.usecases.ca_gate import CaGate
from controlplane.usecases.issuance import Issuance
from controlplane.usecases.issuance_metrics import Outcome
from controlplane.usecases.order_slots import OrderSlots
from controlplane.usecases.orders import Orders
from controlplane.usecases.preflight_round import PreflightRound
from controlplane.usecases.renewal_info import RenewalInfoRound
from controlplane.usecases.revocation import Revoker
from tests.fakes.chains import ChainMaker, Key
from tests.fakes.limits import InMemoryBreakers, InMemoryRateLimits
from tests.fakes.preflight import TablePreflight
from tests.fakes.replacements import InMemoryReplacements
from tests.fakes.scripted_authority import ScriptedAuthority
from tests.fakes.sealing import sealer_and_opener
from tests.fakes.tokens import InMemoryTokens
from tests.fakes.work import InMemoryWork, PreviousCertificates

START = datetime(2026, 11, 26, 12, tzinfo=UTC)
LEASE = timedelta(seconds=60)


@dataclass(slots=True)
class SigningAuthority(ScriptedAuthority):
    """A `ScriptedAuthority` that signs what is sent to it; `signs` makes another chain of it. Challenges of all orders are its own.

    `window` is what it says about renewal; `ahead` is by how much its clock is ahead of ours.
    """

    signs: Callable[[Sequence[str], Key], tuple[bytes, ...]] | None = None
    window: RenewalInfo | None = None
    ahead: timedelta = timedelta()
    revoked: list[int] = field(default_factory=list)

    async def ensure_account(self) -> str:
        """See `CertificateAuthority`."""
        self._end(self._begin("ensure_account"), None)
        return self.account_url

    async def new_order(self, names: Sequence[str], *, profile: str = "", replaces: str = "") -> RemoteOrder:
        """See `CertificateAuthority`; each order has new authorizations."""
        self._answered -= set(names)
        # A slotted dataclass is made anew, so that `super()` without arguments would look at the old one.
        return await ScriptedAuthority.new_order(self, names, profile=profile, replaces=replaces)

    async def renewal_info(self, certificate_id: str) -> RenewalInfo | None:
        """See `CertificateAuthority`."""
        return self._end(self._begin("renewal_info", certificate_id), self.window)

    async def revoke(self, leaf: bytes, reason: int) -> None:
        """See `CertificateAuthority`."""
        self._end(self._begin("revoke", str(len(leaf))), None)
        self.revoked.append(reason)

    async def download(self, certificate_url: str) -> tuple[bytes, ...]:
        """See `CertificateAuthority`."""
        self._end(self._begin("download", certificate_url), None)
        csr = x509.load_der_x509_csr(self.csrs[-1])
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        key: Key = csr.public_key()  # type: ignore[assignment]
        if self.signs is not None:
            return self.signs(names, key)
        made = ChainMaker(self.clock() + self.ahead)
        return made.leaf(names, _Public(key)), made.intermediate  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Public:
    """A key of which only the public half is known, for who asks for no more."""

    key: Key

    def public_key(self) -> Key:
        """The public half."""
        return self.key


@dataclass(slots=True)
class Attempts:
    """One or more CAs, "ca-1" the most preferred, and a worker at a time. A CA that is taken out of `configured` is configured no more."""

    configured: list[SigningAuthority] = field(default_factory=list)
    tenants: dict[str, tuple[str, ...]] = field(default_factory=dict)
    profile: CaProfile = field(default_factory=lambda: load_profile("pebble"))
    grace: timedelta = GRACE
    now: datetime = START

    work: InMemoryWork = field(init=False)
    tokens: InMemoryTokens = field(init=False)
    preflight: TablePreflight = field(init=False)
    limits: InMemoryRateLimits = field(init=False)
    breakers: InMemoryBreakers = field(default_factory=InMemoryBreakers)
    stopped: InMemoryReplacements = field(default_factory=InMemoryReplacements)
    revoker: Revoker = field(init=False)

    def __post_init__(self) -> None:
        self.work = InMemoryWork(self.clock)
        self.tokens = InMemoryTokens(self.clock)
        self.revoker = Revoker(PreviousCertificates(self.work))  # type: ignore[arg-type]
        self.preflight = TablePreflight(self.tokens)
        self.limits = InMemoryRateLimits(now=lambda: round(self.now.timestamp() * SECOND))

    def clock(self) -> datetime:
        """The time."""
        return self.now

    def with_ca(self) -> SigningAuthority:
        """Adds a CA, less preferred than those that there are."""
        number = len(self.configured) + 1
        ca = SigningAuthority(
            self.clock, directory_url=f"https://ca-{number}.example/dir", account_url=f"https://ca-{number}.example/acct/1"
        )
        self.configured.append(ca)
        return ca

    def gate(self, ca: SigningAuthority) -> CaGate:
        """The CA's gate."""
        return CaGate(self.profile, ca.directory_url, limits=self.limits, breakers=self.breakers, clock=self.clock)

    def issuance(self) -> Issuance:
        """The use case, with the CAs that are configured now."""
        listed = []
        for ca in self.configured:
            name = ca.directory_url.removeprefix("https://").partition(".")[0]
            listed.append(Authority(AuthoritySettings(name, ca.directory_url, tenants=self.tenants.get(name)), ca, self.gate(ca)))
        authorities, (sealer, _) = Authorities(listed, self.clock), sealer_and_opener()
        orders = Orders(
            authorities=authorities,  # type: ignore[arg-type]
            slots=OrderSlots(4),
            tokens=self.tokens,
            sealer=sealer,
            make_leaf_key=make_leaf_key,
            clock=self.clock,
        )
        numbers = iter(range(1_000_000))
        return Issuance(
            work=self.work,
            tokens=self.tokens,
            authorities=authorities,  # type: ignore[arg-type]
            issuer_of=lambda ca: Issuer(frozenset(), ca.client.account_url),
            orders=orders,
            preflight=PreflightRound(self.tokens, self.preflight, self.clock, lambda: f"probe-{next(numbers)}".ljust(43, "x")),
            renewal_info=RenewalInfoRound(self.clock, random_fraction=lambda: 0.5),
            revoker=self.revoker,
            stopped=self.stopped,
            clock=self.clock,
            departure_grace=self.grace,
        )

    async def attempt(self, name: str) -> Outcome:
        """An attempt now, whatever is due."""
        lease = await self.work.acquire(DomainName(name), "worker", LEASE)
        assert lease is not None
        outcome = await self.issuance().carry_out(lease)
        await self.work.release(lease)
        return outcome

    async def attempts_until(self, name: str, end: datetime, most: int = 200) -> list[Outcome]:
        """Attempts whenever the domain is due, until `end`: as a worker makes them. More than `most` are taken for a loop that spins."""
        outcomes = []
        while (due := self.work.due_of(DomainName(name))) is not None and due <= end:
            self.now = max(self.now, due)
            outcomes.append(await self.attempt(name))
            assert len(outcomes) <= most, f"it spins: {outcomes[-3:]} at {self.now}"
        self.now = max(self.now, end)
        return outcomes

    def status(self, name: str) -> DomainStatus:
        """As stored."""
        return self.work.domain(DomainName(name)).status

    def certificate(self, name: str) -> CertificateRecord:
        """The certificate in force."""
        found = self.work.certificate_of(DomainName(name))
        assert found is not None
        return found

    def change_spec(self, name: str, change: Callable[[DomainSpec], DomainSpec]) -> None:
        """Writes another spec, and makes the domain due."""
        row = self.work._rows[DomainName(name)]
        row.domain, row.due = replace(row.domain, spec=change(row.domain.spec)), self.now
