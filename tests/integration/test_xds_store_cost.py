"""What `certplane serve` asks of the store: little at its start, one round trip for a name, and nothing twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from envoy.service.secret.v3 import sds_pb2_grpc

from bench.million.authority import LifelikeCa
from bench.million.filling import fill_fast, name_of
from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_client import connect
from controlplane.embedded.valkey import start_valkey
from controlplane.xds.type_urls import SECRET
from tests.fakes.serving import DEADLINE, Site, connection, ready

DOMAINS = 4_000
SETTLED_SECONDS = 3.0
A_FEW = 10
"""Calls more or less, in which what is done every few seconds differs."""


class CountingProxy:
    """Stands between a client and a store on a Unix socket, and counts how often the client speaks after the store did."""

    def __init__(self, socket_path: Path, store: Path) -> None:
        self.path = socket_path
        self._store = store
        self.turns = 0
        self._client_speaks = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["CountingProxy"]:
        """Listens until the block ends."""
        server = await asyncio.start_unix_server(self._serve, self.path)
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies, commands = await asyncio.open_unix_connection(self._store)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, commands, speaks=True), self._pass(replies, writer, speaks=False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, speaks: bool) -> None:
        while data := await reader.read(1 << 16):
            self.turns += speaks and not self._client_speaks
            self._client_speaks = speaks
            writer.write(data)
            await writer.drain()
        writer.close()


async def commands(redis_url: str) -> dict[str, int]:
    """How often each command was called since the store was started."""
    client = connect(redis_url)
    statistics = await client.info("commandstats")
    await client.aclose()
    return {name.removeprefix("cmdstat_"): numbers["calls"] for name, numbers in statistics.items()}


async def asked(before: dict[str, int], redis_url: str) -> dict[str, int]:
    """How often each command was called since then, without what asking takes."""
    now = await commands(redis_url)
    counted = {name: calls - before.get(name, 0) for name, calls in now.items()}
    return {
        name: calls for name, calls in counted.items() if calls and name.partition("|")[0] not in {"info", "client", "hello", "command"}
    }


@pytest.mark.parametrize(("names", "turns"), [(["a.example.com"], 1), (["www.a.example.com"], 2), (["nobody.example.com"], 1)])
async def test_a_lookup_is_one_round_trip(tmp_path: Path, names: list[str], turns: int) -> None:
    """Two for an additional name; many names of all kinds together take no more."""
    valkey = await start_valkey(tmp_path)
    site = Site(tmp_path, valkey.url)
    await site.put("a.example.com", "www.a.example.com")
    await site.put("b.example.com", "www.b.example.com")
    async with CountingProxy(tmp_path / "proxy", valkey.socket_path).running() as proxy:
        client = connect(f"unix://{proxy.path}")
        store = RedisCertificateStore(client, load_key_directory(site.keys).authenticator())
        # The intermediates of a CA are read when they are met first, and kept.
        await store.lookup(["a.example.com", "b.example.com"])
        proxy.turns = 0
        found = await store.lookup(names)
        assert (turns, set(names)) == (proxy.turns, set(found))
        proxy.turns = 0
        await store.lookup([*names, "b.example.com", "www.b.example.com", *(f"n{number}.example.com" for number in range(100))])
        assert proxy.turns <= 2
        await client.connection_pool.disconnect()
    await valkey.stop()


async def test_serve_starts_without_reading_what_is_stored(tmp_path: Path) -> None:
    """With thousands of domains in the store it asks for no more at its start than with none, and looks none of them up."""
    valkey = await start_valkey(tmp_path)
    site = Site(tmp_path, valkey.url)
    started = []
    for domains in (0, DOMAINS):
        if domains:
            await asyncio.to_thread(fill_fast, valkey.socket_path, site.worker_keys, LifelikeCa(), domains)
        before = await commands(valkey.url)
        async with await site.start() as serve:
            await ready(serve)
            await asyncio.sleep(SETTLED_SECONDS)
            started.append(await asked(before, valkey.url))
            assert 0 == await serve.stop()
    empty, full = started
    assert not {"scan", "keys", "hscan", "zscan", "sscan", "hmget", "mget"} & full.keys()
    for reading in ("hget", "get", "hgetall", "zrange", "zrangebyscore"):
        assert abs(full.get(reading, 0) - empty.get(reading, 0)) <= A_FEW, reading
    assert sum(full.values()) < DOMAINS
    await valkey.stop()


async def test_a_name_is_asked_for_once(tmp_path: Path) -> None:
    """A hundred clients that want one name, and a hundred that want one that does not exist, cost the store one look-up of each."""
    valkey = await start_valkey(tmp_path)
    site = Site(tmp_path, valkey.url)
    await asyncio.to_thread(fill_fast, valkey.socket_path, site.worker_keys, LifelikeCa(), 10)
    async with await site.start() as serve, connection((await ready(serve))["xds"]) as channel:
        stub = sds_pb2_grpc.SecretDiscoveryServiceStub(channel)

        async def fetch(name: str) -> int:
            request = DiscoveryRequest(type_url=SECRET, resource_names=[name])
            return len((await stub.FetchSecrets(request, timeout=DEADLINE)).resources)

        await fetch("warm.example.com")
        before = await commands(valkey.url)
        found = await asyncio.gather(*(fetch(name) for name in (name_of(1), "nobody.example.com") * 100))
        later = [await fetch(name) for name in (name_of(1), "nobody.example.com") * 10]
        reads = await asked(before, valkey.url)
    assert [1, 0] * 110 == [*found, *later]
    # A look-up is a record, a claim and a tombstone; an intermediate is read for the first who needs it. On a busy machine what was found
    # may have to be looked up once more.
    assert reads["hget"] <= 2 * 2
    assert reads["get"] <= 2 * 2 * 2 + 1
    await valkey.stop()
