"""Eight client processes, ready before anything is measured: one of them shakes hands one at a time, all of them eight at a time."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AT_A_TIME = 8
_LONGEST_LINE = 2**26


@dataclass(frozen=True, slots=True)
class Touches:
    """Verified handshakes: each one's duration, how many failed, how long all took, and the clients' CPU time; in seconds."""

    seconds: Sequence[float]
    failed: int
    elapsed: float
    client_cpu: float

    @property
    def rate(self) -> float:
        """Handshakes a second."""
        return len(self.seconds) / self.elapsed


class Clients:
    """Made by `clients`."""

    def __init__(self, processes: Sequence[asyncio.subprocess.Process]) -> None:
        self._processes = processes

    async def touch(self, port: int, names: Sequence[str], at_a_time: int = 1) -> Touches:
        """Shakes hands once for each name."""
        shares = [names[index::at_a_time] for index in range(at_a_time)]
        jobs = [self._do(index, do="touch", port=port, names=share) for index, share in enumerate(shares)]
        done = await asyncio.gather(*jobs)
        return Touches(
            seconds=[seconds for each in done for seconds in each["seconds"]],
            failed=sum(each["failed"] for each in done),
            elapsed=max(each["ended"] for each in done) - min(each["begun"] for each in done),
            client_cpu=sum(each["cpu"] for each in done),
        )

    async def until_served(self, port: int, name: str, serial_number: int | None = None, seconds: float = 120.0) -> float:
        """Tries until `name` is served, with the certificate of that serial number if given; returns the moment (`time.perf_counter`).

        Raises:
            TimeoutError: it was not, for so many seconds.
        """
        done = await self._do(0, do="until_served", port=port, name=name, serial_number=serial_number, timeout=seconds)
        if done["ended"] is None:
            raise TimeoutError(f"{name} is not served as expected after {seconds:g} seconds and {done['tries']} tries")
        moment: float = done["ended"]
        return moment

    async def _do(self, index: int, **job: Any) -> dict[str, Any]:
        process = self._processes[index]
        if process.stdin is None or process.stdout is None:
            raise AssertionError("clients are started with pipes")
        process.stdin.write(json.dumps(job).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            raise AssertionError("a client process ended; its message is on standard error")
        done: dict[str, Any] = json.loads(line)
        return done


@contextlib.asynccontextmanager
async def clients(roots: Path) -> AsyncIterator[Clients]:
    """Runs the clients, which trust `roots` (PEM). They end with their standard input, however this process ends."""
    argv = (sys.executable, "-m", "bench.peers.client", str(roots))
    environment = {**os.environ, "OPENSSL_CONF": str(Path(__file__).with_name("client.cnf"))}
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, limit=_LONGEST_LINE, env=environment) for _ in range(AT_A_TIME)
    ]
    try:
        yield Clients(processes)
    finally:
        for process in processes:
            # At once: after a failure it may be in the middle of a job.
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
