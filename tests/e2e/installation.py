"""A whole installation for a test: every role a process of its own, with its own key directory, on free loopback ports."""

import asyncio
import contextlib
import json
import re
import ssl
import sys
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc

from controlplane.adapters.envoy_templates import EdgeParameters, render_edge
from controlplane.adapters.key_generation import KeyKind, generate_role_directories
from controlplane.api.certplane.v1 import domain_pb2, domain_service_pb2, domain_service_pb2_grpc
from controlplane.core.sealing import Scheme
from controlplane.demo.https_fetch import FetchedPage, fetch_verified
from controlplane.demo.page import DemonstrationPage
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.envoy import start_envoy
from controlplane.embedded.free_ports import free_ports
from controlplane.embedded.pebble import Pebble, PebblePorts
from controlplane.embedded.valkey import EmbeddedValkey, start_valkey
from tests.fakes import samples

ACTIVE = domain_pb2.Domain.STATE_ACTIVE
READY_SECONDS = 30.0


class Installation:
    """Make it with `installation()`. Addresses are HOST:PORT.

    Key directories that are there already (`key_directories`) are taken as they are. `serve_options` and `worker_options` are further
    options of the two commands.
    """

    def __init__(self, directory: Path, scheme: Scheme) -> None:
        self.directory = directory
        self.serve_keys, self.worker_keys = key_directories(directory)
        if not self.serve_keys.exists():
            generate_role_directories(self.serve_keys, self.worker_keys, KeyKind(scheme), samples.now())
        self.serve_options: Sequence[str] = ()
        self.worker_options: Sequence[str] = ()
        self.http_port, self.https_port, self.admin_port, xds, api, serve_metrics, worker_metrics = free_ports(7)
        self.xds, self.api = f"127.0.0.1:{xds}", f"127.0.0.1:{api}"
        self.serve_metrics, self.worker_metrics = f"127.0.0.1:{serve_metrics}", f"127.0.0.1:{worker_metrics}"
        self.roots = directory / "roots.pem"
        self.dns_resolver = ""
        """What the pre-flight asks; empty: the DNS server that Pebble asks."""
        self.upstream: str
        self.pebble: Pebble
        self.valkey: EmbeddedValkey
        self.serve: ChildProcess
        self.worker: ChildProcess
        self.envoy: ChildProcess
        self.stub: Any

    # ---- processes ----

    def serve_argv(self) -> list[str]:
        """The command of `serve`."""
        addresses = [f"--xds-address={self.xds}", f"--api-address={self.api}", f"--metrics-address={self.serve_metrics}"]
        stated = (f"--keys-dir={self.serve_keys}", f"--redis-url={self.valkey.url}", *addresses, "--log-level=debug")
        return certplane("serve", *stated, *self.serve_options)

    def worker_argv(self) -> list[str]:
        """The command of `worker`."""
        return certplane(
            "worker",
            f"--keys-dir={self.worker_keys}",
            f"--redis-url={self.valkey.url}",
            f"--acme-directory={self.pebble.directory_url}",
            f"--acme-ca-bundle={self.pebble.ca_bundle}",
            f"--dns-resolver={self.dns_resolver or self.pebble.dns_resolver}",
            f"--http01-port={self.http_port}",
            "--preflight-allow=127.0.0.0/8",
            f"--metrics-address={self.worker_metrics}",
            "--log-level=debug",
            *self.worker_options,
        )

    async def start_serve(self) -> None:
        """Starts `serve` and waits until it is ready."""
        self.serve = await started(self.serve_argv(), self.directory / "serve.log")

    async def start_worker(self) -> None:
        """Starts `worker` and waits until it is ready."""
        self.worker = await started(self.worker_argv(), self.directory / "worker.log")

    async def start_edge(self, upstream: str) -> None:
        """Starts Envoy as an edge."""
        config = render_edge(
            EdgeParameters(
                xds_address=self.xds,
                http_port=self.http_port,
                https_port=self.https_port,
                admin_port=self.admin_port,
                upstream=upstream,
                node_id="edge-test",
                node_cluster="edge",
            )
        )
        self.envoy = await start_envoy(config, admin_port=self.admin_port, directory=self.directory / "envoy")

    # ---- the API ----

    async def create(self, fqdn: str, *additional: str) -> domain_pb2.Domain:
        """Onboards a domain."""
        request = domain_service_pb2.CreateDomainRequest(
            domain_id=fqdn, domain=domain_pb2.Domain(tenant="acme", additional_names=additional)
        )
        return await self.stub.CreateDomain(request)

    async def get(self, fqdn: str) -> domain_pb2.Domain:
        """Reads a domain."""
        return await self.stub.GetDomain(domain_service_pb2.GetDomainRequest(name=f"domains/{fqdn}"))

    async def wait_until_active(self, *fqdns: str, seconds: float = 60.0) -> dict[str, domain_pb2.Domain]:
        """Waits until all are ACTIVE; fails with what the others say."""
        found: dict[str, domain_pb2.Domain] = {}
        try:
            async with asyncio.timeout(seconds):
                while len(found) < len(fqdns):
                    for fqdn in fqdns:
                        if fqdn not in found and (domain := await self.get(fqdn)).state == ACTIVE:
                            found[fqdn] = domain
                    await asyncio.sleep(0.05)
        except TimeoutError:
            missing = [await self.get(fqdn) for fqdn in fqdns if fqdn not in found]
            raise AssertionError(f"{len(missing)} of {len(fqdns)} are not ACTIVE, the first: {missing[0]}") from None
        return found

    async def issued(self, fqdn: str, *additional: str) -> domain_pb2.Domain:
        """Onboards a domain and waits until it is ACTIVE."""
        await self.create(fqdn, *additional)
        return (await self.wait_until_active(fqdn))[fqdn]

    # ---- clients ----

    async def fetch(self, name: str) -> FetchedPage:
        """Fetches `https://name/` through Envoy, fully verified."""
        return await fetch_verified(f"127.0.0.1:{self.https_port}", name, self.roots)

    async def http(self, host: str, path: str, *, tls_name: str = "") -> tuple[int, bytes]:
        """Sends GET to the HTTP listener, or with `tls_name` to the HTTPS listener; returns status and body."""
        context = ssl.create_default_context(cafile=str(self.roots)) if tls_name else None
        port = self.https_port if tls_name else self.http_port
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=tls_name if context else None)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
            writer.close()
        if b"transfer-encoding: chunked" in head.lower():
            body = b"".join(re.findall(rb"[0-9a-f]+\r\n(.*?)\r\n", body, re.DOTALL))
        return int(head.split(b" ")[1]), body

    async def envoy_stats(self, pattern: str) -> dict[str, int]:
        """Envoy's counters and gauges whose names match."""
        url = f"http://127.0.0.1:{self.admin_port}/stats?format=json&filter={pattern}"
        body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
        return {stat["name"]: stat["value"] for stat in json.loads(body)["stats"] if "value" in stat}

    async def metrics(self, address: str) -> dict[str, float]:
        """The samples of a role's metrics address, by name with labels."""
        body = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode())
        samples = (line.rpartition(" ") for line in body.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def orders_at_pebble(self) -> int:
        """How many orders Pebble has taken, by its own log."""
        return len(re.findall(r'Added order "', (self.directory / "pebble" / "pebble.log").read_text()))


def certplane(*arguments: str) -> list[str]:
    """The command line of `certplane` in this environment."""
    return [sys.executable, "-m", "controlplane.cli.main", *arguments]


async def started(argv: Sequence[str], log_path: Path) -> ChildProcess:
    """Starts a role and waits for its `ready` line."""
    offset = log_path.stat().st_size if log_path.exists() else 0
    process = await ChildProcess.start(argv, log_path)

    async def ready() -> bool:
        return re.search(rb"^ready ", log_path.read_bytes()[offset:], re.MULTILINE) is not None

    await process.wait_until_ready(ready, READY_SECONDS)
    return process


def key_directories(directory: Path) -> tuple[Path, Path]:
    """Where an installation has the keys of serve and worker."""
    return directory / "serve-keys", directory / "worker-keys"


@contextlib.asynccontextmanager
async def installation(
    directory: Path,
    *,
    worker: bool = True,
    scheme: Scheme = Scheme.HPKE_X25519,
    serve_options: Sequence[str] = (),
    worker_options: Sequence[str] = (),
) -> AsyncIterator[Installation]:
    """A running installation: Valkey, Pebble, serve, worker, Envoy and a site behind it."""
    made = Installation(directory, scheme)
    made.serve_options, made.worker_options = serve_options, worker_options
    async with contextlib.AsyncExitStack() as stack:
        (directory / "pebble").mkdir()
        made.pebble = await stack.enter_async_context(Pebble(directory / "pebble", PebblePorts.free(http=made.http_port)))
        made.roots.write_bytes(await made.pebble.roots())
        made.valkey = await start_valkey(directory)
        stack.push_async_callback(lambda: made.valkey.stop())
        page = DemonstrationPage()
        made.upstream = await page.start()
        stack.push_async_callback(page.close)
        await made.start_serve()
        stack.push_async_callback(lambda: made.serve.terminate())
        await made.start_edge(made.upstream)
        stack.push_async_callback(lambda: made.envoy.terminate())
        if worker:
            await made.start_worker()
            stack.push_async_callback(lambda: made.worker.terminate())
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(made.api))
        made.stub = domain_service_pb2_grpc.DomainServiceStub(channel)
        yield made
