"""Clients that read slowly or not at all: what they cost, and what becomes of them. Real gRPC clients with HTTP/2 flow control."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from controlplane.core.certificate import CertificateRecord
from controlplane.endpoints.write_slots import SLOTS
from controlplane.xds.messages import MAX_RESPONSE_BYTES
from controlplane.xds.type_urls import SECRET
from tests.fakes.eventually import eventually
from tests.fakes.secret_streams import (
    DELTA_ADS,
    RecordingNodes,
    Served,
    Stream,
    connected,
    names_held,
    sample,
    secrets_of,
    serving,
    versions_of,
)

INTERMEDIATES = 60
"""Of the certificates here: about 40 kB each, so that a client's window of 64 KiB is soon full."""


@asynccontextmanager
async def unread(served: Served) -> AsyncIterator[Stream]:
    """A stream on a connection of its own, whose window does not grow."""
    async with connected(served.address, http2_bdp_probe=0) as channel:
        yield Stream(ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources())


async def put_large(served: Served, *names: str, publish: bool = False) -> CertificateRecord:
    """Stores a certificate with a long chain."""
    record = await served.store.put(*names, publish=False)
    return await served.store.put_record(replace(record, intermediates=(record.leaf,) * INTERMEDIATES), publish=publish)


def resident_bytes() -> int:
    """Memory of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_client_that_does_not_read_is_left_after_a_while():
    """Its names are released and the registry is told although it still does not read; when it reads on it learns why."""
    nodes = RecordingNodes()
    async with serving(write_seconds=0.4, nodes=nodes) as served:
        names = [f"n{number}.example" for number in range(40)]
        await put_large(served, *names)
        held, left = names_held(), sample("certplane_xds_held_up_streams_total", "delta_ads")
        async with unread(served) as stream:
            await stream.delta(*names, node={"id": "edge-1"})
            await eventually(lambda: names_held() == held + len(names))
            await eventually(lambda: nodes.gone)
            await eventually(lambda: names_held() == held)
            assert left + 1 == sample("certplane_xds_held_up_streams_total", "delta_ads")
            assert not stream.call.done()
            answer = await stream.read()
            while not isinstance(answer, grpc.StatusCode):
                assert set(secrets_of(answer)) <= set(names)
                answer = await stream.read()
            assert grpc.StatusCode.DEADLINE_EXCEEDED == answer
            assert "an answer was not read for 0.4 seconds" == await stream.call.details()


async def test_a_first_answer_that_is_not_read_can_be_ended_too():
    """A single answer larger than the client's window, the first of its stream, is held up and ended with the same status."""
    async with serving(write_seconds=0.4) as served:
        names = [f"n{number}.example" for number in range(20)]
        await put_large(served, *names)
        left = sample("certplane_xds_held_up_streams_total", "delta_ads")
        async with unread(served) as stream:
            await stream.delta(*names)
            await eventually(lambda: left + 1 == sample("certplane_xds_held_up_streams_total", "delta_ads"))
            answers = []
            while not isinstance(answer := await stream.read(), grpc.StatusCode):
                answers.append(answer)
            assert (1, grpc.StatusCode.DEADLINE_EXCEEDED) == (len(answers), answer)


async def test_others_are_served_while_a_client_does_not_read():
    """A stream of the same process, and one of the same connection, are answered at once."""
    async with serving() as served:
        names = [f"n{number}.example" for number in range(40)]
        await put_large(served, *names)
        await served.store.put("a.example", publish=False)
        async with unread(served) as stream:
            await stream.delta(*names)
            await stream.delta(*names)
            other = served.delta_ads()
            for each in (other, served.delta_sds()):
                await each.delta("a.example")
                assert {"a.example"} == set(secrets_of(await each.read()))


async def test_clients_that_do_not_read_keep_no_turn_from_those_that_do():
    """With more of them than large answers may be under way at a time, one that reads has all its names soon."""
    async with serving() as served, AsyncExitStack() as stack:
        names = [f"n{number}.example" for number in range(40)]
        await put_large(served, *names)
        for _ in range(SLOTS + 4):
            stream = await stack.enter_async_context(unread(served))
            await stream.delta(*names)
        reader = await stack.enter_async_context(unread(served))
        received: set[str] = set()
        async with asyncio.timeout(5):
            await reader.delta(*names)
            while not received.issuperset(names):
                received |= set(secrets_of(await reader.read()))


async def test_requests_are_read_while_answers_are_not():
    """A client that writes without reading is heard: names that it gives up are released while an answer waits for it."""
    async with serving() as served:
        names = [f"n{number}.example" for number in range(40)]
        await put_large(served, *names)
        held = names_held()
        async with unread(served) as stream:
            for name in names:
                await stream.delta(name)
            await eventually(lambda: names_held() == held + len(names))
            await stream.delta(unsubscribe=names[5:])
            await eventually(lambda: names_held() == held + 5)
            received: set[str] = set()
            while not received.issuperset(names[:5]):
                received |= set(secrets_of(await stream.read()))


async def test_updates_that_are_not_read_cost_no_memory():
    """A hundred renewals of all its names cost a client that does not read nothing more; at the end it has the newest of each."""
    async with serving(write_seconds=60) as served:
        names = [f"n{number}.example" for number in range(20)]
        await put_large(served, *names)
        async with unread(served) as stream, unread(served) as reader:
            await stream.delta(*names)
            await reader.delta(*names)
            received: dict[str, str] = {}
            volume = 0

            async def renew() -> str:
                nonlocal volume
                record = await put_large(served, *names, publish=True)
                while set(received.values()) != {record.version}:
                    answer = await reader.read()
                    volume += answer.ByteSize()
                    received.update(versions_of(answer))
                return record.version

            for _ in range(20):
                await renew()
            before, volume = resident_bytes(), 0
            for _ in range(100):
                newest = await renew()
            assert resident_bytes() - before < volume / 10
            late: dict[str, str] = {}
            answers = 0
            while set(late.values()) != {newest}:
                late |= versions_of(await stream.read())
                answers += 1
            assert answers <= 4
            assert set(names) == set(late)


async def test_no_answer_is_larger_than_its_bound():
    """Large secrets come in answers of a megabyte at most, well under what gRPC lets a client read."""
    async with serving() as served:
        names = [f"n{number}.example" for number in range(100)]
        await put_large(served, *names)
        stream = Stream(served.channel.stream_stream(DELTA_ADS)())
        await stream.call.write(DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=names).SerializeToString())
        received: set[str] = set()
        sizes = []
        while received != set(names):
            data = await stream.read()
            sizes.append(len(data))
            received |= set(secrets_of(DeltaDiscoveryResponse.FromString(data)))
        assert max(sizes) <= MAX_RESPONSE_BYTES + 1024
        assert len(sizes) > 3
