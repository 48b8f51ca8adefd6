"""An Envoy in front of a `serve`: an edge as `certplane envoy-bootstrap` configures it, and a listener with a static certificate."""

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.installation import STATIC_NAME, with_static_listener
from bench.load.stand import Served, Stand
from bench.private_ca import write_static_pair
from controlplane.adapters.envoy_templates import EdgeParameters, render_edge
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.envoy import start_envoy
from controlplane.embedded.free_ports import free_ports


@dataclass(frozen=True, slots=True)
class Edge:
    """A running Envoy; ports are on 127.0.0.1. `roots` is a PEM file of what clients trust."""

    process: ChildProcess
    https_port: int
    static_port: int
    admin_port: int
    roots: Path

    async def stats(self, pattern: str) -> dict[str, int]:
        """Returns its counters and gauges whose names match."""
        url = f"http://127.0.0.1:{self.admin_port}/stats?format=json&filter={pattern}"
        body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=30).read())
        return {stat["name"]: stat["value"] for stat in json.loads(body)["stats"] if "value" in stat}

    async def secrets(self) -> int:
        """Returns how many certificates it holds for the listener that asks for them on demand."""
        found = await self.stats("on_demand_secret.cert_active")
        (active,) = found.values()
        return active


@contextlib.asynccontextmanager
async def edge(made: Stand, served: Served, concurrency: int = 1) -> AsyncIterator[Edge]:
    """Runs an Envoy with so many worker threads; `STATIC_NAME` is the name on its static certificate."""
    directory = made.directory / f"envoy-{served.process.pid}"
    directory.mkdir()
    http_port, https_port, static_port, admin_port, upstream_port = free_ports(5)
    leaf_key = make_leaf_key((STATIC_NAME,))
    static_pair = write_static_pair(made.authority.issue((STATIC_NAME,), leaf_key), leaf_key, directory)
    roots = directory / "roots.pem"
    roots.write_bytes(made.authority.root_pem)
    config = render_edge(
        EdgeParameters(
            xds_address=served.xds,
            http_port=http_port,
            https_port=https_port,
            admin_port=admin_port,
            # Nobody listens there: what is measured ends with the handshake.
            upstream=f"127.0.0.1:{upstream_port}",
            node_id="bench",
            node_cluster="bench",
        )
    )
    config = with_static_listener(config, static_port, *static_pair)
    async with await start_envoy(config, admin_port=admin_port, directory=directory, concurrency=concurrency) as process:
        yield Edge(process, https_port, static_port, admin_port, roots)
