"""The CAs together: which is whose, and that the choice is made on what is known now."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.core.authority_choice import NoneAvailable
from controlplane.core.breaker import CLOSED, Breaker, BreakerState
from controlplane.core.certificate_authorities import AuthoritySettings
from controlplane.core.errors import Unavailable
from controlplane.core.managed_domain import Domain, DomainStatus
from controlplane.usecases.authorities import Authorities, Authority, Chosen
from tests.fakes import samples

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
A, B = "https://a.example/dir", "https://b.example/dir"


@dataclass
class OfferingClient:
    """A client of a CA that offers certificate profiles."""

    directory_url: str
    offered: frozenset[str] = frozenset()
    asked: int = 0

    async def profiles(self) -> frozenset[str]:
        """See `CertificateAuthority.profiles`."""
        self.asked += 1
        return self.offered


@dataclass
class StatedGate:
    """A gate whose breaker is as stated."""

    state: Breaker = CLOSED
    away: bool = False

    async def breaker(self) -> Breaker:
        """See `Gate.breaker`."""
        if self.away:
            raise Unavailable("the store is away")
        return self.state


@dataclass
class World:
    """Two CAs."""

    a: StatedGate = field(default_factory=StatedGate)
    b: StatedGate = field(default_factory=StatedGate)
    tenants_of_a: tuple[str, ...] | None = None

    @property
    def authorities(self) -> Authorities:
        """Both, "a" preferred."""
        settings = (AuthoritySettings("a", A, tenants=self.tenants_of_a), AuthoritySettings("b", B))
        gates = (self.a, self.b)
        listed = [Authority(each, OfferingClient(each.directory_url), gate) for each, gate in zip(settings, gates, strict=True)]
        return Authorities(listed, lambda: NOW)  # type: ignore[type-var]

    async def choice(self, status: DomainStatus = DomainStatus(), directory: str | None = None, **more) -> str | NoneAvailable:  # noqa: B008
        """Which CA is to renew a certificate of this directory, or to issue the first."""
        certificate = None
        if directory is not None:
            made = samples.certificate("shop.example.com")
            certificate = replace(made, directory_url=directory, not_before=NOW - timedelta(days=60), not_after=NOW + timedelta(days=30))
            status = replace(status, certificate_id=certificate.id)
        domain = Domain(samples.spec("shop.example.com", tenant="gold"), status, 1)
        found = await self.authorities.choose(domain, status, certificate, **more)
        return found.authority.name if isinstance(found, Chosen) else found


def opened(ends_in: timedelta = timedelta(minutes=10)) -> Breaker:
    return Breaker(BreakerState.OPEN, 5, 1, NOW + ends_in)


async def test_the_choice_is_made_on_breakers_tenant_refusals_and_certificate() -> None:
    """What `core.authority_choice` decides on comes from the gates, the settings, the status and the certificate."""
    assert "a" == await World().choice()
    assert "b" == await World(a=StatedGate(opened())).choice()
    assert "b" == await World(tenants_of_a=("silver",)).choice()
    assert "b" == await World().choice(DomainStatus(refusing_authorities=("a",)))
    assert "b" == await World().choice(directory=B)
    assert "b" == await World().choice(DomainStatus(certificate_authority="b"), directory="")


async def test_a_renewal_with_time_waits_for_its_ca() -> None:
    """The wait is told with its end; when the certificate is needed no longer than an hour, it goes elsewhere."""
    world = World(b=StatedGate(opened()))
    found = await world.choice(directory=B)
    assert isinstance(found, NoneAvailable)
    assert NOW + timedelta(minutes=10) == found.until
    assert "a" == await world.choice(directory=B, needed_until=NOW + timedelta(hours=1))


async def test_nothing_is_chosen_without_the_store() -> None:
    """Breakers that cannot be read are not taken for closed."""
    with pytest.raises(Unavailable):
        await World(b=StatedGate(away=True)).choice()


def test_an_order_belongs_to_the_ca_that_it_was_placed_with() -> None:
    """An order in progress is found by its directory, also when its CA is out of order or not preferred; else it is nobody's."""
    authorities = World(b=StatedGate(opened())).authorities
    order = samples.order("shop.example.com")
    found = authorities.of_order(replace(order, directory_url=B))
    assert found is not None
    assert ("b", None) == (found.name, authorities.of_order(replace(order, directory_url="https://gone.example/dir")))


def test_a_certificate_belongs_to_the_ca_that_issued_it() -> None:
    """By its directory; in old records by the status, if that speaks of this certificate; with one CA it is that one's."""
    authorities = World().authorities
    certificate = samples.certificate("shop.example.com")
    status = DomainStatus(certificate_id=certificate.id, certificate_authority="b")

    def name(directory: str, said: DomainStatus | None = None) -> str | None:
        found = authorities.of_certificate(replace(certificate, directory_url=directory), said)
        return None if found is None else found.name

    assert ["a", "b", None] == [name(directory) for directory in (A, B, "https://gone.example/dir")]
    assert [None, "b", None] == [name(""), name("", status), name("", replace(status, certificate_id="another"))]
    assert "a" == name(A, status)
    alone = Authorities(authorities.all[:1], lambda: NOW)
    assert "a" == getattr(alone.of_certificate(certificate), "name", None)


@pytest.mark.parametrize(
    ("preferred", "offered", "profile", "asked"),
    [
        ((), {"classic", "tlsserver"}, "", 0),
        (("shortlived", "tlsserver"), {"classic", "tlsserver"}, "tlsserver", 1),
        (("tlsserver", "shortlived"), {"shortlived", "tlsserver"}, "tlsserver", 1),
        (("shortlived",), {"classic"}, "", 1),
        (("shortlived",), set(), "", 1),
    ],
)
async def test_the_certificate_profile_is_the_first_that_is_offered(
    preferred: tuple[str, ...], offered: set[str], profile: str, asked: int
) -> None:
    """A directory that offers none of the preferred profiles is asked for its default."""
    client = OfferingClient(A, frozenset(offered))
    authority = Authority(AuthoritySettings("a", A, profiles=preferred), client, StatedGate())  # type: ignore[type-var]
    assert (profile, asked) == ((await authority.certificate_profile(NOW)).profile, client.asked)
