"""`serve` on a filled store, and an Envoy that gets its certificates from it, each a process of its own, on free loopback ports."""

import contextlib
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.million.dump import Dump
from bench.million.valkey import DumpedValkey
from controlplane.adapters.envoy_templates import EdgeParameters, render_edge
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.envoy import start_envoy
from controlplane.embedded.free_ports import free_ports

_READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Store:
    """A dump, and the Valkey that has read it."""

    dump: Dump
    valkey: DumpedValkey


@dataclass(frozen=True, slots=True)
class Serving:
    """A running `serve`: when it was started (`begun`, of `time.perf_counter`), and how long it then took to say `ready`."""

    process: ChildProcess
    xds: str
    begun: float
    ready_seconds: float


@dataclass(frozen=True, slots=True)
class Edge:
    """An Envoy with its `serve` and store. `port` is its TLS listener's, on 127.0.0.1."""

    store: Store
    serving: Serving
    envoy: ChildProcess
    port: int

    @property
    def pids(self) -> dict[str, int]:
        """The processes that a handshake concerns, by name."""
        return {"serve": self.serving.process.pid, "Envoy": self.envoy.pid, "Valkey": self.store.valkey.process.pid}


@contextlib.asynccontextmanager
async def serving(store: Store, command: Sequence[str] = ("-m", "controlplane.cli.main")) -> AsyncIterator[Serving]:
    """Runs `serve` on a store; `command` is what Python runs."""
    with tempfile.TemporaryDirectory(prefix="certplane-serve-") as directory:
        log_path = Path(directory) / "serve.log"
        xds, api, metrics = (f"127.0.0.1:{port}" for port in free_ports(3))
        arguments = ["serve", f"--keys-dir={store.dump.serve_keys}", f"--redis-url={store.valkey.url}", f"--xds-address={xds}"]
        arguments += [f"--api-address={api}", f"--metrics-address={metrics}", "--log-level=warning"]
        begun = time.perf_counter()
        process = await ChildProcess.start([sys.executable, *command, *arguments], log_path, name="serve")

        async def ready() -> bool:
            return re.search(rb"^ready ", log_path.read_bytes(), re.MULTILINE) is not None

        async with process:
            await process.wait_until_ready(ready, _READY_SECONDS)
            yield Serving(process, xds, begun, time.perf_counter() - begun)


@contextlib.asynccontextmanager
async def envoy(xds: str) -> AsyncIterator[tuple[ChildProcess, int]]:
    """Runs an Envoy with one worker thread that gets its certificates from an address; yields it, and the port of its TLS listener."""
    http_port, https_port, admin_port, upstream_port = free_ports(4)
    config = render_edge(
        EdgeParameters(
            xds_address=xds,
            http_port=http_port,
            https_port=https_port,
            admin_port=admin_port,
            # Nobody listens there: what is measured ends with the handshake.
            upstream=f"127.0.0.1:{upstream_port}",
            node_id="bench",
            node_cluster="bench",
        )
    )
    with tempfile.TemporaryDirectory(prefix="certplane-envoy-") as directory:
        async with await start_envoy(config, admin_port=admin_port, directory=Path(directory)) as process:
            yield process, https_port


@contextlib.asynccontextmanager
async def edge(store: Store, command: Sequence[str] = ("-m", "controlplane.cli.main")) -> AsyncIterator[Edge]:
    """Runs `serve` on a store, and then an Envoy."""
    async with serving(store, command) as served, envoy(served.xds) as (process, port):
        yield Edge(store, served, process, port)
