"""nginx with a server for each name, and nginx that reads the certificate of each handshake from the path that a variable gives."""

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.peers.debian import missing, program
from bench.peers.material import Material
from bench.peers.peer import Renewal, Replacement, Running
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.free_ports import free_ports

_RENEWALS = 10

# `user root` only has a meaning for root, whose workers would else not be allowed to read the keys by variable.
_CONFIG = """
daemon off;
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server_names_hash_max_size {hash_size};
    server_names_hash_bucket_size 128;
    ssl_protocols TLSv1.2 TLSv1.3;
{servers}
}}
"""

_SERVER = """
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name {name};
        ssl_certificate {chain};
        ssl_certificate_key {key};
        return 200;
    }}"""


class Nginx:
    """nginx with all certificates read at its start, or `by_variable` at each handshake."""

    lazy = False

    def __init__(self, *, by_variable: bool) -> None:
        self.name = "nginx, certificate by variable" if by_variable else "nginx"
        self._by_variable = by_variable

    def missing(self) -> str | None:
        """See `Peer`."""
        return missing("nginx")

    @contextlib.asynccontextmanager
    async def running(self, material: Material, directory: Path) -> AsyncIterator[Running]:
        """See `Peer`."""
        [port] = free_ports(1)
        config_path = directory / "nginx.conf"
        config_path.write_text(self._config(material, directory, port))
        argv = [program("nginx") or "nginx", "-p", str(directory), "-c", str(config_path), "-e", str(directory / "error.log")]
        begun = time.perf_counter()
        async with await ChildProcess.start(argv, directory / "nginx.log", name="nginx") as nginx:

            async def prepare(name: str) -> Replacement:
                pair = material.renewed(name)
                material.write_bundle(name, pair)

                async def write() -> None:
                    material.write_site(name, pair)
                    if not self._by_variable:
                        os.kill(nginx.pid, signal.SIGHUP)

                return Replacement(pair.serial_number, write)

            renewal = Renewal("new file", _RENEWALS, prepare) if self._by_variable else Renewal("reload", 1, prepare)
            yield Running(port, begun, nginx, [renewal])

    def _config(self, material: Material, directory: Path, port: int) -> str:
        if self._by_variable:
            variable = "$ssl_server_name"
            servers = _SERVER.format(port=port, name="_", chain=material.chain_path(variable), key=material.key_path(variable))
        else:
            servers = "".join(
                _SERVER.format(port=port, name=name, chain=material.chain_path(name), key=material.key_path(name))
                for name in material.names
            )
        user = "user root;" if os.geteuid() == 0 else ""
        return _CONFIG.format(directory=directory, user=user, hash_size=8 * len(material.names), servers=servers)
