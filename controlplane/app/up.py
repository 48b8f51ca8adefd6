"""`certplane up`: embedded Valkey, `serve`, `worker` and, if wanted, Envoy as one tree of processes on one machine.

`serve` and `worker` are processes of their own here too, with key directories of their own: the separation of keys is the same as
in a large installation. A process that ends by itself is started again, more slowly each time.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

import structlog

from controlplane.adapters.envoy_templates import EdgeParameters, render_edge
from controlplane.adapters.key_generation import generate_role_directories
from controlplane.app.lifecycle import READY, announce_ready
from controlplane.core.exposure import is_loopback
from controlplane.core.sealing import Scheme
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.envoy import start_envoy
from controlplane.embedded.free_ports import free_ports
from controlplane.embedded.valkey import EmbeddedValkey, start_valkey

_START_SECONDS = 60.0
_DRAIN_SECONDS = 15.0
_FIRST_RESTART_SECONDS, _MOST_RESTART_SECONDS = 0.5, 30.0
_SETTLED_SECONDS = 60.0
_TAIL_SECONDS = 0.2

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
        generate_role_directories(serve_keys, worker_keys, settings.scheme, datetime.now(UTC))
    async with AsyncExitStack() as stack:
        supervised: list[_Restartable] = []
        redis_url = settings.redis_url
        if not redis_url:
            valkey = _Valkey(state)
            stack.push_async_callback(valkey.stop)
            redis_url = await valkey.start()
            supervised.append(valkey)
        if prepare is not None:
            await prepare(redis_url)
        # The URL may hold a password: it goes through the environment, which other users cannot read.
        environment = {**os.environ, "CERTPLANE_REDIS_URL": redis_url}
        serve = _Role("serve", _command("serve", serve_keys, settings.serve_options), logs, environment, settings.quiet)
        worker = _Role("worker", _command("worker", worker_keys, settings.worker_options), logs, environment, settings.quiet)
        stack.push_async_callback(serve.stop)
        stack.push_async_callback(worker.stop)
        addresses, worker_addresses = await asyncio.gather(serve.start(), worker.start())
        supervised += [serve, worker]
        if settings.envoy is not None:
            admin_port = settings.envoy.admin_port or free_ports(1)[0]
            config = _edge(settings.envoy, admin_port, addresses["xds"])
            envoy = _Envoy(config, admin_port, state / "envoy")
            stack.push_async_callback(envoy.stop)
            await envoy.start()
            supervised.append(envoy)
            ports = {"http": settings.envoy.http_port, "https": settings.envoy.https_port, "envoy_admin": admin_port}
            addresses |= {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        # Ends first, so that nothing that is ended on purpose is started again.
        tasks = await stack.enter_async_context(_Tasks())
        for process in supervised:
            tasks.watch(_keep_running(process))
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


class _Restartable(Protocol):
    """A process that can be started again after it has ended."""

    @property
    def name(self) -> str:
        """For logs."""
        ...

    async def start(self) -> object:
        """Starts it and returns once it is ready."""
        ...

    async def wait(self) -> int:
        """Waits until it ends; returns the exit status."""
        ...


async def _keep_running(process: _Restartable) -> None:
    """Starts a process again whenever it ends by itself."""
    loop = asyncio.get_running_loop()
    pause = _FIRST_RESTART_SECONDS
    while True:
        since = loop.time()
        status = await process.wait()
        pause = _FIRST_RESTART_SECONDS if loop.time() - since > _SETTLED_SECONDS else min(pause * 2, _MOST_RESTART_SECONDS)
        _log.error("process ended and is started again", process=process.name, status=status, pause_seconds=pause)
        await asyncio.sleep(pause)
        try:
            await process.start()
        except Exception as error:
            _log.error("process did not start", process=process.name, reason=str(error))


class _Valkey:
    """The embedded store."""

    name = "valkey"

    def __init__(self, state: Path) -> None:
        self._state = state
        self._running: EmbeddedValkey | None = None

    async def start(self) -> str:
        """Starts it and returns its URL."""
        await self.stop()
        self._running = await start_valkey(self._state)
        return self._running.url

    async def wait(self) -> int:
        """Waits until it ends."""
        return await self._running.process.wait() if self._running else 0

    async def stop(self) -> None:
        """Ends it."""
        if self._running:
            await self._running.stop()


class _Envoy:
    """The edge."""

    name = "envoy"

    def __init__(self, config: str, admin_port: int, directory: Path) -> None:
        self._config = config
        self._admin_port = admin_port
        self._directory = directory
        self._running: ChildProcess | None = None

    async def start(self) -> None:
        """Starts it."""
        self._running = await start_envoy(self._config, admin_port=self._admin_port, directory=self._directory)

    async def wait(self) -> int:
        """Waits until it ends."""
        return await self._running.wait() if self._running else 0

    async def stop(self) -> None:
        """Ends it."""
        if self._running:
            await self._running.terminate()


class _Role:
    """The process of one role."""

    def __init__(self, name: str, argv: Sequence[str], logs: Path, environment: dict[str, str], quiet: bool) -> None:
        self.name = name
        self._argv = argv
        self._log_path = logs / f"{name}.log"
        self._environment = environment
        self._quiet = quiet
        self._process: ChildProcess | None = None
        self._tail: asyncio.Task[None] | None = None

    async def start(self) -> dict[str, str]:
        """Starts the process and returns the addresses of its `ready` line."""
        offset = self._log_path.stat().st_size if self._log_path.exists() else 0
        self._process = await ChildProcess.start(self._argv, self._log_path, self._environment, name=self.name)
        if not self._quiet and self._tail is None:
            self._tail = asyncio.create_task(self._copy_to_stderr(offset))
        line = ""

        async def ready() -> bool:
            nonlocal line
            text = await asyncio.to_thread(self._read_from, offset)
            line = next((each for each in text.splitlines() if each.startswith(READY + " ")), "")
            return bool(line)

        await self._process.wait_until_ready(ready, _START_SECONDS)
        return dict(part.split("=", 1) for part in line.split()[1:])

    def _read_from(self, offset: int) -> str:
        with self._log_path.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    async def _copy_to_stderr(self, offset: int) -> None:
        while True:
            text = await asyncio.to_thread(self._read_from, offset)
            complete = text.rpartition("\n")[0]
            if complete:
                sys.stderr.write(complete + "\n")
                sys.stderr.flush()
                offset += len(complete.encode()) + 1
            await asyncio.sleep(_TAIL_SECONDS)

    async def wait(self) -> int:
        """Waits until it ends."""
        return await self._process.wait() if self._process else 0

    async def stop(self) -> None:
        """Ends the process: SIGTERM, then SIGKILL when it does not drain in time."""
        if self._process is not None:
            await self._process.terminate(_DRAIN_SECONDS)
        if self._tail is not None:
            # What it said last is still worth reading.
            await asyncio.sleep(2 * _TAIL_SECONDS)
            self._tail.cancel()


class _Tasks:
    """Background tasks that end with the block."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, work: Coroutine[None, None, None]) -> None:
        """Runs `work` in the background."""
        self._tasks.add(asyncio.create_task(work))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
