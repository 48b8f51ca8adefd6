"""`certplane up`: one command for everything on one machine: its options, its `ready` line, its children, its end."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import click
import grpc
import pytest
import pytest_asyncio
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.secret.v3 import sds_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from controlplane.api.certplane.v1 import domain_pb2, domain_service_pb2, domain_service_pb2_grpc
from controlplane.cli.up import up
from controlplane.demo.https_fetch import fetch_verified
from controlplane.demo.page import DemonstrationPage
from controlplane.embedded.free_ports import free_ports
from controlplane.embedded.pebble import Pebble, PebblePorts
from tests.e2e.command import Command, environment, mentioning, running
from tests.e2e.installation import certplane

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME, LATER = "shop.example.com", "later.example.com"
DEADLINE = 30.0
PARTS = ("controlplane.cli.main serve ", "controlplane.cli.main worker ", "envoy/_bin/envoy ", "valkey-server ")
SERVING = health_pb2.HealthCheckResponse.SERVING


@dataclass(frozen=True, slots=True)
class World:
    """What is around `up`: a CA that validates at a port, and a site."""

    pebble: Pebble
    roots: Path
    upstream: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A Pebble and a site."""
    directory = tmp_path_factory.mktemp("world")
    page = DemonstrationPage()
    upstream = await page.start()
    async with Pebble(directory, PebblePorts.free()) as pebble:
        (directory / "roots.pem").write_bytes(await pebble.roots())
        yield World(pebble, directory / "roots.pem", upstream)
    await page.close()


class Trial:
    """Options of an `up` with an Envoy, by name as in a configuration file; any may be changed before it is started."""

    def __init__(self, world: World, directory: Path) -> None:
        self.directory = directory
        self.world = world
        https, *ports = free_ports(5)
        xds, api, metrics, worker_metrics = (f"127.0.0.1:{port}" for port in ports)
        self.options: dict[str, str | int | bool] = {
            "state-dir": str(directory / "state"),
            "acme-directory": world.pebble.directory_url,
            "acme-ca-bundle": str(world.pebble.ca_bundle),
            "dns-resolver": world.pebble.dns_resolver,
            "http01-port": world.pebble.ports.http,
            "xds-address": xds,
            "api-address": api,
            "metrics-address": metrics,
            "worker-metrics-address": worker_metrics,
            "envoy": True,
            "http-port": world.pebble.ports.http,
            "https-port": https,
            "upstream": world.upstream,
        }
        self._runs = 0

    def arguments(self) -> list[str]:
        """The options as a command line has them."""
        return [f"--{name}" if value is True else f"--{name}={value}" for name, value in self.options.items()]

    async def start(self, *arguments: str, env: dict[str, str] | None = None) -> Command:
        """Starts `up` with these arguments."""
        self._runs += 1
        return await Command.start(certplane("up", *arguments), self.directory / f"run-{self._runs}", env or environment())


async def ready(command: Command) -> dict[str, str]:
    """Waits for the `ready` line; returns its addresses by name."""
    return dict(part.split("=", 1) for part in (await command.until_it_says(r"^ready .*\n")).split()[1:])


async def status_of(url: str) -> int:
    """The status of a GET."""

    def get() -> int:
        with contextlib.closing(urllib.request.urlopen(url, timeout=10)) as reply:
            return reply.status

    return await asyncio.to_thread(get)


async def health_of(channel: grpc.aio.Channel) -> int:
    """What the API says of its health; UNKNOWN when it says nothing."""
    try:
        return (await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE)).status
    except grpc.aio.AioRpcError:
        return health_pb2.HealthCheckResponse.UNKNOWN


async def names_of(channel: grpc.aio.Channel) -> list[str]:
    """The domains that there are."""
    stub = domain_service_pb2_grpc.DomainServiceStub(channel)
    return [domain.name for domain in (await stub.ListDomains(domain_service_pb2.ListDomainsRequest(), timeout=DEADLINE)).domains]


async def issued(channel: grpc.aio.Channel, name: str) -> domain_pb2.Domain:
    """Onboards a domain and waits until it is ACTIVE."""
    stub = domain_service_pb2_grpc.DomainServiceStub(channel)
    domain = await stub.CreateDomain(domain_service_pb2.CreateDomainRequest(domain_id=name), timeout=DEADLINE)
    async with asyncio.timeout(DEADLINE):
        while domain.state != domain_pb2.Domain.STATE_ACTIVE:
            await asyncio.sleep(0.05)
            domain = await stub.GetDomain(domain_service_pb2.GetDomainRequest(name=f"domains/{name}"), timeout=DEADLINE)
    return domain


async def served(trial: "Trial", name: str) -> int:
    """The serial number of the certificate that Envoy serves for a name, verified."""
    return int((await fetch_verified(f"127.0.0.1:{trial.options['https-port']}", name, trial.world.roots)).serial_number, 16)


def pid_of(command: Command, part: str) -> int:
    """The process id of a part, 0 while there is none."""
    return next((pid for pid, line in command.family().items() if part in line), 0)


