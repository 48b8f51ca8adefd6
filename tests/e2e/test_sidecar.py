"""Envoys beside the edge of the installation: sidecars with named secrets over plain SDS, and mutual TLS between everybody and `serve`."""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.secret.v3 import sds_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from controlplane.adapters.pki_files import init_pki
from controlplane.api.certplane.v1 import domain_service_pb2
from controlplane.demo.https_fetch import FetchedPage, fetch_verified
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.envoy import start_envoy
from controlplane.embedded.free_ports import free_ports
from tests.e2e.installation import Installation, certplane, installation, started
from tests.fakes import samples
from tests.fakes.tiny_pki import TinyPki

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN, WWW = "shop.example.com", "www.shop.example.com"
LATE = "late.example.com"
APIS = {"grpc": "sotw_sds", "delta": "delta_sds"}
DEADLINE = 30.0
GRPCURL = str(Path(sys.executable).with_name("grpcurl"))


async def run(*argv: str) -> tuple[int, str, str]:
    """Runs a program; returns its exit status, output and errors."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdout=pipe, stderr=pipe, stdin=asyncio.subprocess.DEVNULL)
    async with asyncio.timeout(DEADLINE):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@dataclass(frozen=True, slots=True)
class Proxy:
    """An Envoy of a test's own. Ports are on 127.0.0.1."""

    process: ChildProcess
    http_port: int
    https_port: int

    async def fetch(self, made: Installation, name: str) -> FetchedPage:
        """Fetches `https://name/` through it, fully verified."""
        return await fetch_verified(f"127.0.0.1:{self.https_port}", name, made.roots)

    async def challenge_status(self) -> int:
        """The status of a challenge that was never planted: it tells whether `serve` was asked."""
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.http_port)
            writer.write(b"GET /.well-known/acme-challenge/nothing HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n")
            line = await reader.readline()
            writer.close()
        return int(line.split(b" ")[1])


async def start_proxy(made: Installation, name: str, xds_address: str, *options: str) -> Proxy:
    """Starts an Envoy with what `certplane envoy-bootstrap` prints."""
    http_port, https_port, admin_port = free_ports(3)
    ports = [f"--http-port={http_port}", f"--https-port={https_port}", f"--admin-port={admin_port}"]
    where = [f"--xds-address={xds_address}", f"--upstream={made.upstream}", f"--node-id={name}"]
    status, config, errors = await run(*certplane("envoy-bootstrap", *where, *ports, *options))
    assert (0, "") == (status, errors)
    return Proxy(await start_envoy(config, admin_port=admin_port, directory=made.directory / name), http_port, https_port)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """An installation that serves `OWN` with `WWW`."""
    async with installation(tmp_path_factory.mktemp("sidecar")) as running:
        await running.issued(OWN, WWW)
        yield running


# ---- sidecars ----


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sidecars(made: Installation) -> AsyncIterator[dict[str, Proxy]]:
    """Sidecars of both kinds. `LATE`, which both name, is onboarded when they have asked for it already."""
    secrets = [f"--secret={name}" for name in (OWN, WWW, LATE)]
    async with asyncio.TaskGroup() as tasks:
        starting = {
            api: tasks.create_task(start_proxy(made, f"sidecar-{api}", made.xds, "--kind=sidecar", f"--sds-api={api}", *secrets))
            for api in APIS
        }
        async with asyncio.timeout(DEADLINE):
            while [len(secrets)] * len(APIS) != await streams(made):
                await asyncio.sleep(0.05)
        await made.issued(LATE)
    proxies = {api: task.result() for api, task in starting.items()}
    yield proxies
    for proxy in proxies.values():
        await proxy.process.terminate()


async def streams(made: Installation) -> list[float]:
    """How many streams of each kind are open: one a secret."""
    metrics = await made.metrics(made.serve_metrics)
    return [metrics.get(f'certplane_xds_streams{{variant="{variant}"}}', 0) for variant in APIS.values()]


@pytest.mark.parametrize("api", APIS)
async def test_sidecar_serves_its_named_certificates(made: Installation, sidecars: dict[str, Proxy], api: str) -> None:
    """A sidecar serves the names that its configuration has: a domain's own name and an additional one."""
    serial_number = int((await made.get(OWN)).serial_number, 16)
    for name in (OWN, WWW):
        page = await sidecars[api].fetch(made, name)
        assert name in page.body
        assert serial_number == int(page.serial_number, 16)


