"""`certplane up`: embedded Valkey, `serve`, `worker` and, if wanted, Envoy as one tree of processes on one machine.

`serve` and `worker` are processes of their own here too, with key directories of their own: the separation of keys is the same as
in a large installation. A process that ends by itself is started again, more slowly each time.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from controlplane.adapters.envoy_templates import EdgeParameters, render_edge
from controlplane.adapters.key_generation import KeyKind, generate_role_directories
from controlplane.app.lifecycle import announce_ready
from controlplane.app.restarts import BackgroundTasks, Restartable, keep_running
from controlplane.app.supervision import EnvoyProcess, RoleProcess, ValkeyProcess
from controlplane.core.exposure import is_loopback
from controlplane.core.sealing import Scheme
from controlplane.embedded.free_ports import free_ports

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """The Envoy of `up --envoy`: ports of the edge (an admin port of 0: a free one), and where it sends what it takes in."""

    http_port: int
    https_port: int
    admin_port: int
    upstream: str


@dataclass(frozen=True, slots=True)
class UpSettings:
    """Settings of `up`. An empty `redis_url` means the embedded Valkey; the options are those of the two roles' commands."""

    state_dir: Path
    redis_url: str = field(repr=False)
    scheme: Scheme
    serve_options: tuple[str, ...]
    worker_options: tuple[str, ...]
    envoy: EnvoySettings | None = None
    quiet: bool = False
    """Whether the logs of the processes go to their files only."""


async def up(
    settings: UpSettings,
    stop: asyncio.Event,
    announce: Callable[..., None] = announce_ready,
    prepare: Callable[[str], Awaitable[None]] | None = None,
) -> None:
    """Runs everything until `stop` is set, then ends it in order: Envoy, worker, serve, store.

    Args:
        settings: what to run.
        stop: ends it.
        announce: is told the addresses, by name, once everything answers.
        prepare: is given the store's URL before `serve` and `worker` start.

    Raises:
        ConfigurationError: something cannot start as configured.
        ChildFailed: a process did not become ready.
    """
    state = settings.state_dir.absolute()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs = state / "logs"
    logs.mkdir(mode=0o700, exist_ok=True)
    serve_keys, worker_keys = state / "keys" / "serve", state / "keys" / "worker"
    if not serve_keys.exists() and not worker_keys.exists():
        serve_keys.parent.mkdir(mode=0o700, exist_ok=True)
        generate_role_directories(serve_keys, worker_keys, KeyKind(settings.scheme), datetime.now(UTC))
    async with AsyncExitStack() as stack:
        supervised: list[Restartable] = []
        redis_url = settings.redis_url
        if not redis_url:
            valkey = ValkeyProcess(state)
            stack.push_async_callback(valkey.stop)
            redis_url = await valkey.start()
            supervised.append(valkey)
        if prepare is not None:
            await prepare(redis_url)
        # The URL may hold a password: it goes through the environment, which other users cannot read.
        environment = {**os.environ, "CERTPLANE_REDIS_URL": redis_url}
        serve = RoleProcess("serve", _command("serve", serve_keys, settings.serve_options), logs, environment, settings.quiet)
        worker = RoleProcess("worker", _command("worker", worker_keys, settings.worker_options), logs, environment, settings.quiet)
        stack.push_async_callback(serve.stop)
        stack.push_async_callback(worker.stop)
        addresses, worker_addresses = await asyncio.gather(serve.start(), worker.start())
        supervised += [serve, worker]
        if settings.envoy is not None:
            admin_port = settings.envoy.admin_port or free_ports(1)[0]
            config = _edge(settings.envoy, admin_port, addresses["xds"])
            envoy = EnvoyProcess(config, admin_port, state / "envoy")
            stack.push_async_callback(envoy.stop)
            await envoy.start()
            supervised.append(envoy)
            ports = {"http": settings.envoy.http_port, "https": settings.envoy.https_port, "envoy_admin": admin_port}
            addresses |= {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        # Ends first, so that nothing that is ended on purpose is started again.
        tasks = await stack.enter_async_context(BackgroundTasks())
        for process in supervised:
            tasks.watch(keep_running(process))
        announce(**addresses, worker_metrics=worker_addresses.get("metrics", ""))
        await stop.wait()
        _log.info("draining")


def _edge(envoy: EnvoySettings, admin_port: int, xds_address: str) -> str:
    return render_edge(
        EdgeParameters(
            xds_address=xds_address,
            http_port=envoy.http_port,
            https_port=envoy.https_port,
            admin_port=admin_port,
            upstream=envoy.upstream,
            node_id="certplane-up",
            node_cluster="edge",
        )
    )


def _command(role: str, keys: Path, options: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "controlplane.cli.main", role, "--keys-dir", str(keys), *options]


def loopback_networks(directory_url: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Returns what the pre-flight may connect to besides public addresses: loopback, if the CA is on loopback itself."""
    return (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")) if is_loopback(urlsplit(directory_url).hostname or "") else ()
