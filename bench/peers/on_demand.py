"""Certplane: a Valkey with sealed keys, `serve`, and an Envoy that asks for certificates at the handshake."""

import asyncio
import contextlib
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from bench.fill_store import stored_domain
from bench.installation import STATIC_NAME, with_static_listener
from bench.peers.envoy_process import start_envoy_process
from bench.peers.material import Material
from bench.peers.peer import READY_SECONDS, Renewal, Replacement, Running
from bench.private_ca import write_static_pair
from bench.processes import tree_cpu_seconds
from controlplane.adapters.envoy_templates import EdgeParameters, render_edge
from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.chain import check_chain
from controlplane.core.names import DomainName
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.free_ports import free_ports

_LEASE = timedelta(seconds=30)
_RENEWALS = 10
_IDLE_SECONDS = 0.2
_IDLE_SHARE = 0.1


class OnDemand:
    """Our path. With `prefetch` Envoy fetches all names when it starts, as an edge does that knows which ones it held before."""

    lazy = True

    def __init__(self, *, prefetch: bool = False) -> None:
        self.name = "Envoy on demand, prefetched" if prefetch else "Envoy on demand"
        self._prefetch = prefetch

    def missing(self) -> str | None:
        """See `Peer`."""
        return None

    @contextlib.asynccontextmanager
    async def running(self, material: Material, directory: Path) -> AsyncIterator[Running]:
        """See `Peer`."""
        http_port, https_port, static_port, admin_port = free_ports(4)
        stand = material.stand
        begun = time.perf_counter()
        async with stand.serve(log_name=f"serve-{directory.name}.log") as served, _renewer(material) as renew:
            ready_seconds = time.perf_counter() - begun
            await _idle(served.process.pid)
            config = render_edge(
                EdgeParameters(
                    xds_address=served.xds,
                    http_port=http_port,
                    https_port=https_port,
                    admin_port=admin_port,
                    # Nobody asks for a page.
                    upstream="127.0.0.1:9",
                    node_id="bench",
                    node_cluster="bench",
                    prefetch=tuple(material.names) if self._prefetch else (),
                )
            )
            leaf_key = make_leaf_key((STATIC_NAME,))
            static_pair = write_static_pair(material.authority.issue((STATIC_NAME,), leaf_key), leaf_key, directory)
            config = with_static_listener(config, static_port, *static_pair)
            begun, envoy = await start_envoy_process(config, directory)
            async with envoy:
                yield Running(
                    port=https_port,
                    begun=begun,
                    proxy=envoy,
                    renewals=[Renewal("push", _RENEWALS, renew)],
                    others={"control plane": served.process.pid, "store": stand.valkey.process.pid},
                    static_port=static_port,
                    static_name=STATIC_NAME,
                    control_plane_seconds=ready_seconds,
                    settled=partial(_prefetched, envoy, admin_port, len(material.names)) if self._prefetch else None,
                )


async def _idle(pid: int) -> None:
    """Returns when a process has next to nothing left to do: `serve` reads more after it is ready, and that is no part of a touch."""
    async with asyncio.timeout(READY_SECONDS):
        before = tree_cpu_seconds(pid)
        while True:
            await asyncio.sleep(_IDLE_SECONDS)
            now = tree_cpu_seconds(pid)
            if now - before < _IDLE_SECONDS * _IDLE_SHARE:
                return
            before = now


async def _prefetched(envoy: ChildProcess, admin_port: int, count: int) -> None:
    """Returns when Envoy holds `count` secrets."""
    url = f"http://127.0.0.1:{admin_port}/stats?filter=on_demand_secret.cert_active"

    def held() -> int:
        with urllib.request.urlopen(url, timeout=READY_SECONDS) as response:
            return int(response.read().rpartition(b":")[2] or 0)

    async def all_held() -> bool:
        return await asyncio.to_thread(held) >= count

    await envoy.wait_until_ready(all_held, READY_SECONDS)


@contextlib.asynccontextmanager
async def _renewer(material: Material) -> AsyncIterator[Callable[[str], Awaitable[Replacement]]]:
    """Yields what a worker does at the end of a renewal: one fenced write of a certificate."""
    keys = load_key_directory(material.stand.worker_keys)
    client = connect(material.stand.valkey.url)
    work, sealer = RedisWorkStore(client, keys.authenticator()), keys.sealer()

    async def prepare(name: str) -> Replacement:
        now, leaf_key = datetime.now(UTC), make_leaf_key((name,))
        chain = check_chain(material.authority.issue((name,), leaf_key), (name,), leaf_key.spki_digest, now)
        sealed = sealer.seal(leaf_key.private_key, leaf_seal_context(leaf_key.spki_digest, (name,)))
        stored = stored_domain(name, chain, sealed, leaf_key.spki_digest, now)
        lease = await work.acquire(DomainName(name), f"bench-{uuid.uuid4().hex}", _LEASE)
        if lease is None:
            raise AssertionError(f"somebody else works on {name}")
        await work.load(lease)

        async def write() -> None:
            await work.save_certificate(lease, stored.record, stored.status, stored.due)
            await work.release(lease)

        return Replacement(int(chain.serial_number, 16), write)

    try:
        yield prepare
    finally:
        await client.aclose()