@pytest.mark.parametrize("api", APIS)
async def test_sidecar_is_sent_a_certificate_that_comes_later(made: Installation, sidecars: dict[str, Proxy], api: str) -> None:
    """A secret that did not exist when the sidecar asked for it is pushed once it does."""
    assert int((await made.get(LATE)).serial_number, 16) == int((await sidecars[api].fetch(made, LATE)).serial_number, 16)


async def test_sidecar_serves_no_other_name(made: Installation, sidecars: dict[str, Proxy]) -> None:
    """A name that exists but that the sidecar does not name is not served."""
    await made.issued("other.example.com")
    for proxy in sidecars.values():
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await proxy.fetch(made, "other.example.com")


async def test_renewal_is_pushed_to_sidecars(made: Installation, sidecars: dict[str, Proxy]) -> None:
    """After a renewal both sidecars serve the new certificate, without having been started again and without a failed handshake."""
    before = int((await made.get(OWN)).serial_number, 16)
    await made.stub.RenewDomain(domain_service_pb2.RenewDomainRequest(name=f"domains/{OWN}"))
    for proxy in sidecars.values():
        serials = [before]
        async with asyncio.timeout(DEADLINE):
            while serials[-1] == before:
                serials.append(int((await proxy.fetch(made, OWN)).serial_number, 16))
        assert int((await made.get(OWN)).serial_number, 16) == serials[-1]
        assert proxy.process.returncode is None
    assert [3, 3] == await streams(made)


# ---- mutual TLS ----


@dataclass(frozen=True, slots=True)
class Secured:
    """A `serve` whose listeners want certificates of a private PKI. Addresses are HOST:PORT."""

    xds: str
    api: str
    metrics: str
    pki: Path

    async def edges(self, made: Installation) -> float:
        """How many edges have a stream open."""
        return (await made.metrics(self.metrics)).get('certplane_xds_streams{variant="delta_ads"}', 0)

    def files(self, role: str) -> tuple[str, str, str]:
        """CA, certificate and key of a role, as paths."""
        return str(self.pki / "ca.pem"), str(self.pki / f"{role}.pem"), str(self.pki / f"{role}-key.pem")

    def credentials(self, role: str) -> grpc.ChannelCredentials:
        """What a gRPC client of this role shows."""
        ca, certificate, key = (Path(path).read_bytes() for path in self.files(role))
        return grpc.ssl_channel_credentials(ca, key, certificate)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(made: Installation) -> AsyncIterator[Secured]:
    """A second `serve` of the same installation, with mutual TLS."""
    pki = made.directory / "pki"
    init_pki(pki, samples.now())
    xds, api, metrics = (f"127.0.0.1:{port}" for port in free_ports(3))
    it = Secured(xds, api, metrics, pki)
    ca, certificate, key = it.files("serve")
    addresses = [f"--xds-address={xds}", f"--api-address={api}", f"--metrics-address={metrics}"]
    tls = [f"--tls-cert={certificate}", f"--tls-key={key}", f"--tls-client-ca={ca}"]
    argv = certplane("serve", f"--keys-dir={made.serve_keys}", f"--redis-url={made.valkey.url}", *addresses, *tls)
    async with await started(argv, made.directory / "serve-tls.log"):
        yield it


async def test_edge_connects_with_its_certificate(made: Installation, secured: Secured) -> None:
    """An edge with the certificate of `certplane pki init` gets secrets from `serve`, and asks it about challenges."""
    ca, certificate, key = secured.files("envoy")
    proxy = await start_proxy(made, "edge-tls", secured.xds, f"--xds-ca={ca}", f"--xds-cert={certificate}", f"--xds-key={key}")
    async with proxy.process:
        page = await proxy.fetch(made, WWW)
        assert await proxy.challenge_status() == 404
        assert await secured.edges(made) == 1
    assert page.status_line == "HTTP/1.1 200 OK"
    assert int((await made.get(OWN)).serial_number, 16) == int(page.serial_number, 16)


