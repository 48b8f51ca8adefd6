"""One Pebble for a module of tests, and for each test a proxy in front of it and an issuer behind that."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from controlplane.adapters import acme_requests
from controlplane.core import order_faults
from controlplane.embedded.pebble import Pebble, PebblePorts
from tests.fakes.http01 import http01_responder
from tests.fakes.issuer import Issuer, issuer_at
from tests.fakes.tokens import InMemoryTokens
from tests.fakes.work import utc_now
from tests.faults.proxy import FaultProxy, fault_proxy
from tests.faults.shifted_clock import ShiftedClock

READ_SECONDS = 0.5
"""How long the client waits for a CA that hangs; 30 in production."""

PAUSES = (0.02, 0.05, 0.1)
"""Seconds before each repetition of a step; up to three in production."""

# No switch of Pebble's own: what goes wrong here is what the test says. (It may reuse an authorization now and then all the same: every
# test has names of its own.)
_QUIET = {"PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}


@dataclass(frozen=True, slots=True)
class Ca:
    """A running Pebble, and the store that its validation asks."""

    pebble: Pebble
    tokens: InMemoryTokens


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ca(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ca]:
    """A Pebble for all tests of a module."""
    tokens = InMemoryTokens()
    with http01_responder(tokens) as port:
        async with Pebble(tmp_path_factory.mktemp("pebble"), PebblePorts.free(http=port), env=_QUIET) as pebble:
            yield Ca(pebble, tokens)


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(ca: Ca, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    """A proxy for one test."""
    async with fault_proxy(ca.pebble, tmp_path) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def issuer(ca: Ca, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Issuer]:
    """An issuer, new to the CA, that reaches it through the proxy."""
    monkeypatch.setattr(acme_requests, "_READ_SECONDS", READ_SECONDS)
    monkeypatch.setattr(order_faults, "PAUSES", PAUSES)
    async with issuer_behind(proxy, ca, ShiftedClock()) as made:
        yield made


@asynccontextmanager
async def issuer_behind(proxy: FaultProxy, ca: Ca, clock: ShiftedClock) -> AsyncIterator[Issuer]:
    """An issuer, new to the CA, that reaches it through the proxy and lives by this clock, as everything does that is not the CA's."""
    ca.tokens.records.clear()
    ca.tokens.planted.clear()
    # The CA validates in real time: a test that lets an hour pass must not take the token away from a validation that is under way.
    ca.tokens.clock = lambda: min(clock(), utc_now())
    async with issuer_at(ca.pebble, ca.tokens, directory_url=proxy.directory_url, ca_bundle=proxy.ca_bundle, clock=clock) as made:
        made.limits.now = clock.microseconds
        yield made
