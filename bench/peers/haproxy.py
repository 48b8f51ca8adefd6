"""HAProxy with a folder of bundles, in master-worker mode: renewals by its runtime API, and by a reload."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.peers.debian import missing, program
from bench.peers.material import Material, Pair
from bench.peers.peer import Renewal, Replacement, Running
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.free_ports import free_ports

_RENEWALS = 10
_REPLY_SECONDS = 30.0

_CONFIG = """
global
    nbthread 1
    maxconn 1000
    stats socket {socket} mode 600 level admin
    # Three seconds are far too long for the old process here; the clients never keep a connection.
    hard-stop-after 3s
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend tls
    bind 127.0.0.1:{port} ssl crt {bundles} alpn http/1.1
    http-request return status 200
"""


class HaProxy:
    """HAProxy reads every certificate when it starts."""

    name = "HAProxy"
    lazy = False

    def missing(self) -> str | None:
        """See `Peer`."""
        return missing("haproxy")

    @contextlib.asynccontextmanager
    async def running(self, material: Material, directory: Path) -> AsyncIterator[Running]:
        """See `Peer`."""
        [port] = free_ports(1)
        config_path, socket_path = directory / "haproxy.cfg", directory / "haproxy.sock"
        config_path.write_text(_CONFIG.format(socket=socket_path, port=port, bundles=material.bundles))
        argv = [program("haproxy") or "haproxy", "-W", "-db", "-f", str(config_path)]
        begun = time.perf_counter()
        async with await ChildProcess.start(argv, directory / "haproxy.log", name="haproxy") as haproxy:

            async def by_api(name: str) -> Replacement:
                pair = material.renewed(name)
                material.write_site(name, pair)

                async def write() -> None:
                    await _commit(socket_path, material.bundle_path(name), pair)
                    # Else the next start would serve the old one.
                    material.write_bundle(name, pair)

                return Replacement(pair.serial_number, write)

            async def by_reload(name: str) -> Replacement:
                pair = material.renewed(name)
                material.write_site(name, pair)

                async def write() -> None:
                    material.write_bundle(name, pair)
                    os.kill(haproxy.pid, signal.SIGUSR2)

                return Replacement(pair.serial_number, write)

            yield Running(port, begun, haproxy, [Renewal("runtime API", _RENEWALS, by_api), Renewal("reload", 1, by_reload)])


async def _commit(socket_path: Path, bundle_path: Path, pair: Pair) -> None:
    """Replaces a certificate in the running process: one transaction, two commands, a connection each."""
    payload = (pair.chain + pair.key).decode().replace("\n\n", "\n")
    await _command(socket_path, f"set ssl cert {bundle_path} <<\n{payload}\n", "ransaction")
    await _command(socket_path, f"commit ssl cert {bundle_path}\n", "Success!")


async def _command(socket_path: Path, command: str, expected: str) -> None:
    async with asyncio.timeout(_REPLY_SECONDS):
        reader, writer = await asyncio.open_unix_connection(socket_path)
        try:
            writer.write(command.encode())
            said = (await reader.read()).decode(errors="replace")
        finally:
            writer.close()
    if expected not in said:
        raise AssertionError(f"HAProxy said: {said}")