async def test_edge_without_a_certificate_gets_nothing(made: Installation, secured: Secured) -> None:
    """An edge that trusts `serve` but shows no certificate gets neither an answer about a challenge nor a stream."""
    async with asyncio.timeout(DEADLINE):
        while await secured.edges(made):
            await asyncio.sleep(0.05)
    proxy = await start_proxy(made, "edge-anonymous", secured.xds, f"--xds-ca={secured.pki / 'ca.pem'}")
    async with proxy.process:
        assert await proxy.challenge_status() == 503
        assert await secured.edges(made) == 0


async def call(channel: grpc.aio.Channel, kind: str) -> Any:
    """Asks for one secret, or for the API's health."""
    if kind == "xds":
        return await sds_pb2_grpc.SecretDiscoveryServiceStub(channel).FetchSecrets(
            discovery_pb2.DiscoveryRequest(resource_names=[OWN]), timeout=DEADLINE
        )
    return await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE)


@pytest.mark.parametrize("kind", ["xds", "api"])
async def test_only_certificates_of_the_pki_are_let_in(made: Installation, secured: Secured, kind: str, tmp_path: Path) -> None:
    """A client with a certificate of the PKI is answered; one without, one of another CA and one in plain text are not."""
    address = secured.xds if kind == "xds" else secured.api
    async with grpc.aio.secure_channel(address, secured.credentials("envoy" if kind == "xds" else "operator")) as channel:
        await call(channel, kind)

    ca = (secured.pki / "ca.pem").read_bytes()
    stranger = TinyPki(tmp_path).issue("operator")
    refused = {
        "no certificate": grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca)),
        "another CA's": grpc.aio.secure_channel(
            address, grpc.ssl_channel_credentials(ca, stranger.key_file.read_bytes(), stranger.cert_file.read_bytes())
        ),
        "plain text": grpc.aio.insecure_channel(address),
    }
    for client, channel in refused.items():
        async with channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, kind)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, client


@pytest.mark.parametrize(("kind", "role"), [("xds", "worker"), ("xds", "operator"), ("api", "envoy"), ("api", "worker")])
async def test_certificates_of_other_roles_are_refused(made: Installation, secured: Secured, kind: str, role: str) -> None:
    """Whoever has a worker's certificate fetches no leaf key with it, and an Envoy's deletes no domain."""
    address = secured.xds if kind == "xds" else secured.api
    async with grpc.aio.secure_channel(address, secured.credentials(role)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert f"spiffe://certplane/{role}" in str(caught.value.details())


async def test_grpcurl_with_certificates(made: Installation, secured: Secured) -> None:
    """The operator's certificate is enough for grpcurl, with no file of ours beside it; without one it is refused."""
    ca, certificate, key = secured.files("operator")
    shown = ("-max-time", "10", "-cacert", ca, "-cert", certificate, "-key", key)
    listed = await run(GRPCURL, *shown, secured.api, "list")
    request = json.dumps({"name": f"domains/{OWN}"})
    got = await run(GRPCURL, *shown, "-d", request, secured.api, "certplane.v1.DomainService/GetDomain")
    refused = await run(GRPCURL, "-connect-timeout", "1", "-cacert", ca, secured.api, "list")

    assert listed[0] == 0
    assert {"certplane.v1.DomainService", "grpc.health.v1.Health"} <= set(listed[1].split())
    assert (got[0], json.loads(got[1])["state"]) == (0, "STATE_ACTIVE")
    assert refused[0] != 0


async def test_command_line_with_certificates(made: Installation, secured: Secured) -> None:
    """`certplane domains` with the operator's certificate is answered; without one it says so plainly."""
    ca, certificate, key = secured.files("operator")
    shown = [f"--api-address={secured.api}", f"--api-ca={ca}", "--output=json"]
    got = await run(*certplane("domains", "get", OWN, *shown, f"--api-cert={certificate}", f"--api-key={key}"))
    refused = await run(*certplane("domains", "get", OWN, *shown))

    assert (got[0], json.loads(got[1])["name"]) == (0, f"domains/{OWN}")
    assert refused[0] == 1
    assert "Traceback" not in refused[2]
    assert "no answer from the API" in refused[2]
