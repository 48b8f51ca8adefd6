"""The processes that `certplane up` runs."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from controlplane.app.lifecycle import READY
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.envoy import start_envoy
from controlplane.embedded.valkey import EmbeddedValkey, start_valkey

_START_SECONDS = 60.0
_DRAIN_SECONDS = 15.0
_TAIL_SECONDS = 0.2


class ValkeyProcess:
    """The embedded store."""

    name = "valkey"

    def __init__(self, state: Path) -> None:
        self._state = state
        self._running: EmbeddedValkey | None = None

    async def start(self) -> str:
        """Starts it and returns its URL."""
        await self.stop()
        self._running = await start_valkey(self._state)
        return self._running.url

    async def wait(self) -> int:
        """Waits until it ends."""
        return await self._running.process.wait() if self._running else 0

    async def stop(self) -> None:
        """Ends it."""
        if self._running:
            await self._running.stop()


class EnvoyProcess:
    """The edge."""

    name = "envoy"

    def __init__(self, config: str, admin_port: int, directory: Path) -> None:
        self._config = config
        self._admin_port = admin_port
        self._directory = directory
        self._running: ChildProcess | None = None

    async def start(self) -> None:
        """Starts it."""
        self._running = await start_envoy(self._config, admin_port=self._admin_port, directory=self._directory)

    async def wait(self) -> int:
        """Waits until it ends."""
        return await self._running.wait() if self._running else 0

    async def stop(self) -> None:
        """Ends it."""
        if self._running:
            await self._running.terminate()


class RoleProcess:
    """The process of one role."""

    def __init__(self, name: str, argv: Sequence[str], logs: Path, environment: dict[str, str], quiet: bool) -> None:
        self.name = name
        self._argv = argv
        self._log_path = logs / f"{name}.log"
        self._environment = environment
        self._quiet = quiet
        self._process: ChildProcess | None = None
        self._tail: asyncio.Task[None] | None = None

    async def start(self) -> dict[str, str]:
        """Starts the process and returns the addresses of its `ready` line."""
        offset = self._log_path.stat().st_size if self._log_path.exists() else 0
        self._process = await ChildProcess.start(self._argv, self._log_path, self._environment, name=self.name)
        if not self._quiet and self._tail is None:
            self._tail = asyncio.create_task(self._copy_to_stderr(offset))
        line = ""

        async def ready() -> bool:
            nonlocal line
            text = await asyncio.to_thread(self._read_from, offset)
            line = next((each for each in text.splitlines() if each.startswith(READY + " ")), "")
            return bool(line)

        await self._process.wait_until_ready(ready, _START_SECONDS)
        return dict(part.split("=", 1) for part in line.split()[1:])

    def _read_from(self, offset: int) -> str:
        with self._log_path.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    async def _copy_to_stderr(self, offset: int) -> None:
        while True:
            text = await asyncio.to_thread(self._read_from, offset)
            complete = text.rpartition("\n")[0]
            if complete:
                sys.stderr.write(complete + "\n")
                sys.stderr.flush()
                offset += len(complete.encode()) + 1
            await asyncio.sleep(_TAIL_SECONDS)

    async def wait(self) -> int:
        """Waits until it ends."""
        return await self._process.wait() if self._process else 0

    async def stop(self) -> None:
        """Ends the process: SIGTERM, then SIGKILL when it does not drain in time."""
        if self._process is not None:
            await self._process.terminate(_DRAIN_SECONDS)
        if self._tail is not None:
            # What it said last is still worth reading.
            await asyncio.sleep(2 * _TAIL_SECONDS)
            self._tail.cancel()
