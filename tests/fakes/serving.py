"""`certplane serve` as a process, with a store behind it that holds real certificates."""

import asyncio
import contextlib
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from envoy.service.secret.v3 import sds_pb2_grpc

from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.key_generation import KeyKind, generate_role_directories
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.core.errors import AlreadyExists
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.sealing import Scheme
from controlplane.xds.type_urls import SECRET
from tests.e2e.command import Command, environment
from tests.fakes import samples
from tests.fakes.certificates import issue

DEADLINE = 20.0
FREE = "127.0.0.1:0"


class Site:
    """Keys, a store and what a worker writes into it; `serve` is run on it. Addresses are HOST:PORT."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.keys, self.worker_keys = directory / "serve-keys", directory / "worker-keys"
        self.redis_url = redis_url
        self._directory = directory
        self._runs = 0
        generate_role_directories(self.keys, self.worker_keys, KeyKind(Scheme.HPKE_X25519), samples.now())

    async def put(self, fqdn: str, *additional: str, intermediates: tuple[bytes, ...] | None = None) -> None:
        """Puts a new certificate in force, of a new domain or of one that is there; its tenant is that of all samples.

        `intermediates` stand in its chain in place of what is usual here.
        """
        keys, client = load_key_directory(self.worker_keys), connect(self.redis_url)
        record, leaf_key = issue(fqdn, *additional)
        if intermediates is not None:
            record = replace(record, intermediates=intermediates)
        spec = samples.spec(fqdn, *additional)
        work = RedisWorkStore(client, keys.authenticator())
        with contextlib.suppress(AlreadyExists):
            await RedisDomainStore(client).create(spec, DomainStatus())
        lease = await work.acquire(DomainName(fqdn), "test", timedelta(seconds=30))
        assert lease is not None
        await work.load(lease)
        sealed = replace(record, tenant=spec.tenant, sealed_leaf_key=keys.sealer().seal(leaf_key, record.seal_context))
        await work.save_certificate(lease, sealed, DomainStatus(DomainState.ACTIVE), samples.now() + timedelta(days=60))
        await work.release(lease)
        await client.aclose()

    async def start(self, *arguments: str, command: str = "serve", xds: str = FREE, api: str = FREE) -> Command:
        """Starts a command with these arguments; the URL of the store is in the environment."""
        self._runs += 1
        argv = [sys.executable, "-m", "controlplane.cli.main", command, f"--xds-address={xds}", f"--api-address={api}"]
        stated = environment(redis_url=self.redis_url, keys_dir=self.keys, metrics_address=FREE)
        return await Command.start([*argv, *arguments], self._directory / f"run-{self._runs}", stated)


async def ready(command: Command) -> dict[str, str]:
    """Waits for the `ready` line; returns its addresses by name."""
    return dict(part.split("=", 1) for part in (await command.until_it_says(r"^ready .*\n")).split()[1:])


async def page(address: str, path: str) -> tuple[int, str]:
    """Status and body of a GET on a metrics address."""

    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=DEADLINE) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(get)


async def metrics(address: str) -> dict[str, float]:
    """The samples of a metrics address, by name with labels."""
    _, body = await page(address, "/metrics")
    samples_ = (line.rpartition(" ") for line in body.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in samples_}


@contextlib.asynccontextmanager
async def connection(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel with a TCP connection of its own: gRPC otherwise shares one among channels to the same address."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


class SecretWatch:
    """A delta stream on a connection of its own that holds one name, as an Envoy does."""

    def __init__(self, channel: grpc.aio.Channel, name: str) -> None:
        self._call = sds_pb2_grpc.SecretDiscoveryServiceStub(channel).DeltaSecrets()
        self._name = name

    async def subscribe(self) -> str:
        """Subscribes; returns the version that is answered."""
        await self._call.write(DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=[self._name]))
        return await self.next_version()

    async def next_version(self) -> str:
        """Waits for the next answer, acknowledges it and returns the version in it."""
        async with asyncio.timeout(DEADLINE):
            answer: DeltaDiscoveryResponse = await self._call.read()
            if answer is grpc.aio.EOF:
                raise ConnectionError(await self._call.code())
            await self._call.write(DeltaDiscoveryRequest(type_url=SECRET, response_nonce=answer.nonce))
        (resource,) = answer.resources
        return str(resource.version)

    async def ended(self) -> grpc.StatusCode:
        """Waits until the stream has ended; returns its status."""
        async with asyncio.timeout(DEADLINE):
            return await self._call.code()
