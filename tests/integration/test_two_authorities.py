"""Two real CAs: what one refuses by policy the other issues for."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.adapters.acme_client import AcmeClient
from controlplane.app.authority_clients import acme_client
from controlplane.core.authority_choice import ALL_REFUSE, NoneAvailable
from controlplane.core.breaker import CLOSED, Breaker, BreakerState
from controlplane.core.certificate_authorities import parse_authorities
from controlplane.core.failure import refused, refused_by_policy
from controlplane.core.managed_domain import Domain, DomainStatus
from controlplane.core.ports import AcmeError
from controlplane.embedded.pebble import Pebble
from controlplane.usecases.authorities import Authorities, Authority, Chosen
from tests.fakes import samples
from tests.fakes.accounts import InMemoryAccounts
from tests.fakes.sealing import sealer_and_opener
from tests.fakes.work import utc_now

MAC_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
BLOCKED = "blocked.example.com"


@dataclass
class StatedGate:
    """A gate whose breaker is as stated."""

    state: Breaker = CLOSED

    async def breaker(self) -> Breaker:
        """See `Gate.breaker`."""
        return self.state


@dataclass
class World:
    """Two Pebbles from one configuration file; the first blocks a name, the second wants an external account."""

    authorities: Authorities[AcmeClient, StatedGate]
    accounts: InMemoryAccounts
    pebbles: dict[str, Pebble]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """They run."""
    async with AsyncExitStack() as stack:
        pebbles = {}
        for name, more in (("first", {"blocked_domains": [BLOCKED]}), ("second", {"external_accounts": {"kid-1": MAC_KEY}})):
            (tmp_path / name).mkdir()
            pebbles[name] = await stack.enter_async_context(Pebble(tmp_path / name, **more))  # type: ignore[arg-type]
        mac = tmp_path / "mac"
        mac.touch(mode=0o600)
        mac.write_text(MAC_KEY)
        text = ""
        for name, pebble in pebbles.items():
            text += f'[[certificate_authority]]\nname = "{name}"\ndirectory = "{pebble.directory_url}"\n'
            text += f'ca_bundle = "{name}/{pebble.ca_bundle.name}"\n'
        text += 'eab_key_id = "kid-1"\neab_key_file = "mac"\n'
        accounts, (sealer, opener) = InMemoryAccounts(), sealer_and_opener()
        listed = []
        for settings in parse_authorities(text, "cas.toml", tmp_path):
            client = acme_client(settings, accounts=accounts, sealer=sealer, opener=opener, clock=utc_now)
            stack.push_async_callback(client.close)
            listed.append(Authority(settings, client, StatedGate()))
        yield World(Authorities(listed, utc_now), accounts, pebbles)


async def test_a_name_that_the_first_refuses_goes_to_the_second(world: World) -> None:
    """The refusal is one of policy; noted in the status, it makes the choice pass the first over, and the second takes the order."""
    domain = Domain(samples.spec(BLOCKED), DomainStatus(), 1)
    chosen = await world.authorities.choose(domain, domain.status, None)
    assert isinstance(chosen, Chosen)
    assert "first" == chosen.authority.name
    with pytest.raises(AcmeError) as caught:
        await chosen.authority.client.new_order([BLOCKED])
    assert refused_by_policy(refused(caught.value.problem, utc_now()))
    status = replace(domain.status, refusing_authorities=("first",))
    chosen = await world.authorities.choose(domain, status, None)
    assert isinstance(chosen, Chosen)
    placed = await chosen.authority.client.new_order([BLOCKED])
    assert ("second", "pending") == (chosen.authority.name, placed.status)
    order = replace(samples.order(BLOCKED), directory_url=chosen.authority.client.directory_url, order_url=placed.url)
    assert chosen.authority is world.authorities.of_order(order)
    found = await world.authorities.choose(domain, replace(status, refusing_authorities=("first", "second")), None)
    assert isinstance(found, NoneAvailable)
    assert ALL_REFUSE == found.problem.type


async def test_each_ca_has_an_account_of_its_own(world: World) -> None:
    """Accounts are made at first use, one a directory, with different keys; only the second is bound to an external account."""
    for authority in world.authorities.all:
        await authority.client.ensure_account()
    first, second = (world.accounts.records[pebble.directory_url] for pebble in world.pebbles.values())
    assert ("", "kid-1") == (first.external_account_key_id, second.external_account_key_id)
    assert first.spki_digest != second.spki_digest


async def test_a_first_certificate_fails_over_at_once(world: World) -> None:
    """While the first is out of order an order goes to the second, and the first is preferred again afterwards."""
    gate = world.authorities.all[0].gate
    gate.state = Breaker(BreakerState.OPEN, 5, 1, utc_now() + timedelta(minutes=10))
    domain = Domain(samples.spec("shop.example.com"), DomainStatus(), 1)
    names = []
    for state in (gate.state, CLOSED):
        gate.state = state
        chosen = await world.authorities.choose(domain, domain.status, None)
        assert isinstance(chosen, Chosen)
        await chosen.authority.client.new_order(["shop.example.com"])
        names.append(chosen.authority.name)
    assert ["second", "first"] == names
