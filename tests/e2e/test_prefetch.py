"""Warm starts: an Envoy that is started again fetches what it held before any client asks, on a real Envoy and `certplane serve`."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from cryptography import x509

from controlplane.api.certplane.v1 import fleet_pb2, fleet_service_pb2, fleet_service_pb2_grpc
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.envoy import start_envoy
from controlplane.embedded.free_ports import free_ports
from tests.e2e.installation import certplane
from tests.fakes.serving import DEADLINE, Site, metrics, page, ready

NAMES = [f"shop{index}.example.com" for index in range(12)]
CAP = 64
LOOKUPS, SENT = "certplane_secret_lookups_total", "certplane_xds_secrets_sent_total"


@dataclass(frozen=True, slots=True)
class Edge:
    """A running Envoy; ports are on 127.0.0.1."""

    process: ChildProcess
    https_port: int
    admin_port: int
    config: Any

    @property
    def prefetched(self) -> Sequence[str]:
        """The names that its configuration prefetches."""
        (https,) = [listener for listener in self.config["static_resources"]["listeners"] if listener["name"] == "https"]
        tls = https["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"]
        return tls["custom_tls_certificate_selector"]["typed_config"].get("prefetch_secret_names", [])

    async def served(self, name: str) -> list[str]:
        """Shakes hands with a name; returns the names on the certificate. The test's certificates are signed by themselves."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with asyncio.timeout(DEADLINE):
            _, writer = await asyncio.open_connection("127.0.0.1", self.https_port, ssl=context, server_hostname=name)
        certificate = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.close()
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)

    async def holds(self) -> int:
        """How many certificates it has got."""
        _, body = await page(f"127.0.0.1:{self.admin_port}", "/stats?filter=on_demand_secret.cert_updated")
        return sum(int(line.rpartition(": ")[2]) for line in body.splitlines())


@contextlib.asynccontextmanager
async def edge(directory: Path, xds: str, *options: str) -> AsyncIterator[Edge]:
    """An Envoy with what `certplane envoy-bootstrap` prints."""
    http_port, https_port, admin_port = free_ports(3)
    ports = [f"--http-port={http_port}", f"--https-port={https_port}", f"--admin-port={admin_port}"]
    argv = certplane("envoy-bootstrap", f"--xds-address={xds}", "--upstream=127.0.0.1:9", "--node-id=edge-1", *ports, *options)
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    config, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    envoy = await start_envoy(config.decode(), admin_port=admin_port, directory=directory)
    try:
        yield Edge(envoy, https_port, admin_port, yaml.safe_load(config))
    finally:
        await envoy.terminate()


async def until(found: Callable[[], Any], expected: Any) -> None:
    """Waits until the coroutine that `found` makes returns `expected`; fails with what it returned last."""
    value = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE):
            while (value := await found()) != expected:
                await asyncio.sleep(0.02)
    assert expected == value


def total(samples: Mapping[str, float], name: str) -> float:
    """The sum of a metric over its labels."""
    return sum(value for sample, value in samples.items() if sample.partition("{")[0] == name)


async def counted(address: str) -> tuple[float, float]:
    """How often `serve` looked up, and how many secrets it sent."""
    samples = await metrics(address)
    return total(samples, LOOKUPS), total(samples, SENT)


