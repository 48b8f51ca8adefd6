"""The demonstration from beginning to end; see `run`."""

import asyncio
import contextlib
import ssl
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import grpc

from controlplane.adapters.redis_accounts import forget_account
from controlplane.adapters.redis_client import connect
from controlplane.api.certplane.v1 import domain_pb2, domain_service_pb2, domain_service_pb2_grpc
from controlplane.app.up import EnvoySettings, UpSettings, loopback_networks, up
from controlplane.core.sealing import Scheme
from controlplane.demo.https_fetch import FetchedPage, fetch_verified
from controlplane.demo.narration import Narration
from controlplane.demo.page import DemonstrationPage
from controlplane.embedded.pebble import Pebble, PebblePorts

_ACTIVE_SECONDS = 180.0
_SERVED_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class DemonstrationSettings:
    """Settings of the demonstration. An empty `acme_directory` means a Pebble of its own; ports are on 127.0.0.1.

    `since` is when a person began to wait, in seconds since 1970; 0: not known.
    """

    state_dir: Path
    domain: str
    additional_names: tuple[str, ...]
    acme_directory: str
    acme_options: tuple[str, ...]
    xds_port: int
    api_port: int
    metrics_port: int
    worker_metrics_port: int
    http_port: int
    https_port: int
    admin_port: int
    pebble_port: int
    since: float
    once: bool


async def run(settings: DemonstrationSettings, stop: asyncio.Event) -> None:
    """Starts everything, onboards the domain, shows each step, fetches the page, and stays until `stop` is set.

    Raises:
        CertplaneError: something could not start; the text says what to do.
        TimeoutError: the certificate did not come in three minutes.
    """
    say = Narration()
    state = settings.state_dir.absolute()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        say.title("Starting Certplane")
        page = DemonstrationPage()
        upstream = await page.start()
        stack.push_async_callback(page.close)
        pebble = None if settings.acme_directory else await stack.enter_async_context(_pebble(settings, state))
        roots = await _remember_roots(pebble, state / "pebble" / "roots.pem") if pebble else None
        directory = pebble.directory_url if pebble else settings.acme_directory
        say.line(f"certificate authority: {directory}" + (" (Pebble, an ACME test server)" if pebble else ""), good=True)

        async def prepare(redis_url: str) -> None:
            # A restarted Pebble knows no account: forgetting ours is an operator's decision, which the demonstration makes openly.
            if pebble is not None:
                client = connect(redis_url)
                if await forget_account(client, directory):
                    say.line("Pebble forgot its accounts when it stopped, so ours is forgotten too (certplane account forget)")
                await client.aclose()

        started: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        process_tree = asyncio.create_task(
            up(_up_settings(settings, state, pebble, upstream), stop, lambda **found: started.set_result(found), prepare)
        )
        stack.push_async_callback(_finish, process_tree, stop)
        await asyncio.wait((started, process_tree), return_when=asyncio.FIRST_COMPLETED)
        if process_tree.done():
            await process_tree
            return
        addresses = started.result()
        say.line("store: Valkey, on a socket in the state directory", good=True)
        say.line(f"serve: xDS and ext_authz on {addresses['xds']}, API on {addresses['api']}; worker beside it", good=True)
        say.line(f"Envoy: http {addresses['http']}, https {addresses['https']}", good=True)

        say.title(f"Onboarding {settings.domain} through the gRPC API")
        async with grpc.aio.insecure_channel(addresses["api"]) as channel:
            domain = await _onboard(channel, settings, say, stop)
            if domain is None:
                return
        fetched = await _served(addresses["https"], settings.domain, roots, domain.serial_number)
        say.line(f"pushed and served: {fetched.protocol}, verified, issued by {fetched.issuer}, valid until {fetched.not_after}", good=True)
        say.line(f"https://{settings.domain}/ → {fetched.status_line}", good=True)
        if settings.since:
            say.line(f"from the command to the page: {time.time() - settings.since:.0f} s, set-up included", good=True)
        _show_commands(say, settings, addresses, roots)
        if settings.once:
            stop.set()
        await stop.wait()


def _pebble(settings: DemonstrationSettings, state: Path) -> Pebble:
    directory = state / "pebble"
    directory.mkdir(mode=0o700, exist_ok=True)
    return Pebble(directory, PebblePorts.free(acme=settings.pebble_port, http=settings.http_port))


def _up_settings(settings: DemonstrationSettings, state: Path, pebble: Pebble | None, upstream: str) -> UpSettings:
    worker_options = [f"--metrics-address=127.0.0.1:{settings.worker_metrics_port}", *settings.acme_options]
    if pebble is None:
        worker_options += [f"--acme-directory={settings.acme_directory}"]
    else:
        worker_options += [
            f"--acme-directory={pebble.directory_url}",
            f"--acme-ca-bundle={pebble.ca_bundle}",
            f"--dns-resolver={pebble.dns_resolver}",
            f"--http01-port={settings.http_port}",
            *(f"--preflight-allow={network}" for network in loopback_networks(pebble.directory_url)),
        ]
    return UpSettings(
        state_dir=state,
        redis_url="",
        scheme=Scheme.HPKE_X25519,
        serve_options=(
            f"--xds-address=127.0.0.1:{settings.xds_port}",
            f"--api-address=127.0.0.1:{settings.api_port}",
            f"--metrics-address=127.0.0.1:{settings.metrics_port}",
        ),
        worker_options=tuple(worker_options),
        envoy=EnvoySettings(settings.http_port, settings.https_port, settings.admin_port, upstream),
        quiet=True,
    )


