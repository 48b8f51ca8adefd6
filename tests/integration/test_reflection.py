"""The API to people with `grpcurl` and no files: reflection and health."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.domain_api import DEADLINE, RunningApi, running_api

GRPCURL = Path(sys.executable).with_name("grpcurl")
BUF = Path(sys.executable).with_name("buf")


class Switch:
    """A readiness check that can be turned off."""

    def __init__(self) -> None:
        self.on = True

    async def check(self) -> None:
        """Raises when it is off."""
        if not self.on:
            raise ConnectionError


@pytest.fixture
def switch() -> Switch:
    """The check of the server."""
    return Switch()


@pytest.fixture
async def api(switch: Switch) -> AsyncIterator[RunningApi]:
    """The API with one readiness check."""
    async with running_api(checks={"store": switch.check}) as running:
        yield running


async def run(program: Path, *arguments: str) -> tuple[int, str]:
    """Runs a program; returns its exit status, and its output and errors together."""
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(3 * DEADLINE):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def grpcurl(api: RunningApi, *arguments: str, data: str = "") -> tuple[int, str]:
    """Calls the API with grpcurl over plain text."""
    return await run(GRPCURL, "-plaintext", "-max-time", "10", *(("-d", data) if data else ()), api.address, *arguments)


async def test_list(api: RunningApi) -> None:
    """The services are listed without any file."""
    status, output = await grpcurl(api, "list")
    assert status == 0
    expected = {"certplane.v1.DomainService", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert expected == set(output.split())


async def test_describe(api: RunningApi) -> None:
    """Services and messages are described, well-known types among them."""
    status, output = await grpcurl(api, "describe", "certplane.v1.DomainService")
    assert status == 0
    assert "rpc WatchDomains ( .certplane.v1.WatchDomainsRequest ) returns ( stream .certplane.v1.WatchDomainsResponse );" in output
    status, output = await grpcurl(api, "describe", "certplane.v1.Domain")
    assert status == 0
    assert ".google.protobuf.Timestamp expire_time = 10;" in output


async def test_call(api: RunningApi) -> None:
    """A method is called with JSON alone."""
    data = '{"domainId": "shop.example.com", "domain": {"tenant": "acme", "additionalNames": ["www.shop.example.com"]}}'
    status, output = await grpcurl(api, "certplane.v1.DomainService/CreateDomain", data=data)
    assert status == 0
    created = json.loads(output)
    assert created["name"] == "domains/shop.example.com"
    assert created["state"] == "STATE_PENDING"
    status, output = await grpcurl(api, "certplane.v1.DomainService/ListDomains")
    assert [domain["name"] for domain in json.loads(output)["domains"]] == ["domains/shop.example.com"]


async def test_error(api: RunningApi) -> None:
    """An error shows its code and message."""
    status, output = await grpcurl(api, "certplane.v1.DomainService/CreateDomain", data='{"domainId": "*.example.com"}')
    assert status != 0
    assert "Code: InvalidArgument" in output
    assert "wildcard" in output


async def test_health(api: RunningApi, switch: Switch) -> None:
    """Health follows readiness, for the server and for each of its services."""
    for data in ("{}", '{"service": "certplane.v1.DomainService"}'):
        status, output = await grpcurl(api, "grpc.health.v1.Health/Check", data=data)
        assert (status, json.loads(output)) == (0, {"status": "SERVING"})
    switch.on = False
    await api.health.refresh()
    for data in ("{}", '{"service": "certplane.v1.DomainService"}'):
        status, output = await grpcurl(api, "grpc.health.v1.Health/Check", data=data)
        assert (status, json.loads(output)) == (0, {"status": "NOT_SERVING"})


async def test_health_while_draining(api: RunningApi) -> None:
    """A draining server says NOT_SERVING although it is ready."""
    await api.health.drain()
    await api.health.refresh()
    _, output = await grpcurl(api, "grpc.health.v1.Health/Check", data="{}")
    assert json.loads(output) == {"status": "NOT_SERVING"}


async def test_health_of_an_unknown_service(api: RunningApi) -> None:
    """A service that the server does not have is NOT_FOUND."""
    status, output = await grpcurl(api, "grpc.health.v1.Health/Check", data='{"service": "none"}')
    assert status != 0
    assert "Code: NotFound" in output


@pytest.mark.parametrize("protocol", ["grpc-v1", "grpc-v1alpha"])
async def test_buf_curl(api: RunningApi, protocol: str) -> None:
    """`buf curl` works with no files either, by the newer and by the older name of reflection."""
    url = f"http://{api.address}/certplane.v1.DomainService/ListDomains"
    arguments = ("curl", "--protocol", "grpc", "--http2-prior-knowledge", "--reflect-protocol", protocol, "-d", "{}", url)
    status, output = await run(BUF, *arguments)
    assert (status, json.loads(output)) == (0, {})
