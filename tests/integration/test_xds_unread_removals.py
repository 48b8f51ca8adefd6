"""What a client that asks for names that do not exist, and does not read, makes the server keep."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import grpc.aio
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from controlplane.core.access import AccessPolicy
from controlplane.endpoints.secret_stream import SecretStream
from controlplane.endpoints.stream_parts import Client, StreamServices
from controlplane.endpoints.stream_reports import ProcessReports
from controlplane.endpoints.stream_variants import DELTA_ADS
from controlplane.xds.subscription import Limits
from controlplane.xds.type_urls import SECRET
from tests.fakes.eventually import eventually
from tests.fakes.secret_streams import ON_DEMAND, Served, serving

REQUESTS, NAMES = 200, 1_000
KINDS = {"that cannot exist": "..{}", "too many to look up": "unknown{}.example"}
"""Names that are answered as removed without a look-up."""


class Asking:
    """A client that asks for ever more names. It reads answers when `reads` is set."""

    def __init__(self, kind: str) -> None:
        self.requests = 0
        self.removed: set[str] = set()
        self.reads = asyncio.Event()
        self._spelled = KINDS[kind]
        self._window = 65_535

    async def read(self) -> object:
        """Returns the next request; in the end it waits until everything is answered."""
        await asyncio.sleep(0)
        if self.requests == REQUESTS:
            await eventually(lambda: len(self.removed) == REQUESTS * NAMES, 30)
            return grpc.aio.EOF
        names = [self._spelled.format(self.requests * NAMES + number) for number in range(NAMES)]
        self.requests += 1
        return DeltaDiscoveryRequest(type_url=SECRET, node=ON_DEMAND, resource_names_subscribe=names).SerializeToString()

    async def write(self, data: bytes) -> None:
        """Takes an answer, if it is read or goes into the window."""
        self._window -= len(data)
        if self._window < 0:
            await self.reads.wait()
        self.removed.update(DeltaDiscoveryResponse.FromString(data).removed_resources)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A running server over an empty store."""
    async with serving() as running:
        yield running


def stream_for(served: Served, client: Asking) -> SecretStream:
    """A stream of a client that may hold few names."""
    services = StreamServices(served.directory, Limits(NAMES, NAMES), AccessPolicy(), None, ProcessReports())
    return SecretStream(DELTA_ADS, services, Client(client.read, client.write, (), datetime.now(UTC)))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_that_does_not_read_is_not_read_from(served: Served, kind: str) -> None:
    """Beyond some ten thousand names it has to wait; when it reads, all of its names are answered."""
    client = Asking(kind)
    async with asyncio.TaskGroup() as tasks:
        serves = tasks.create_task(stream_for(served, client).serve())
        await eventually(lambda: client.requests > 2)
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert client.requests * NAMES < 20_000
        client.reads.set()
        await eventually(serves.done, 30)
    assert (REQUESTS, REQUESTS * NAMES) == (client.requests, len(client.removed))


async def test_a_stream_ends_while_its_client_has_to_wait(served: Served) -> None:
    """Nobody waits for a client that reads nothing."""
    client = Asking("that cannot exist")
    stream = stream_for(served, client)
    async with asyncio.TaskGroup() as tasks:
        serves = tasks.create_task(stream.serve())
        await eventually(lambda: client.requests > 2)
        for _ in range(1_000):
            await asyncio.sleep(0)
        stream.end()
        await eventually(serves.done)
    assert client.requests < REQUESTS
