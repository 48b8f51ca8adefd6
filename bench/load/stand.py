"""What the load sections run against: a Valkey with real certificates, and `serve` as a process of its own, on free loopback ports."""

import asyncio
import contextlib
import json
import re
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.fill_store import fill
from bench.million.authority import LifelikeCa
from bench.million.filling import fill_fast, name_of
from bench.private_ca import PrivateCa
from controlplane.adapters.key_generation import KeyKind, generate_role_directories
from controlplane.core.sealing import Scheme
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.free_ports import free_ports
from controlplane.embedded.valkey import EmbeddedValkey, start_valkey

_READY_SECONDS = 60.0
_CLIENT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Served:
    """A running `serve`. Addresses are HOST:PORT."""

    process: ChildProcess
    xds: str
    metrics: str

    async def counters(self) -> dict[str, float]:
        """Returns all samples of its metrics, by name with labels."""
        body = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=30).read().decode())
        samples = (line.rpartition(" ") for line in body.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}


@dataclass(frozen=True, slots=True)
class Stand:
    """A store, the keys of both roles, and the CA that issued what is in the store."""

    directory: Path
    serve_keys: Path
    worker_keys: Path
    authority: PrivateCa
    valkey: EmbeddedValkey

    async def fill(self, names: Sequence[str]) -> None:
        """Puts a domain with a certificate in force into the store for each name."""
        await fill(self.valkey.url, self.worker_keys, self.authority, names)

    async def fill_many(self, count: int) -> list[str]:
        """Does the same with all cores for an empty store; returns the names."""
        if not isinstance(self.authority, LifelikeCa):
            raise TypeError("only a LifelikeCa issues fast")
        await asyncio.to_thread(fill_fast, self.valkey.socket_path, self.worker_keys, self.authority, count)
        return [name_of(index) for index in range(count)]

    @contextlib.asynccontextmanager
    async def serve(self, *options: str, log_name: str = "serve.log", xds_port: int = 0) -> AsyncIterator[Served]:
        """Runs `serve` with further options; `xds_port` 0 means any."""
        xds_free, api, metrics = (f"127.0.0.1:{port}" for port in free_ports(3))
        xds = f"127.0.0.1:{xds_port}" if xds_port else xds_free
        argv = ["serve", f"--keys-dir={self.serve_keys}", f"--redis-url={self.valkey.url}"]
        argv += [f"--xds-address={xds}", f"--api-address={api}", f"--metrics-address={metrics}", *options]
        process, _ = await started("controlplane.cli.main", argv, self.directory / log_name)
        async with process:
            yield Served(process, xds, metrics)


@contextlib.asynccontextmanager
async def stand(authority: PrivateCa | None = None) -> AsyncIterator[Stand]:
    """Runs a Valkey in a temporary directory; by default with a CA whose certificates are as large as a public CA's."""
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certplane-load-")))
        serve_keys, worker_keys = directory / "serve-keys", directory / "worker-keys"
        generate_role_directories(serve_keys, worker_keys, KeyKind(Scheme.HPKE_X25519), datetime.now(UTC))
        valkey = await start_valkey(directory)
        stack.push_async_callback(valkey.stop)
        yield Stand(directory, serve_keys, worker_keys, authority or LifelikeCa(), valkey)


async def started(module: str, arguments: Sequence[str], log_path: Path) -> tuple[ChildProcess, str]:
    """Starts a Python module as a process and waits for its line `ready …`; returns the process and what the line says."""
    offset = log_path.stat().st_size if log_path.exists() else 0
    process = await ChildProcess.start([sys.executable, "-m", module, *arguments], log_path, name=module)

    def said() -> str | None:
        line = re.search(rb"^ready (.*)$", log_path.read_bytes()[offset:], re.MULTILINE)
        return None if line is None else line[1].decode()

    async def ready() -> bool:
        return said() is not None

    await process.wait_until_ready(ready, _READY_SECONDS)
    return process, said() or ""


async def answered(module: str, work: Any) -> Any:
    """Runs a client, a module that takes a dataclass as JSON and prints its outcome as a line of JSON; returns the outcome.

    Raises:
        AssertionError: the client failed; the text is what it said.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, json.dumps(asdict(work))), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_CLIENT_SECONDS):
            out, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise AssertionError(f"{module} failed:\n{said.decode(errors='replace')[-3000:]}")
    return json.loads(out)
