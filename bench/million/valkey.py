"""A Valkey whose memory is the store and whose only file is a dump: it writes one when it is told to, and never by itself."""

import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from redis import Redis
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError

from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.valkey import valkey_binary

_READY_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class DumpedValkey:
    """A running Valkey. `load_seconds`: from its start until it had read its dump and answered."""

    process: ChildProcess
    socket_path: Path
    load_seconds: float

    @property
    def url(self) -> str:
        """A `unix://` URL."""
        return f"unix://{quote(str(self.socket_path))}"

    def client(self) -> Redis:
        """Returns a blocking client."""
        return blocking_client(self.socket_path)

    def save(self) -> None:
        """Writes the dump; nobody is served meanwhile, and no memory is copied."""
        with self.client() as client:
            client.save()


def blocking_client(socket_path: Path) -> Redis:
    """Returns a client that waits: a write of gigabytes takes longer than the library gives a command, which it would then repeat."""
    return Redis(unix_socket_path=str(socket_path), socket_timeout=_READY_SECONDS)


@contextlib.asynccontextmanager
async def dumped_valkey(directory: Path) -> AsyncIterator[DumpedValkey]:
    """Runs a Valkey on `directory/dump.rdb`, which need not be there yet. What is written is lost without `save`."""
    with tempfile.TemporaryDirectory(prefix="certplane-store-") as runtime:
        socket_path = Path(runtime) / "valkey.sock"
        options = {
            "port": "0",
            "unixsocket": str(socket_path),
            "unixsocketperm": "700",
            "dir": str(directory),
            "dbfilename": "dump.rdb",
            # Neither snapshots nor an appended file: the dump stays as it was made.
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            # Certificates and ciphertext do not compress.
            "rdbcompression": "no",
            "daemonize": "no",
        }
        argv = [str(valkey_binary()), *(word for name, value in options.items() for word in (f"--{name}", value))]
        begun = time.monotonic()
        process = await ChildProcess.start(argv, Path(runtime) / "valkey.log", {"PATH": os.environ.get("PATH", os.defpath)}, name="valkey")
        async with process:
            await process.wait_until_ready(lambda: _answers(socket_path), _READY_SECONDS)
            yield DumpedValkey(process, socket_path, time.monotonic() - begun)


async def _answers(socket_path: Path) -> bool:
    try:
        with blocking_client(socket_path) as client:
            return bool(client.ping())
    except (BusyLoadingError, RedisConnectionError):
        return False
