"""One node at several replicas, as `certplane nodes get` and the API tell of it: `serve` processes, real streams, a real store."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from controlplane.api.certplane.v1 import fleet_pb2, fleet_service_pb2, fleet_service_pb2_grpc
from controlplane.xds.type_urls import SECRET
from tests.e2e.command import environment
from tests.e2e.installation import certplane
from tests.fakes.serving import DEADLINE, Site, connection, ready

NODE = "edge-1"
NAMES = [f"shop{number}.example.com" for number in range(3)]
STREAMS, ASKED = 16, 4
"""Streams, and questions, so many that both of two processes get some."""
SECONDS_TO_TELL = 50.0
"""In which a replica has told the store of a node that came, changed or went."""


@contextlib.asynccontextmanager
async def envoy(address: str, *names: str) -> AsyncIterator[DeltaDiscoveryResponse]:
    """A stream of the node that holds names, on a connection of its own."""
    async with connection(address) as channel:
        call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
        request = DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=names)
        request.node.id, request.node.cluster = NODE, "edge"
        async with asyncio.timeout(DEADLINE):
            await call.write(request)
            answer = await call.read()
            await call.write(DeltaDiscoveryRequest(type_url=SECRET, response_nonce=answer.nonce))
        yield answer
        call.cancel()


async def node(api: str) -> dict[str, Any]:
    """What `certplane nodes get` prints of the node, asked at an API."""
    argv = certplane("nodes", "get", NODE, "--output", "json", f"--api-address={api}")
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment())
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    found: dict[str, Any] = json.loads(output)
    return found


async def until(api: str, **expected: object) -> fleet_pb2.Node:
    """Waits until an API tells so of the node; fails with what it told last."""
    found = fleet_pb2.Node()
    async with grpc.aio.insecure_channel(api) as channel:
        stub = fleet_service_pb2_grpc.FleetServiceStub(channel)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS_TO_TELL):
                while expected != {field: getattr(found, field) for field in expected}:
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        found = await stub.GetNode(fleet_service_pb2.GetNodeRequest(name=f"nodes/{NODE}"))
                    await asyncio.sleep(0.1)
    assert expected == {field: getattr(found, field) for field in expected}
    return found


@pytest.fixture
async def site(tmp_path: Path, valkey_url: str) -> Site:
    """A store with certificates."""
    made = Site(tmp_path, valkey_url)
    for name in NAMES:
        await made.put(name)
    return made


async def test_a_node_at_two_replicas_is_one_node(site: Site) -> None:
    """Both tell of both streams; when one replica stops its stream is not told of, and the node is still connected."""
    async with await site.start() as one, await site.start() as other:
        first, second = await ready(one), await ready(other)
        async with envoy(first["xds"], *NAMES[:1]), envoy(second["xds"], *NAMES[1:]):
            for address in (first, second):
                await until(address["api"], connected=True, secrets_held=3, streams=2, acks=2)
                found = await node(address["api"])
                assert (NODE, 2, ["delta_ads"]) == (found["nodeId"], len(found["replicas"]), found["variants"])
                assert {1, 2} == {stream["secretsHeld"] for stream in found["connections"]}
                assert set(found["replicas"]) == {stream["replica"] for stream in found["connections"]}
            assert 0 == await one.stop()
            found = await until(second["api"], connected=True, secrets_held=2, streams=1)
            assert (1, 1) == (len(found.replicas), len(found.connections))


async def test_a_node_at_two_processes_of_one_port_is_one_node(site: Site) -> None:
    """Whichever process is asked tells of the streams of both; when the node has gone, of how it stood."""
    async with await site.start("--processes=2") as command:
        addresses = await ready(command)
        async with contextlib.AsyncExitStack() as stack:
            for number in range(STREAMS):
                await stack.enter_async_context(envoy(addresses["xds"], NAMES[number % 3]))
            for _ in range(ASKED):
                found = await until(addresses["api"], connected=True, secrets_held=STREAMS, streams=STREAMS)
                assert (2, STREAMS) == (len(found.replicas), len(found.connections))
        await until(addresses["api"], connected=False, streams=0)


async def test_a_request_of_any_size_that_an_envoy_makes_is_taken(site: Site) -> None:
    """An Envoy that comes back with a hundred thousand long names is answered, first of all for what exists."""
    async with await site.start() as serve:
        address = (await ready(serve))["xds"]
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
            names = [f"{'a' * 60}.{'b' * 60}.n{number}.example.com" for number in range(50_000)]
            request = DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=[*names, *NAMES])
            request.node.id = NODE
            request.node.metadata["certplane.on_demand"] = True
            assert request.ByteSize() > 6 * 1024 * 1024
            async with asyncio.timeout(DEADLINE):
                await call.write(request)
                brought: list[str] = []
                while set(NAMES) - set(brought):
                    answer = await call.read()
                    assert answer is not grpc.aio.EOF, await call.code()
                    brought += [resource.name for resource in answer.resources]
            call.cancel()
