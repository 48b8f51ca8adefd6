"""What is measured: `serve`, `worker`, Envoy, Valkey and Pebble, each a process of its own, on free loopback ports.

Envoy has one TLS listener more than an edge: with one static certificate, for comparison in the same process.
"""

import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from bench.fill_store import fill
from bench.private_ca import PrivateCa, write_static_pair
from controlplane.adapters.envoy_templates import EdgeParameters, render_edge
from controlplane.adapters.key_generation import KeyKind, generate_role_directories
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.core.sealing import Scheme
from controlplane.demo.page import DemonstrationPage
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.envoy import start_envoy
from controlplane.embedded.free_ports import free_ports
from controlplane.embedded.pebble import Pebble, PebblePorts
from controlplane.embedded.valkey import start_valkey

STATIC_NAME = "static.bench.example.net"
_READY_SECONDS = 30.0
# The stock `acme` client gives up at the second refused nonce in a row, which Pebble's 5 % make likely in a run. So neither side meets any.
PEBBLE_ENVIRONMENT = {"PEBBLE_WFE_NONCEREJECT": "0"}


@dataclass(frozen=True, slots=True)
class Installation:
    """A running installation. Addresses are HOST:PORT; ports are on 127.0.0.1; `roots` is a PEM file of what clients trust.

    `pids` are the process ids by the process's name.
    """

    pids: Mapping[str, int]
    api: str
    worker_metrics: str
    https_port: int
    static_port: int
    roots: Path


@contextlib.asynccontextmanager
async def installation(directory: Path, stored_names: Sequence[str]) -> AsyncIterator[Installation]:
    """Runs an installation whose store holds a domain with a certificate of a private CA for each of `stored_names`."""
    authority = PrivateCa()
    serve_keys, worker_keys = directory / "serve-keys", directory / "worker-keys"
    generate_role_directories(serve_keys, worker_keys, KeyKind(Scheme.HPKE_X25519), datetime.now(UTC))
    http_port, https_port, static_port, admin_port, *others = free_ports(8)
    xds, api, serve_metrics, worker_metrics = (f"127.0.0.1:{port}" for port in others)
    async with contextlib.AsyncExitStack() as stack:
        (directory / "pebble").mkdir()
        pebble = await stack.enter_async_context(Pebble(directory / "pebble", PebblePorts.free(http=http_port), env=PEBBLE_ENVIRONMENT))
        roots = directory / "roots.pem"
        roots.write_bytes(await pebble.roots() + authority.root_pem)
        valkey = await start_valkey(directory)
        stack.push_async_callback(valkey.stop)
        await fill(valkey.url, worker_keys, authority, stored_names)
        serve = await _started(
            directory / "serve.log",
            *("serve", f"--keys-dir={serve_keys}", f"--redis-url={valkey.url}"),
            *(f"--xds-address={xds}", f"--api-address={api}", f"--metrics-address={serve_metrics}"),
        )
        stack.push_async_callback(serve.terminate)
        page = DemonstrationPage()
        upstream = await page.start()
        stack.push_async_callback(page.close)
        leaf_key = make_leaf_key((STATIC_NAME,))
        static_pair = write_static_pair(authority.issue((STATIC_NAME,), leaf_key), leaf_key, directory)
        config = render_edge(
            EdgeParameters(
                xds_address=xds,
                http_port=http_port,
                https_port=https_port,
                admin_port=admin_port,
                upstream=upstream,
                node_id="bench",
                node_cluster="bench",
            )
        )
        config = with_static_listener(config, static_port, *static_pair)
        envoy = await start_envoy(config, admin_port=admin_port, directory=directory / "envoy")
        stack.push_async_callback(envoy.terminate)
        worker = await _started(
            directory / "worker.log",
            *("worker", f"--keys-dir={worker_keys}", f"--redis-url={valkey.url}", f"--metrics-address={worker_metrics}"),
            *(f"--acme-directory={pebble.directory_url}", f"--acme-ca-bundle={pebble.ca_bundle}"),
            *(f"--dns-resolver={pebble.dns_resolver}", f"--http01-port={http_port}", "--preflight-allow=127.0.0.0/8"),
        )
        stack.push_async_callback(worker.terminate)
        if pebble.process is None:
            raise AssertionError("Pebble was started")
        processes = {"serve": serve, "worker": worker, "Envoy": envoy, "Valkey": valkey.process, "Pebble": pebble.process}
        pids = {name: process.pid for name, process in processes.items()}
        yield Installation(pids, api, worker_metrics, https_port, static_port, roots)


async def _started(log_path: Path, *arguments: str) -> ChildProcess:
    """Starts a role of Certplane and waits for its `ready` line."""
    process = await ChildProcess.start([sys.executable, "-m", "controlplane.cli.main", *arguments], log_path)

    async def ready() -> bool:
        return re.search(rb"^ready ", log_path.read_bytes(), re.MULTILINE) is not None

    await process.wait_until_ready(ready, _READY_SECONDS)
    return process


def with_static_listener(config: str, port: int, certificate: Path, key: Path) -> str:
    """Adds to an edge's configuration a listener that differs in one thing: its certificate is a file."""
    edge: dict[str, Any] = yaml.safe_load(config)
    listeners = edge["static_resources"]["listeners"]
    on_demand = next(listener for listener in listeners if listener["name"] == "https")
    tls = on_demand["filter_chains"][0]["transport_socket"]["typed_config"]
    common = {name: value for name, value in tls["common_tls_context"].items() if name != "custom_tls_certificate_selector"}
    pair = {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
    context = {"@type": tls["@type"], "common_tls_context": {**common, "tls_certificates": [pair]}}
    listeners.append(
        {
            "name": "static",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "per_connection_buffer_limit_bytes": on_demand["per_connection_buffer_limit_bytes"],
            "filter_chains": [
                {
                    "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
                    "filters": on_demand["filter_chains"][0]["filters"],
                }
            ],
        }
    )
    # YAML's superset of JSON is what Envoy reads.
    return json.dumps(edge)