async def check_that_everything_answers(addresses: dict[str, str]) -> None:
    """Asks each listener once, and takes no "not yet" for an answer."""
    async with grpc.aio.insecure_channel(addresses["xds"]) as channel:
        asked = discovery_pb2.DiscoveryRequest(resource_names=[NAME])
        reply = await sds_pb2_grpc.SecretDiscoveryServiceStub(channel).FetchSecrets(asked, timeout=DEADLINE)
    async with grpc.aio.insecure_channel(addresses["api"]) as channel:
        health = await health_of(channel)
        domains = await names_of(channel)
    pages = {name: await status_of(f"http://{addresses[name]}/readyz") for name in ("metrics", "worker_metrics")}
    pages["envoy_admin"] = await status_of(f"http://{addresses['envoy_admin']}/ready")
    pages["http"] = await status_of(f"http://{addresses['http']}/")

    assert ([], SERVING, []) == (list(reply.resources), health, domains)
    assert dict.fromkeys(pages, 200) == pages


async def check_that_all_come_back(command: Command, channel: grpc.aio.Channel) -> None:
    """Kills every process and waits for others in their places, and for the API's health."""
    killed = {part: pid_of(command, part) for part in PARTS}
    assert 0 not in killed.values()
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(DEADLINE):
        while any(pid_of(command, part) in (pid, 0) for part, pid in killed.items()):
            await asyncio.sleep(0.05)
        while await health_of(channel) != SERVING:
            await asyncio.sleep(0.05)


async def test_one_life_and_the_next(world: World, tmp_path: Path) -> None:
    """All answers when `ready` is printed, once; what is killed comes back; SIGTERM ends all with 0; the next run has the same data."""
    trial = Trial(world, tmp_path)
    async with await trial.start(*trial.arguments()) as first:
        addresses = await ready(first)
        await check_that_everything_answers(addresses)
        async with grpc.aio.insecure_channel(addresses["api"]) as channel:
            domain = await issued(channel, NAME)
            assert int(domain.serial_number, 16) == await served(trial, NAME)
            await check_that_all_come_back(first, channel)
            later = await issued(channel, LATER)
            assert int(later.serial_number, 16) == await served(trial, LATER)
        family = first.family()
        assert await first.stop() == 0
    assert re.fullmatch(r"ready .*\n", first.output)
    stated = {name.replace("-", "_").removesuffix("_address"): value for name, value in trial.options.items() if "address" in name}
    assert stated == {name: addresses[name] for name in stated}
    assert "Traceback" not in first.errors
    assert running(list(family)) == []
    assert mentioning(tmp_path) == []

    async with await trial.start(*trial.arguments()) as second:
        async with grpc.aio.insecure_channel((await ready(second))["api"]) as channel:
            assert [f"domains/{LATER}", f"domains/{NAME}"] == sorted(await names_of(channel))
        assert int(domain.serial_number, 16) == await served(trial, NAME)
        assert await second.stop() == 0


async def test_option_beats_environment_beats_file(world: World, tmp_path: Path) -> None:
    """Every option may come from the environment or from the TOML file; where several say something, the most express one counts."""
    trial = Trial(world, tmp_path)
    xds, api, other_api, metrics, *other_metrics = (f"127.0.0.1:{port}" for port in free_ports(6))
    file = tmp_path / "certplane.toml"
    in_file = {"xds-address": xds, "api-address": other_api, "metrics-address": other_metrics[0]}
    lines = [f"{name} = {json.dumps(value)}" for name, value in in_file.items()]
    file.write_text("\n".join(['log-level = "debug"', "[serve]", 'xds-address = "127.0.0.1:1"', "[up]", *lines]), encoding="utf-8")
    by_environment = trial.options | {"api-address": api, "metrics-address": other_metrics[1], "config": str(file)}
    del by_environment["xds-address"]
    variables = {name.replace("-", "_"): value for name, value in by_environment.items()}

    async with await trial.start(f"--metrics-address={metrics}", env=environment(**variables)) as command:
        addresses = await ready(command)
        async with grpc.aio.insecure_channel(addresses["api"]) as channel:
            domain = await issued(channel, "settings.example.com")
        assert int(domain.serial_number, 16) == await served(trial, "settings.example.com")
        assert await command.stop() == 0
    assert {"xds": xds, "api": api, "metrics": metrics} == {name: addresses[name] for name in ("xds", "api", "metrics")}
    assert '"level": "debug"' in command.errors


async def test_every_option_has_its_variable() -> None:
    """Each option of `up` is also CERTPLANE_<OPTION>."""
    options = [parameter for parameter in up.params if isinstance(parameter, click.Option)]
    expected = {"--" + option.name.replace("_", "-"): f"CERTPLANE_{option.name.upper()}" for option in options if option.name}
    assert len(expected) > 20
    assert expected == {option.opts[0]: option.envvar for option in options}


@pytest.mark.parametrize("taken", ["xds-address", "https-port"])
async def test_taken_port_is_explained(world: World, tmp_path: Path, taken: str) -> None:
    """A port that somebody else has is named in a message without a traceback; the exit status is 1, and no child is left."""
    trial = Trial(world, tmp_path)
    port = int(str(trial.options[taken]).rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        async with await trial.start(*trial.arguments()) as command:
            assert await command.finished() == 1
    assert "Error: " in command.errors
    assert f"127.0.0.1:{port}" in command.errors
    assert "Traceback" not in command.errors
    assert command.output == ""
    assert mentioning(tmp_path) == []


async def test_unknown_option_in_the_file_is_explained(world: World, tmp_path: Path) -> None:
    """A misspelt option in the command's table is named, and nothing is started."""
    file = tmp_path / "certplane.toml"
    file.write_text('[up]\nxds-adress = "127.0.0.1:1"\n', encoding="utf-8")
    async with await Trial(world, tmp_path).start(f"--config={file}") as command:
        assert await command.finished() == 2
    assert "xds_adress" in command.errors
    assert "Traceback" not in command.errors
