"""What streams go through when the store is restarted, emptied, trimmed or silent: `certplane serve`, real gRPC clients, a real Valkey."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_client import CALL_SECONDS, connect
from controlplane.embedded.valkey import EmbeddedValkey, start_valkey
from controlplane.xds.type_urls import SECRET
from tests.fakes.serving import DEADLINE, Site, connection, ready

HELD, OTHER, NEW, NOBODY = "held.example.com", "other.example.com", "new.example.com", "nobody.example.com"
RIGHT_AWAY = 1.5
LONGER_THAN_A_CALL = CALL_SECONDS + 1.0


class Edge:
    """A stream of incremental ADS that accepts every answer. Waiting in vain does no harm to it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
        self._answers: asyncio.Queue[DeltaDiscoveryResponse] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while (answer := await self._call.read()) is not grpc.aio.EOF:
            await self._call.write(DeltaDiscoveryRequest(type_url=SECRET, response_nonce=answer.nonce))
            self._answers.put_nowait(answer)

    async def ask(self, *names: str) -> None:
        """Subscribes."""
        await self._call.write(DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=names))

    async def told(self, seconds: float = DEADLINE) -> tuple[list[str], list[str]]:
        """The names that the next answer brings and removes."""
        async with asyncio.timeout(seconds):
            answer = await self._answers.get()
        return sorted(resource.name for resource in answer.resources), sorted(answer.removed_resources)

    async def is_told_nothing(self, seconds: float) -> bool:
        """Whether the stream goes on, and no answer comes for so long."""
        await asyncio.sleep(seconds)
        return self._answers.empty() and not self._reading.done()

    async def close(self) -> None:
        """Ends it."""
        self._call.cancel()
        await asyncio.wait([self._reading])


class Store:
    """A Valkey that can be stopped and started again on the same data."""

    def __init__(self, directory: Path, valkey: EmbeddedValkey) -> None:
        self._directory = directory
        self.valkey = valkey

    async def stop(self) -> None:
        """Ends it."""
        await self.valkey.stop()

    async def start(self) -> None:
        """Starts it anew."""
        self.valkey = await start_valkey(self._directory)

    async def empty(self) -> None:
        """Takes everything out of it, while its clients stay connected."""
        client = connect(self.valkey.url)
        await client.flushall()
        await client.aclose()

    @contextlib.contextmanager
    def silent(self):
        """Has it answer nothing, without closing a connection."""
        pids = [int(pid) for pid in Path(f"/proc/{self.valkey.process.pid}/task/{self.valkey.process.pid}/children").read_text().split()]
        for pid in (self.valkey.process.pid, *pids):
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in (self.valkey.process.pid, *pids):
                os.kill(pid, signal.SIGCONT)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store."""
    made = Store(tmp_path, await start_valkey(tmp_path))
    yield made
    await made.stop()


@pytest.fixture
async def site(tmp_path: Path, store: Store) -> Site:
    """A store with two certificates."""
    made = Site(tmp_path, store.valkey.url)
    for name in (HELD, OTHER):
        await made.put(name)
    return made


@pytest.fixture
async def edge(site: Site) -> AsyncIterator[Edge]:
    """An Envoy that holds one of them, and waits for a name that nobody onboarded yet."""
    async with await site.start() as serve:
        async with connection((await ready(serve))["xds"]) as channel:
            stream = Edge(channel)
            await stream.ask(HELD, NOBODY)
            assert ([HELD], [NOBODY]) == await stream.told()
            yield stream
            await stream.close()
        assert "Traceback" not in serve.errors


async def test_a_restarted_store_takes_nothing_away(store: Store, site: Site, edge: Edge) -> None:
    """With its data back: streams go on, what is held stays, what happens from then on is told, and new names are served."""
    await store.stop()
    await store.start()
    await site.put(HELD)
    assert ([HELD], []) == await edge.told()
    await edge.ask(OTHER, NEW)
    assert ([OTHER], [NEW]) == await edge.told()
    await site.put(NOBODY)
    assert ([NOBODY], []) == await edge.told()


async def test_what_happens_while_a_replica_is_on_its_way_back_is_told(store: Store, site: Site, edge: Edge) -> None:
    """Changes that are made as soon as the store is back, before the replica reads its streams again, reach who holds the name."""
    for _ in range(3):
        await store.stop()
        await store.start()
        await site.put(NOBODY)
        await site.put(HELD)
        told = [*(await edge.told())[0]]
        while len(told) < 2:
            told += (await edge.told())[0]
        assert {HELD, NOBODY} == set(told)


@pytest.mark.parametrize("restarted", [True, False])
async def test_an_emptied_store_takes_nothing_away(store: Store, site: Site, edge: Edge, restarted: bool) -> None:
    """Whether its clients stayed connected or not: holders keep what they have, and new asks are told that there is nothing."""
    await store.empty()
    if restarted:
        await store.stop()
        await store.start()
    await edge.ask(OTHER)
    assert ([], [OTHER]) == await edge.told()
    assert await edge.is_told_nothing(RIGHT_AWAY)


async def test_an_emptied_store_is_filled_again(store: Store, site: Site, edge: Edge) -> None:
    """Its change numbers begin anew; what is onboarded reaches who holds a name, and who was told that there is none."""
    await store.empty()
    await store.stop()
    await store.start()
    await edge.ask(OTHER)
    assert ([], [OTHER]) == await edge.told()
    for name in (HELD, OTHER, NOBODY):
        await site.put(name)
        assert ([name], []) == await edge.told()


async def test_a_trimmed_stream_costs_no_change(store: Store, site: Site, edge: Edge) -> None:
    """When the entries of all change streams are gone, and when the streams are, the next changes are told."""
    client = connect(store.valkey.url)
    for name in (HELD, NOBODY):
        for shard in range(keys.SHARDS):
            await client.xtrim(keys.changes(shard), maxlen=0, approximate=False)
        await site.put(name)
        assert ([name], []) == await edge.told()
        for shard in range(keys.SHARDS):
            await client.delete(keys.changes(shard))
        await site.put(name)
        assert ([name], []) == await edge.told()
    await client.aclose()


async def test_who_asks_while_the_store_is_silent_waits_and_is_served(store: Store, site: Site, edge: Edge) -> None:
    """A store that answers nothing for longer than a call may take costs no stream and no removal; what was asked for comes after it."""
    with store.silent():
        await edge.ask(OTHER, NEW)
        assert await edge.is_told_nothing(LONGER_THAN_A_CALL)
    assert ([OTHER], [NEW]) == await edge.told()
    await site.put(HELD)
    assert ([HELD], []) == await edge.told()


async def test_who_asks_while_the_store_is_away_waits_and_is_served(store: Store, edge: Edge) -> None:
    """Names that cannot exist are answered meanwhile, the others once it is back."""
    await store.stop()
    await edge.ask(OTHER, NEW)
    await edge.ask("..")
    assert ([], [".."]) == await edge.told()
    assert await edge.is_told_nothing(RIGHT_AWAY)
    await store.start()
    assert ([OTHER], [NEW]) == await edge.told()
