"""Pebble's own switches: nonces that it refuses, authorizations that it reuses, and its strict mode."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from controlplane.core.managed_domain import DomainState
from controlplane.core.names import DomainName
from controlplane.embedded.pebble import Pebble, PebblePorts
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes import samples
from tests.fakes.http01 import http01_responder
from tests.fakes.issuer import issuer_at
from tests.fakes.tokens import InMemoryTokens
from tests.faults.endpoints import Endpoint
from tests.faults.proxy import fault_proxy

_DOMAINS = 20


class StrictPebble(Pebble):
    """A Pebble with `-strict`, which behaves as future versions of the API will."""

    async def start_authority(self, program: str = "", config: Path | None = None) -> None:
        """See `Pebble.start_authority`."""
        pebble = program or shutil.which("pebble")
        wrapper = self.ca_bundle.with_name("pebble-strict")
        wrapper.write_text(f'#!/bin/sh\nexec {pebble} -strict "$@"\n')
        wrapper.chmod(0o700)
        await super().start_authority(str(wrapper), config)


# Without any other switch Pebble would refuse 5 % of nonces and reuse half of the authorizations.
SWITCHES: dict[str, tuple[type[Pebble], Mapping[str, str]]] = {
    "nonces-refused-50": (Pebble, {"PEBBLE_WFE_NONCEREJECT": "50", "PEBBLE_AUTHZREUSE": "0"}),
    "authorizations-reused-0": (Pebble, {"PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}),
    "authorizations-reused-50": (Pebble, {"PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "50"}),
    "authorizations-reused-100": (Pebble, {"PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "100"}),
    "strict": (StrictPebble, {"PEBBLE_WFE_NONCEREJECT": "5", "PEBBLE_AUTHZREUSE": "50"}),
}


@pytest.mark.parametrize("switch", SWITCHES)
async def test_twenty_domains_issued_and_renewed(tmp_path: Path, switch: str) -> None:
    """Twenty domains at once end ACTIVE at the first attempt, and once more when they are renewed, with one order each time."""
    kind, env = SWITCHES[switch]
    tokens = InMemoryTokens()
    names = [f"shop{number}.{switch}.example.com" for number in range(_DOMAINS)]
    with http01_responder(tokens) as port:
        async with (
            kind(tmp_path, PebblePorts.free(http=port), env=env) as pebble,
            fault_proxy(pebble, tmp_path) as proxy,
            issuer_at(pebble, tokens, directory_url=proxy.directory_url, ca_bundle=proxy.ca_bundle) as issuer,
        ):
            for name in names:
                await issuer.work.add(samples.spec(name))
            async with asyncio.timeout(60):
                first = await asyncio.gather(*(issuer.attempt(name) for name in names))
                answered = proxy.log.accepted(Endpoint.CHALLENGE)
                for name in names:
                    await issuer.work.request_renewal(DomainName(name))
                again = await asyncio.gather(*(issuer.attempt(name) for name in names))
            states = {issuer.status(name).state for name in names}
            left = [issuer.work.order_of(DomainName(name)) for name in names]
    assert {Outcome.ISSUED: 2 * _DOMAINS} == Counter([*first, *again])
    assert ({DomainState.ACTIVE}, [None] * _DOMAINS, {}) == (states, left, tokens.records)
    assert (2 * _DOMAINS, 2 * _DOMAINS) == (proxy.log.accepted(Endpoint.NEW_ORDER), proxy.log.accepted(Endpoint.FINALIZE))
    assert _DOMAINS == answered
    if switch == "authorizations-reused-100":
        # What is valid already is not validated again.
        assert _DOMAINS == proxy.log.accepted(Endpoint.CHALLENGE)
    if switch == "nonces-refused-50":
        assert 2 * _DOMAINS < sum(400 in each.ca_statuses for each in proxy.log.requests)
