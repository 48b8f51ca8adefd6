"""How many new orders a worker with several CAs expects to get through, and which of them a check is about."""

from datetime import timedelta

import pytest

from controlplane.adapters.ca_profiles import load_profile
from controlplane.app.issuing import Cas
from controlplane.core.breaker import Breaker, BreakerState
from controlplane.core.certificate_authorities import AuthoritySettings
from controlplane.usecases.authorities import Authorities, Authority
from controlplane.usecases.ca_gate import CaGate
from tests.fakes.accounts import InMemoryAccounts
from tests.fakes.attempts import Attempts

LIMITED, FREE = "letsencrypt", "pebble"


def cas(world: Attempts, *listed: tuple[str, tuple[str, ...] | None, bool]) -> Cas:
    """CAs by profile of limits and tenants; the last says whether it is out of order."""
    authorities = []
    for profile, tenants, away in listed:
        ca = world.with_ca()
        gate = CaGate(load_profile(profile), ca.directory_url, limits=world.limits, breakers=world.breakers, clock=world.clock)
        authorities.append(Authority(AuthoritySettings(ca.directory_url[8:12], ca.directory_url, tenants=tenants), ca, gate))
        if away:
            world.breakers.breakers[ca.directory_url] = Breaker(BreakerState.OPEN, 5, 1, world.now + timedelta(hours=1))
    return Cas(Authorities(authorities, world.clock), (), InMemoryAccounts())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("listed", "room"),
    [
        ([(LIMITED, None, False)], 300),
        ([(LIMITED, None, False), (FREE, None, False)], 300),
        ([(LIMITED, None, True), (FREE, None, False)], None),
        ([(LIMITED, ("gold",), False), (LIMITED, None, False), (FREE, None, False)], 600),
        ([(LIMITED, ("gold",), False), (LIMITED, ("tin",), True)], 300),
        ([(LIMITED, None, True), (LIMITED, None, True)], None),
    ],
)
async def test_room_is_that_of_the_cas_that_get_new_orders(
    listed: list[tuple[str, tuple[str, ...] | None, bool]], room: int | None
) -> None:
    """A CA that nobody falls back to has no part in it, however much it allows."""
    assert room == await cas(Attempts(), *listed).room()


@pytest.mark.parametrize(
    ("tenant", "identities"), [("gold", [set(), {"letsencrypt.org"}]), ("tin", [{"letsencrypt.org"}]), ("", [{"letsencrypt.org"}])]
)
async def test_a_check_is_about_the_cas_that_may_issue(tenant: str, identities: list[set[str]]) -> None:
    """CAA is read for the CAs that serve the tenant, the most preferred first."""
    found = cas(Attempts(), (FREE, ("gold",), False), (LIMITED, None, False)).issuers(tenant)
    assert identities == [each.identities for each in found]


async def test_a_tenant_that_no_ca_serves_has_no_issuer() -> None:
    """The check then says nothing of CAA."""
    assert [] == list(cas(Attempts(), (FREE, ("gold",), False)).issuers("tin"))
