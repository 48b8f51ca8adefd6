"""Envoy with certificates from files: all in one TLS context, or a filter chain for each name.

Its listener comes from a watched file (LDS), which is how a certificate is replaced.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from bench.peers.envoy_process import start_envoy_process
from bench.peers.material import Material
from bench.peers.peer import Renewal, Replacement, Running
from controlplane.embedded.free_ports import free_ports

_TYPE = "type.googleapis.com/envoy."


class EnvoyStatic:
    """Envoy's ways without Certplane; `chains`: a filter chain for each name, which is what a name of its own settings needs."""

    lazy = False

    def __init__(self, *, chains: bool) -> None:
        self.name = "Envoy, a filter chain each" if chains else "Envoy, one context"
        self._chains = chains

    def missing(self) -> str | None:
        """See `Peer`."""
        return None

    @contextlib.asynccontextmanager
    async def running(self, material: Material, directory: Path) -> AsyncIterator[Running]:
        """See `Peer`."""
        port, admin_port = free_ports(2)
        pairs = {name: (str(material.chain_path(name)), str(material.key_path(name))) for name in material.names}
        listeners = directory / "listeners.json"
        self._write(listeners, port, pairs)
        config = {
            "admin": {"address": _address(admin_port)},
            "node": {"id": "bench", "cluster": "bench"},
            "dynamic_resources": {"lds_config": {"resource_api_version": "V3", "path_config_source": {"path": str(listeners)}}},
        }
        begun, envoy = await start_envoy_process(json.dumps(config), directory)
        async with envoy:

            async def prepare(name: str) -> Replacement:
                pair = material.renewed(name)
                material.write_site(name, pair)
                material.write_bundle(name, pair)

                async def write() -> None:
                    # Under the same paths Envoy would see no change.
                    renewed = directory / f"renewed-{pair.serial_number:x}"
                    renewed.mkdir()
                    chain, key = renewed / "chain.pem", renewed / "key.pem"
                    chain.write_bytes(pair.chain)
                    key.write_bytes(pair.key)
                    pairs[name] = (str(chain), str(key))
                    self._write(listeners, port, pairs)

                return Replacement(pair.serial_number, write)

            yield Running(port, begun, envoy, [Renewal("LDS from a file", 1, prepare)])

    def _write(self, path: Path, port: int, pairs: Mapping[str, tuple[str, str]]) -> None:
        if self._chains:
            chains = [_chain([pair]) | {"name": name, "filter_chain_match": {"server_names": [name]}} for name, pair in pairs.items()]
        else:
            chains = [_chain(list(pairs.values()))]
        inspector = {
            "name": "envoy.filters.listener.tls_inspector",
            "typed_config": {"@type": f"{_TYPE}extensions.filters.listener.tls_inspector.v3.TlsInspector"},
        }
        listener = {
            "@type": f"{_TYPE}config.listener.v3.Listener",
            "name": "tls",
            "address": _address(port),
            "per_connection_buffer_limit_bytes": 32768,
            "listener_filters": [inspector],
            "filter_chains": chains,
        }
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps({"version_info": "", "resources": [listener]}))
        # Envoy watches for a file that is moved to this path.
        temporary.replace(path)


def _chain(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Returns a filter chain with these certificates that says 200 to everything."""
    manager = {
        "@type": f"{_TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "tls",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]},
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}extensions.filters.http.router.v3.Router"}},
        ],
    }
    context = {
        "@type": f"{_TYPE}extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [{"certificate_chain": {"filename": chain}, "private_key": {"filename": key}} for chain, key in pairs],
        },
    }
    return {
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