async def _remember_roots(pebble: Pebble, path: Path) -> Path:
    """Adds this Pebble's root to those of earlier ones: a certificate of an earlier run is still served and must verify."""
    known = path.read_text(encoding="ascii") if path.exists() else ""
    root = (await pebble.roots()).decode("ascii").strip() + "\n"
    if root not in known:
        path.write_text(known + root, encoding="ascii")
    return path


async def _finish(process_tree: "asyncio.Task[None]", stop: asyncio.Event) -> None:
    stop.set()
    await asyncio.gather(process_tree, return_exceptions=True)


async def _onboard(
    channel: grpc.aio.Channel, settings: DemonstrationSettings, say: Narration, stop: asyncio.Event
) -> domain_pb2.Domain | None:
    """Creates the domain and tells its changes until it is served; returns it, or None when `stop` was set before."""
    stub = domain_service_pb2_grpc.DomainServiceStub(channel)  # type: ignore[no-untyped-call]
    name = f"domains/{settings.domain}"
    request = domain_service_pb2.CreateDomainRequest(
        domain_id=settings.domain,
        domain=domain_pb2.Domain(tenant="demonstration", additional_names=settings.additional_names),
        request_id="demonstration",
    )
    created: domain_pb2.Domain = await stub.CreateDomain(request)
    if created.serial_number:
        say.domain(created)
        say.line("the certificate of an earlier run is in force: no order is placed", good=True)
        return created
    watch = stub.WatchDomains(domain_service_pb2.WatchDomainsRequest(names=[name]))
    stopping = asyncio.create_task(stop.wait())
    try:
        async with asyncio.timeout(_ACTIVE_SECONDS):
            while True:
                following = asyncio.ensure_future(watch.read())
                await asyncio.wait((following, stopping), return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    following.cancel()
                    return None
                response = following.result()
                if response is grpc.aio.EOF:
                    raise ConnectionError("the watch on the domain ended")
                if response.HasField("domain") and say.domain(response.domain):
                    served: domain_pb2.Domain = response.domain
                    return served
    finally:
        stopping.cancel()
        watch.cancel()


async def _served(address: str, host: str, roots: Path | None, serial_number: str) -> FetchedPage:
    """Returns the page once the certificate with this serial number is served; the first handshake may come before the push."""
    try:
        async with asyncio.timeout(_SERVED_SECONDS):
            while True:
                with contextlib.suppress(ssl.SSLError, ConnectionError):
                    fetched = await fetch_verified(address, host, roots)
                    if int(fetched.serial_number, 16) == int(serial_number, 16):
                        return fetched
                await asyncio.sleep(0.05)
    except TimeoutError:
        # The last word is the error of a handshake, which says more than "too late".
        return await fetch_verified(address, host, roots)


def _show_commands(say: Narration, settings: DemonstrationSettings, addresses: dict[str, str], roots: Path | None) -> None:
    port, api, domain = addresses["https"].rpartition(":")[2], addresses["api"], settings.domain
    trust = f"--cacert {_shown(roots)} " if roots else ""
    grpcurl, service = f"{_tool('grpcurl')} -plaintext", "certplane.v1.DomainService"
    say.title("Try it by hand")
    say.command(f"curl {trust}--resolve {domain}:{port}:127.0.0.1 https://{domain}:{port}/")
    say.command(f"{grpcurl} {api} list")
    say.command(f'{grpcurl} -d \'{{"name": "domains/{domain}"}}\' {api} {service}/GetDomain')
    say.command(f'{grpcurl} -d \'{{"domainId": "cafe.example.com", "domain": {{"tenant": "acme"}}}}\' {api} {service}/CreateDomain')
    say.command(f'{grpcurl} -d \'{{"name": "domains/{domain}"}}\' {api} {service}/RenewDomain')
    say.command(f"{_tool('certplane')} domains --api-address {api} watch")
    say.command(f"curl http://{addresses['metrics']}/metrics")
    say.title(f"Running. State and logs are in {_shown(settings.state_dir)}. Ctrl-C ends it.")


def _tool(name: str) -> str:
    """Returns how to call a command from here: the one beside this Python, where there is one."""
    beside = Path(sys.executable).with_name(name)
    return _shown(beside) if beside.exists() else name


def _shown(path: Path | None) -> str:
    """Returns a path as short as it can be written from here."""
    absolute = (path or Path()).absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)
