"""What `certplane serve` bounds by `--max-secrets-per-node`: names and spellings of an edge, and streams of a connection with plain SDS."""

import asyncio
from collections import Counter
from itertools import islice, product
from pathlib import Path

import click
import grpc
import pytest
from click.testing import CliRunner
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from envoy.service.secret.v3 import sds_pb2_grpc

from controlplane.cli.serve import serve
from controlplane.cli.up import up
from controlplane.xds.type_urls import SECRET
from tests.fakes.serving import DEADLINE, Site, connection, ready

NAME = "abcdefgh.example.com"
LEAST = 64


def spellings(count: int) -> list[str]:
    """So many spellings of the name besides the canonical one."""
    letters = (letter + letter.upper() if letter.isalpha() else letter for letter in NAME)
    return list(islice(("".join(chosen) for chosen in product(*letters)), 1, count + 1))


async def left(address: str, *names: str) -> Counter[bool]:
    """How many names an edge is left with when it has asked for these one after the other: spelled as the canonical one, or not."""
    held: dict[str, None] = {}
    async with connection(address) as channel:
        call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
        for name in names:
            request = DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=[name])
            if name is names[0]:
                request.node.id = "edge-1"
                request.node.metadata["certplane.on_demand"] = True
            async with asyncio.timeout(DEADLINE):
                await call.write(request)
                answer = await call.read()
                await call.write(DeltaDiscoveryRequest(type_url=SECRET, response_nonce=answer.nonce))
            held |= dict.fromkeys(resource.name for resource in answer.resources)
            for removed in answer.removed_resources:
                del held[removed]
        call.cancel()
    return Counter(name == name.lower() for name in held)


@pytest.mark.parametrize(("cap", "expected"), [(LEAST, LEAST), (1_000, 100)])
async def test_spellings_are_a_tenth_of_what_an_edge_may_hold(tmp_path: Path, valkey_url: str, cap: int, expected: int) -> None:
    """Of the spellings of one name a tenth of the cap are held, 64 at least; the canonical one stays as long as there is room."""
    site = Site(tmp_path, valkey_url)
    await site.put(NAME)
    async with await site.start(f"--max-secrets-per-node={cap}") as command:
        held = await left((await ready(command))["xds"], NAME, *spellings(expected + 50))
    assert (expected, int(cap > LEAST)) == (held[False], held[True])


async def test_names_are_bounded_by_the_cap(tmp_path: Path, valkey_url: str) -> None:
    """An edge that asks for more names than that holds as many as the cap."""
    site = Site(tmp_path, valkey_url)
    names = [f"shop{number}.example.com" for number in range(LEAST + 10)]
    for name in names:
        await site.put(name)
    async with await site.start(f"--max-secrets-per-node={LEAST}") as command:
        assert {True: LEAST} == await left((await ready(command))["xds"], *names)


async def test_streams_are_bounded_by_the_cap(tmp_path: Path, valkey_url: str) -> None:
    """With plain SDS a connection has as many streams; one more is refused with a reason, and one on another connection is not."""
    site = Site(tmp_path, valkey_url)
    await site.put(NAME)
    async with await site.start(f"--max-secrets-per-node={LEAST}") as command:
        address = (await ready(command))["xds"]
        async with connection(address) as full, connection(address) as other:

            async def ask(channel: grpc.aio.Channel) -> tuple[object, int | grpc.StatusCode]:
                call = sds_pb2_grpc.SecretDiscoveryServiceStub(channel).DeltaSecrets()
                async with asyncio.timeout(DEADLINE):
                    try:
                        await call.write(DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=[NAME]))
                        answer = await call.read()
                    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                        answer = grpc.aio.EOF
                    return call, await call.code() if answer is grpc.aio.EOF else len(answer.resources)

            streams = [await ask(full) for _ in range(LEAST)]
            assert [1] * LEAST == [said for _, said in streams]
            assert grpc.StatusCode.RESOURCE_EXHAUSTED == (await ask(full))[1]
            assert 1 == (await ask(other))[1]


@pytest.mark.parametrize("command", [serve, up])
def test_the_cap_is_ten_thousand_unless_stated(command: click.Command) -> None:
    """Both commands have the same default; a cap that is no use is refused."""
    (option,) = [each for each in command.params if each.name == "max_secrets_per_node"]
    assert 10_000 == option.get_default(click.Context(command))
    refused = CliRunner().invoke(command, ["--max-secrets-per-node=63"])
    assert (2, True) == (refused.exit_code, "63 is not in the range x>=64" in refused.output)