@contextlib.asynccontextmanager
async def fleet(address: str) -> AsyncIterator[Any]:
    """A client of FleetService."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield fleet_service_pb2_grpc.FleetServiceStub(channel)


@pytest.fixture
async def site(tmp_path: Path, valkey_url: str) -> Site:
    """A store with certificates."""
    made = Site(tmp_path, valkey_url)
    for name in NAMES:
        await made.put(name)
    return made


async def test_first_handshakes_after_a_restart_need_no_lookup(tmp_path: Path, site: Site) -> None:
    """What an Envoy held is fetched when it starts again, in the order in which clients asked; their handshakes then ask for nothing."""
    asked = [*NAMES[6:11], *NAMES[:5]]
    async with await site.start() as serve, contextlib.AsyncExitStack() as stack:
        addresses = await ready(serve)
        stub = await stack.enter_async_context(fleet(addresses["api"]))

        async def connected() -> bool:
            return (await stub.GetNode(fleet_service_pb2.GetNodeRequest(name="nodes/edge-1"))).connected

        async with edge(tmp_path / "first", addresses["xds"]) as first:
            for name in asked:
                assert [name] == await first.served(name)
            node: fleet_pb2.Node = await stub.GetNode(fleet_service_pb2.GetNodeRequest(name="nodes/edge-1"))
            assert (True, len(asked), ["delta_ads"]) == (node.connected, node.secrets_held, list(node.variants))
        await until(connected, expected=False)

        options = ("--prefetch-from=edge-1", "--prefetch-count=8", f"--prefetch={NAMES[11]}", f"--api-address={addresses['api']}")
        async with edge(tmp_path / "second", addresses["xds"], *options) as second:
            assert [NAMES[11], *asked[:8]] == second.prefetched
            await until(second.holds, expected=9)
            before = await counted(addresses["metrics"])
            for name in second.prefetched:
                assert [name] == await second.served(name)
            assert before == await counted(addresses["metrics"])
            # The same counters see a handshake whose name was not prefetched.
            assert [asked[9]] == await second.served(asked[9])
            assert before[1] + 1 == (await counted(addresses["metrics"]))[1]


async def test_names_survive_the_replica_that_saw_them(tmp_path: Path, site: Site) -> None:
    """What an Envoy held outlives the replica that served it: another one on the same store tells it, and prefetches from it."""
    async with await site.start() as serve:
        addresses = await ready(serve)
        async with edge(tmp_path / "first", addresses["xds"]) as first:
            for name in NAMES[:3]:
                await first.served(name)
            assert 0 == await serve.stop()
    async with await site.start() as serve:
        addresses = await ready(serve)
        async with fleet(addresses["api"]) as stub:
            (node,) = (await stub.ListNodes(fleet_service_pb2.ListNodesRequest())).nodes
            assert ("edge-1", False, 3) == (node.node_id, node.connected, node.secrets_held)
        options = ("--prefetch-from=edge-1", f"--api-address={addresses['api']}")
        async with edge(tmp_path / "second", addresses["xds"], *options) as second:
            assert NAMES[:3] == second.prefetched
            await until(second.holds, expected=3)


async def test_replicas_answer_for_the_fleet(tmp_path: Path, site: Site) -> None:
    """A replica tells of an Envoy that is connected to another one."""
    async with await site.start() as serve, await site.start() as other:
        addresses, elsewhere = await ready(serve), await ready(other)
        async with edge(tmp_path / "first", addresses["xds"]) as first, fleet(elsewhere["api"]) as stub:
            await first.served(NAMES[0])

            async def held() -> list[tuple[str, bool, int]]:
                nodes = (await stub.ListNodes(fleet_service_pb2.ListNodesRequest())).nodes
                return [(node.node_id, node.connected, node.secrets_held) for node in nodes]

            await until(held, expected=[("edge-1", True, 1)])
            status = await stub.GetFleetStatus(fleet_service_pb2.GetFleetStatusRequest())
            assert (2, 1) == (len(status.replicas), status.connected_nodes)


async def test_listener_waits_for_no_prefetch(tmp_path: Path, site: Site) -> None:
    """Envoy takes connections though its prefetch cannot be answered; names that do not exist harm no other; what exists comes later."""
    (port,) = free_ports(1)
    xds = f"127.0.0.1:{port}"
    async with edge(tmp_path / "first", xds, "--prefetch=nothing.example.com", f"--prefetch={NAMES[0]}") as first:
        _, writer = await asyncio.open_connection("127.0.0.1", first.https_port)
        writer.close()
        assert 0 == await first.holds()
        async with await site.start(xds=xds) as serve:
            addresses = await ready(serve)
            # A name that does not exist counts as an update too.
            await until(first.holds, expected=2)
            before = await counted(addresses["metrics"])
            assert [NAMES[0]] == await first.served(NAMES[0])
            assert before == await counted(addresses["metrics"])
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await first.served("nothing.example.com")
            assert [NAMES[1]] == await first.served(NAMES[1])


async def test_prefetched_names_are_never_taken_away(tmp_path: Path, site: Site) -> None:
    """An Envoy that holds as much as it may loses what was fetched longest ago, but not what it prefetched."""
    crowd = [f"crowd{index}.example.com" for index in range(CAP + 1)]
    for name in crowd:
        await site.put(name)
    async with await site.start(f"--max-secrets-per-node={CAP}") as serve:
        addresses = await ready(serve)
        options = [f"--prefetch={name}" for name in NAMES[:2]]
        async with edge(tmp_path / "first", addresses["xds"], *options) as first:
            await until(first.holds, expected=2)
            for name in crowd:
                assert [name] == await first.served(name)
            before = await counted(addresses["metrics"])
            assert [[name] for name in NAMES[:2]] == [await first.served(name) for name in NAMES[:2]]
            assert before == await counted(addresses["metrics"])
            assert crowd[:1] == await first.served(crowd[0])
            assert before[1] + 1 == (await counted(addresses["metrics"]))[1]
