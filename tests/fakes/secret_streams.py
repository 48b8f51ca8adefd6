"""A running server of secrets over an in-memory store, and clients that drive its streams with Envoy's own messages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest
from envoy.service.secret.v3 import sds_pb2_grpc
from prometheus_client import REGISTRY

from controlplane.api.certplane.wire.v1 import discovery_pb2 as wire
from controlplane.core.access import AccessPolicy
from controlplane.endpoints.grpc_server import build_server
from controlplane.endpoints.sds import SdsServer
from controlplane.endpoints.tls_files import TlsFiles
from controlplane.endpoints.wire_codec import serialise_tls_certificate
from controlplane.usecases.nodes import NodeObserver, NodeStream
from controlplane.usecases.secrets import SecretDirectory
from controlplane.xds.subscription import Limits
from controlplane.xds.type_urls import SECRET
from tests.fakes.certificates import InMemoryCertificates, InMemorySealing

DELTA_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
ON_DEMAND = {"id": "edge-1", "metadata": {"certplane.on_demand": True}}


class Stream:
    """A client's side of a stream; no read waits for ever."""

    def __init__(self, call) -> None:
        self.call = call

    async def delta(self, *subscribe, unsubscribe=(), type_url=SECRET, **fields) -> None:
        """Sends a DeltaDiscoveryRequest."""
        await self.call.write(
            DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=subscribe, resource_names_unsubscribe=unsubscribe, **fields)
        )

    async def sotw(self, *names, type_url=SECRET, **fields) -> None:
        """Sends a DiscoveryRequest."""
        await self.call.write(DiscoveryRequest(type_url=type_url, resource_names=names, **fields))

    async def raw(self, *names: bytes, type_url=SECRET) -> None:
        """Sends a DeltaDiscoveryRequest with any bytes as names."""
        await self.call.write(wire.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names).SerializeToString())

    async def read(self):
        """Reads an answer; the status when the stream ends."""
        try:
            answer = await asyncio.wait_for(self.call.read(), 10)
        except grpc.aio.AioRpcError as ended:
            return ended.code()
        return await self.call.code() if answer is grpc.aio.EOF else answer


@dataclass
class Served:
    """A server with what stands behind it, and a connection to it."""

    store: InMemoryCertificates
    directory: SecretDirectory
    sds: SdsServer
    address: str
    channel: grpc.aio.Channel

    def delta_ads(self):
        """A new stream of incremental ADS."""
        return Stream(ads_pb2_grpc.AggregatedDiscoveryServiceStub(self.channel).DeltaAggregatedResources())

    def delta_sds(self):
        """A new stream of incremental SDS."""
        return Stream(sds_pb2_grpc.SecretDiscoveryServiceStub(self.channel).DeltaSecrets())

    def sotw_ads(self):
        """A new stream of state-of-the-world ADS."""
        return Stream(ads_pb2_grpc.AggregatedDiscoveryServiceStub(self.channel).StreamAggregatedResources())

    def sotw_sds(self):
        """A new stream of state-of-the-world SDS."""
        return Stream(sds_pb2_grpc.SecretDiscoveryServiceStub(self.channel).StreamSecrets())

    def raw_delta_ads(self):
        """A new stream of incremental ADS that sends bytes as they are."""
        return Stream(self.channel.stream_stream(DELTA_ADS, response_deserializer=DeltaDiscoveryResponse.FromString)())


@asynccontextmanager
async def serving(
    *,
    address: str = "127.0.0.1:0",
    tls: TlsFiles | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    limits: Limits | None = None,
    access: AccessPolicy | None = None,
    nodes: NodeObserver | None = None,
    write_seconds: float = 30.0,
) -> AsyncIterator[Served]:
    """Runs a server over an empty store; `credentials` are those of the connection."""
    store = InMemoryCertificates(InMemorySealing())
    directory = SecretDirectory(store, store.sealing, store, serialise_tls_certificate)
    sds = SdsServer(directory, limits=limits or Limits(), access=access or AccessPolicy(), nodes=nodes, write_seconds=write_seconds)
    listener = build_server(address, tls)
    sds.add_to(listener.server)
    await listener.server.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(directory.run())
            await directory.following()
            async with connected(listener.address, credentials) as channel:
                yield Served(store, directory, sds, listener.address, channel)
            await sds.close()
            running.cancel()
    finally:
        await listener.server.stop(0)


def connected(address: str, credentials: grpc.ChannelCredentials | None = None, **options: int) -> grpc.aio.Channel:
    """Returns a connection of its own; options are channel arguments without `grpc.`, with `_` for the first dot."""
    arguments = [("grpc.use_local_subchannel_pool", 1), *((f"grpc.{name.replace('_', '.', 1)}", value) for name, value in options.items())]
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=arguments)
    return grpc.aio.secure_channel(address, credentials, options=arguments)


class RecordingNodes:
    """A `NodeObserver` that keeps what it is told, and what each stream held at its end."""

    def __init__(self) -> None:
        self.streams: list[NodeStream] = []
        self.gone: list[NodeStream] = []
        self.held_at_end: list[list[tuple[bytes, str]]] = []

    def connected(self, stream: NodeStream) -> None:
        """Keeps the stream."""
        self.streams.append(stream)

    def disconnected(self, stream: NodeStream) -> None:
        """Keeps what it held."""
        self.gone.append(stream)
        self.held_at_end.append(list(stream.held()))


def secrets_of(response) -> dict[str, secret_pb2.Secret]:
    """The secrets in an answer of either variant, by name."""
    found = {}
    for resource in response.resources:
        packed = resource.resource if isinstance(response, DeltaDiscoveryResponse) else resource
        secret = secret_pb2.Secret()
        assert packed.Unpack(secret)
        if packed is not resource:
            assert secret.name == resource.name
        found[secret.name] = secret
    return found


def versions_of(response: DeltaDiscoveryResponse) -> dict[str, str]:
    """The versions in an incremental answer, by name."""
    return {resource.name: resource.version for resource in response.resources}


def sample(name: str, variant: str) -> float:
    """The value of a metric of a variant."""
    return REGISTRY.get_sample_value(name, {"variant": variant}) or 0.0


def names_held() -> float:
    """How many names all streams of this process hold."""
    return REGISTRY.get_sample_value("certplane_secret_names_held") or 0.0
